"""Dumps on their way to the central store, and the ones that are there."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Column, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.tables import DumpState
from storage.types import EnumText, UtcDateTime, utc_now


class CopyState(StrEnum):
    """Where the copy of a dump stands. Only a verified one counts as a copy."""

    WAITING = "waiting"  # for its turn, the host, the dump or the store: `note` says for which
    COPYING = "copying"
    CHECKING = "checking"  # all parts are there: hashed on the host, read back from the store
    VERIFIED = "verified"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DAMAGED = "damaged"  # it was verified, and a later look found it otherwise: it counts as none
    REMOVED = "removed"  # by retention: gone from the store, or about to be; the row is its history


UNDER_WAY = (CopyState.WAITING, CopyState.COPYING, CopyState.CHECKING)


class DumpCopy(SQLModel, table=True):
    """One copy of one panic's dump from its host to the central store, in numbered parts.

    `slot` is the panic's while the copy is under way and null afterwards: two of a panic at once cannot be.
    """

    __tablename__ = "dump_copy"
    id: int | None = Field(default=None, primary_key=True)
    panic_id: int = Field(foreign_key="panic.id", index=True)
    slot: int | None = Field(default=None, unique=True)
    workflow_id: str = Field(unique=True, max_length=100)
    host: str = Field(max_length=255)
    state: CopyState = Field(default=CopyState.WAITING, sa_type=EnumText(CopyState))
    paused: bool = False
    paused_by: str | None = None
    asked_by: str
    also_asked: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    asked_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # the first byte
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    verified_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    source_path: str | None = None  # inside the host's crash directory; null until the dump was found
    source_stamp: str | None = None  # its mtime and inode when the copy began
    size: int | None = Field(default=None, sa_type=BigInteger)
    part_size: int | None = Field(default=None, sa_type=BigInteger)
    bytes_done: int = Field(default=0, sa_type=BigInteger)  # finished parts and what of the next one is sent
    rate: float | None = None  # bytes a second, lately
    place: str | None = None  # URL of the folder that holds the parts and manifest.json
    sha256: str | None = Field(default=None, max_length=64)  # of the whole dump
    dump_state: DumpState | None = Field(default=None, sa_type=EnumText(DumpState))  # by the content copied
    attempts: int = 0  # in a row that brought no part
    resent: int = 0  # times that what had come was not what the host has, and was sent anew
    next_try_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    give_up_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cancelled_by: str | None = None
    note: str = Field(default="", sa_type=Text)
    error: str | None = Field(default=None, sa_type=Text)


class DumpPart(SQLModel, table=True):
    """A part of a dump that stands whole in the store. A row of its own: a copy of 300 GB has thousands."""

    __tablename__ = "dump_part"
    __table_args__ = (UniqueConstraint("copy_id", "number", name="uq_dump_part_copy_number"),)
    id: int | None = Field(default=None, primary_key=True)
    copy_id: int = Field(foreign_key="dump_copy.id", index=True)
    number: int  # from 1
    size: int = Field(sa_type=BigInteger)
    sha256: str = Field(max_length=64)
