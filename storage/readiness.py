"""Readiness: how each host stands, and how that changed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Text
from sqlmodel import Field, SQLModel

from storage.types import UtcDateTime, utc_now


class HostReadiness(SQLModel, table=True):
    """How a host stands. `wanted_at` is set while somebody waits for a look at it: the row is the queue.

    `state` is ready, at risk, not ready or unknown, since `since`; `known` is the last one but unknown: a host that
    could not be asked for a while has not changed by that.
    """

    __tablename__ = "host_readiness"
    id: int | None = Field(default=None, primary_key=True)
    host: str = Field(max_length=255, unique=True)
    ring: str = Field(default="", max_length=255, index=True)
    state: str = Field(default="unknown", max_length=20, index=True)
    known: str = Field(default="", max_length=20)
    since: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    wanted_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    wanted_by: str = Field(default="", max_length=100)
    asked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # the last look, whatever came of it
    answered_at: datetime | None = Field(
        default=None, sa_type=UtcDateTime
    )  # the last one that the host answered
    note: str = Field(default="", sa_type=Text)  # why the last look brought nothing
    findings: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    facts: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    drill: dict[str, Any] = Field(
        default_factory=dict, sa_column=Column(JSON, nullable=False)
    )  # the last that passed


class ReadinessChange(SQLModel, table=True):
    """A host's state changed. `told_at` is set where it is nothing to tell, or once it was told."""

    __tablename__ = "readiness_change"
    id: int | None = Field(default=None, primary_key=True)
    host: str = Field(max_length=255, index=True)
    ring: str = Field(default="", max_length=255)
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime, index=True)
    before: str = Field(default="", max_length=20)  # "" the first time
    after: str = Field(max_length=20)
    check_name: str = Field(default="", max_length=40)  # what made it not ready
    last_good: datetime | None = Field(default=None, sa_type=UtcDateTime)  # the look before that answered
    told_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
