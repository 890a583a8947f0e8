"""What netconsole shows of a panic while it happens: minutes before there is a dump or a report."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlmodel import Field, SQLModel

from storage.types import EnumText, UtcDateTime


class LiveState(StrEnum):
    """What is thought of the host whose console told of a crash."""

    PANICKING = "panicking"  # it dies, or is dead; its report is awaited
    MAY_LIVE = "may_live"  # an oops or a lockup that need not be the end
    SURVIVED = "survived"  # the same boot was seen well after it
    DIED = "died"  # another witness tells of the crash
    SILENT = "silent"  # nothing came within the time limit


class LiveSighting(SQLModel, table=True):
    """One a panic that netconsole saw. `read_here`: the panic's cause is netconsole's word alone, and another
    witness's whole text overrules it. `provisional`: the trace has not ended."""

    __tablename__ = "live_sighting"
    panic_id: int = Field(primary_key=True, foreign_key="panic.id")
    host: str = Field(max_length=255, index=True)
    state: LiveState = Field(default=LiveState.MAY_LIVE, sa_type=EnumText(LiveState), index=True)
    provisional: bool = True
    read_here: bool = True
    fatal: bool = False  # a panic line was seen: nothing of this boot comes after it
    kdump: str | None = Field(default=None, max_length=10)  # loaded, none; null: the text does not say
    seen_at: datetime = Field(sa_type=UtcDateTime)  # arrival of the first line of the crash
    uptime: float | None = None  # its printk time, in seconds
    lived_until: datetime | None = Field(default=None, sa_type=UtcDateTime)  # when it was seen alive after it
    lived_uptime: float | None = None  # the printk time of that
    lost: int = 0  # messages of the crash that did not arrive
    dropped: int = 0  # ones that arrived and were over a limit
    awaited_until: datetime = Field(sa_type=UtcDateTime)
