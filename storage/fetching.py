"""Links to dumps in the central store, and what was fetched through them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Text
from sqlmodel import Field, SQLModel

from storage.types import EnumText, UtcDateTime, utc_now


class FetchState(StrEnum):
    """What came of one request for a dump."""

    BEGUN = "begun"
    FINISHED = "finished"
    BROKEN = "broken"  # off, by whichever side; `note` says why


class DumpLink(SQLModel, table=True):
    """One link to one copy, made for one person. What opens it is computed from this row and a key, and stands nowhere.

    `direct`: presigned by the store itself, which counts nothing for us.
    """

    __tablename__ = "dump_link"
    id: int | None = Field(default=None, primary_key=True)
    request_id: str = Field(unique=True, max_length=200)
    copy_id: int = Field(foreign_key="dump_copy.id", index=True)
    panic_id: int = Field(foreign_key="panic.id", index=True)
    asked_by: str = Field(max_length=40)
    salt: str = Field(max_length=64)
    direct: bool = False
    made_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    uses_left: int = 1


class DumpFetch(SQLModel, table=True):
    """One request that was let in. `start` and `reached` are offsets in the whole dump, in bytes."""

    __tablename__ = "dump_fetch"
    id: int | None = Field(default=None, primary_key=True)
    link_id: int = Field(foreign_key="dump_link.id", index=True)
    state: FetchState = Field(default=FetchState.BEGUN, sa_type=EnumText(FetchState), index=True)
    remote: str = Field(default="", max_length=100)
    start: int = Field(default=0, sa_type=BigInteger)
    reached: int = Field(default=0, sa_type=BigInteger)
    begun_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    note: str = Field(default="", sa_type=Text)
