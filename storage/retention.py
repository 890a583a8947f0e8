"""What is kept of dumps and why: pins, the terms of copies, and sweeps that remove what is due."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.types import EnumText, UtcDateTime, utc_now


class Pin(SQLModel, table=True):
    """The dumps of a panic stay, whatever their term. A row for each time; it stays when the pin has ended.

    `kind`: "pin" (of a responder, perhaps until a day) or "hold" (of an admin, until released). `slot` is
    `KIND:PANIC` while it is in force, and null afterwards: one of each kind at a time.
    """

    __tablename__ = "pin"
    id: int | None = Field(default=None, primary_key=True)
    panic_id: int = Field(foreign_key="panic.id", index=True)
    kind: str = Field(max_length=10)
    slot: str | None = Field(default=None, unique=True, max_length=40)
    reason: str = Field(default="", sa_type=Text)
    created_by: str
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_by: str | None = None


class CopyCare(SQLModel, table=True):
    """What retention knows of a copy in central, beside the copy's own row."""

    __tablename__ = "copy_care"
    copy_id: int = Field(primary_key=True, foreign_key="dump_copy.id")
    # Its term began when a clock that was believed first saw it; anew when parts became a verified copy.
    term_from: datetime | None = Field(default=None, sa_type=UtcDateTime)
    verified: bool = False  # what it was then
    checked_at: datetime | None = Field(
        default=None, sa_type=UtcDateTime
    )  # read back whole, since its verification
    begun_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # its removal
    begun_for: str = Field(default="", max_length=20)  # the rule that decided
    removed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    freed: int = Field(default=0, sa_type=BigInteger)
    local_gone_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # the file that it was made of
    local_freed: int = Field(default=0, sa_type=BigInteger)


class HostKeeps(SQLModel, table=True):
    """How many dumps a host's own kdump keeps, as its configuration said at the last visit."""

    __tablename__ = "host_keeps"
    host: str = Field(primary_key=True, max_length=255)
    setting: str = Field(default="", max_length=40)  # KDUMP_NUM_DUMPS, KDUMP_KEEP_OLD_DUMPS; "": none
    value: int | None = None
    read_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class ItemState(StrEnum):
    """What came of an item of a sweep."""

    WAITING = "waiting"
    WORKING = "working"  # being removed: after a crash it is done again, which finds it gone
    REMOVED = "removed"
    GONE = "gone"  # it was gone already
    KEPT = "kept"  # something came to keep it since the plan
    REFUSED = "refused"  # it is another file than the bot had recorded, or the host does not let us
    FAILED = "failed"  # host or store did not answer: the next sweep tries again


class RetentionRun(SQLModel, table=True):
    """One sweep. `slot` is 1 while it runs and null afterwards. `owner`: the process that works on it, with its last
    sign of life: another one takes over only from a dead one."""

    __tablename__ = "retention_run"
    id: int | None = Field(default=None, primary_key=True)
    slot: int | None = Field(default=None, unique=True)
    scheduled: bool = False
    scrub: bool = True
    asked_by: str
    asked_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime, index=True)
    owner: str = Field(default="", max_length=80)
    beat_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    result: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class RetentionItem(SQLModel, table=True):
    """One thing that a sweep removes: a copy in central, or a dump on its host."""

    __tablename__ = "retention_item"
    __table_args__ = (UniqueConstraint("run_id", "place", "key", name="uq_retention_item_run_place_key"),)
    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="retention_run.id", index=True)
    place: str = Field(max_length=10)  # central, local
    key: int  # the copy's id, or the panic's
    panic_id: int = Field(foreign_key="panic.id", index=True)
    copy_id: int | None = Field(
        default=None, foreign_key="dump_copy.id"
    )  # of a local dump: the one made of it
    host: str = Field(max_length=255)
    path: str = Field(max_length=1000)  # URL of the folder, or path in the crash directory, as recorded
    # Of a local dump: mtime and inode, as recorded; of a copy: the state that it was planned in.
    stamp: str = Field(default="", max_length=100)
    size: int = Field(default=0, sa_type=BigInteger)
    reason: str = Field(max_length=20)
    why: str = Field(default="", sa_type=Text)
    rests_on: int | None = None  # the copy in central without which it must not go
    state: ItemState = Field(default=ItemState.WAITING, sa_type=EnumText(ItemState))
    freed: int = Field(default=0, sa_type=BigInteger)
    note: str = Field(default="", sa_type=Text)
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
