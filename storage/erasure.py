"""Erasures of a host: who asked and confirmed, what is still to do, and what went and could not be reached."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.types import EnumText, UtcDateTime, utc_now


class ErasureState(StrEnum):
    ASKED = "asked"  # by one admin; another one has to confirm it
    CONFIRMED = "confirmed"  # being carried out, whatever happens meanwhile
    DONE = "done"
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # nobody confirmed it in time


class ErasureStage(StrEnum):
    """What is being done, in this order; each may be done again after a crash."""

    LISTING = "listing"
    OUTSIDE = "outside"  # the central store, the store directory, files in Slack
    ROWS = "rows"
    NAMES = "names"
    MESSAGES = "messages"  # until those that stand in Slack say that they were erased
    PAGES = "pages"  # of the database's own files
    OVER = "over"


class Erasure(SQLModel, table=True):
    """One erasure. `host` is its name until the rows are erased, and the placeholder afterwards.

    `slot` is the name while it is asked for or under way, and null afterwards: one at a time for each host. `mark` is
    a digest of what was shown when it was asked for. `record` holds counts and words without the host's name.
    """

    __tablename__ = "erasure"
    id: int | None = Field(default=None, primary_key=True)
    slot: str | None = Field(default=None, unique=True, max_length=255)
    request_id: str = Field(default="", max_length=200, index=True)
    host: str = Field(max_length=255)
    placeholder: str = Field(default="", max_length=80)
    state: ErasureState = Field(default=ErasureState.ASKED, sa_type=EnumText(ErasureState), index=True)
    stage: ErasureStage = Field(default=ErasureStage.LISTING, sa_type=EnumText(ErasureStage))
    mark: str = Field(default="", max_length=40)
    asked_by: str
    asked_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    until: datetime = Field(sa_type=UtcDateTime)  # it may be confirmed
    confirmed_by: str | None = None
    confirmed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cancelled_by: str | None = None
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    next_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    note: str = Field(default="", sa_type=Text)  # what it waits for
    summary: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    record: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class ItemOutcome(StrEnum):
    OPEN = "open"
    GONE = "gone"
    UNREACHED = "unreached"


class ErasureItem(SQLModel, table=True):
    """One thing outside of the tables that is to go. `kind`: central, folder, file, message, workflow.

    `key` names it (a folder of the central store, a panic's folder, a file's id, a message's row, a workflow); it is
    emptied when the erasure is done. `shown` is without the host's name.
    """

    __tablename__ = "erasure_item"
    __table_args__ = (
        UniqueConstraint("erasure_id", "kind", "key", name="uq_erasure_item_kind_key"),
        Index("ix_erasure_item_outcome", "erasure_id", "outcome"),
    )
    id: int | None = Field(default=None, primary_key=True)
    erasure_id: int = Field(foreign_key="erasure.id")
    kind: str = Field(max_length=20)
    key: str = Field(max_length=400)
    shown: str = Field(default="", max_length=200)
    place: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    outcome: ItemOutcome = Field(default=ItemOutcome.OPEN, sa_type=EnumText(ItemOutcome))
    attempts: int = 0
    note: str = Field(default="", sa_type=Text)
