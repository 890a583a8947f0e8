"""Drills: hosts that are made to panic on purpose, and how far each drill has come."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Column, Text
from sqlmodel import Field, SQLModel

from storage.types import EnumText, UtcDateTime, utc_now


class DrillState(StrEnum):
    """Where a drill stands. Only `countdown` leads to `triggering`, and nothing leads back."""

    ASKED = "asked"  # by one person; another one has to approve
    COUNTDOWN = "countdown"  # approved by two; anyone may abort
    TRIGGERING = "triggering"  # written before the host is told, whatever comes of it
    VERIFYING = "verifying"  # the host panicked; what follows is waited for
    PASSED = "passed"
    FAILED = "failed"
    ABORTED = "aborted"
    EXPIRED = "expired"
    NEVER = "never triggered"
    UNCONFIRMED = "trigger unconfirmed"


class Drill(SQLModel, table=True):
    """One drill of one host. `slot` is the host while the drill is under way: a host has one drill at a time."""

    __tablename__ = "drill"
    id: int | None = Field(default=None, primary_key=True)
    host: str = Field(max_length=255, index=True)
    slot: str | None = Field(default=None, max_length=255, unique=True)
    request_id: str = Field(max_length=200, unique=True)
    mark: str = Field(max_length=64, unique=True)  # its id on the host
    state: DrillState = Field(default=DrillState.ASKED, sa_type=EnumText(DrillState))
    digest: str = Field(max_length=64)  # of the plan that was approved
    plan: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    requester: str = Field(max_length=100)
    asked_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    until: datetime = Field(sa_type=UtcDateTime)  # the approvals hold so long
    approver: str | None = Field(default=None, max_length=100)
    approved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    trigger_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # the countdown's end
    triggered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    boot_before: str = Field(default="", max_length=64)
    boot_after: str = Field(default="", max_length=64)
    ended_by: str | None = Field(default=None, max_length=100)  # who aborted it
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    note: str = Field(default="", sa_type=Text)
