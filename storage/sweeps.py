"""Sweeps: looks for dumps that nobody reported, and what the last look at each place brought."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.types import EnumText, UtcDateTime, utc_now


class SweepState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    CUT = "cut"  # ended before all places were looked at; `note` says why


class PlaceState(StrEnum):
    """What came of the last look at a place."""

    WAITING = "waiting"
    LOOKING = "looking"
    SWEPT = "swept"
    UNREACHABLE = "unreachable"  # down, booting, or too slow
    REFUSED = "refused"  # it or we refused the connection; trying again without a change is of no use
    LEFT = "left"  # somebody is at work on it: triage, evidence, a copy of its dump
    FAILED = "failed"  # reached, and the crash directory could not be read


class SweepRun(SQLModel, table=True):
    """One sweep. `slot` is 1 while it runs and null afterwards: two at once cannot be."""

    __tablename__ = "sweep_run"
    id: int | None = Field(default=None, primary_key=True)
    slot: int | None = Field(default=None, unique=True)
    state: SweepState = Field(default=SweepState.RUNNING, sa_type=EnumText(SweepState))
    scheduled: bool = False
    asked_by: str
    words: str = Field(default="", sa_type=Text)  # what was asked for; "" is everything
    asked_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime, index=True)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    since_report: int = 0  # the newest report when it began: what came later may be its own
    result: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    note: str = Field(default="", sa_type=Text)


class SweepPlace(SQLModel, table=True):
    """A host, or a directory that kdump writes to over the network, with what the last sweep found there.

    One row a place, whatever sweeps there were: `run_id` is the last one that was to look at it.
    """

    __tablename__ = "sweep_place"
    __table_args__ = (UniqueConstraint("kind", "name", name="uq_sweep_place_kind_name"),)
    id: int | None = Field(default=None, primary_key=True)
    kind: str = Field(max_length=20)  # host, directory
    name: str = Field(max_length=1000)
    run_id: int = Field(foreign_key="sweep_run.id", index=True)
    state: PlaceState = Field(default=PlaceState.WAITING, sa_type=EnumText(PlaceState))
    due_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    looked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # the last time it was reached
    note: str = Field(default="", sa_type=Text)
    findings: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
