"""Storms: threads whose hosts come faster than a person reads, and what has been told of each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from storage.types import UtcDateTime


class Storm(SQLModel, table=True):
    """One incident in a storm. Several with one `lead_id` are one event, told in the lead's thread.

    `hosts_told` is the count of the last digest; `elsewhere` what is known of hosts that are not in it (by "kernel",
    "ring", "hardware"), looked up when it began and with each digest.
    """

    __tablename__ = "storm"
    incident_id: int = Field(primary_key=True, foreign_key="incident.id")
    lead_id: int = Field(foreign_key="incident.id", index=True)
    kernel: str | None = Field(default=None, max_length=200)
    first_at: datetime = Field(sa_type=UtcDateTime)  # when its first panic occurred
    last_at: datetime = Field(sa_type=UtcDateTime)  # when its last panic occurred
    began_at: datetime = Field(sa_type=UtcDateTime)
    grown_at: datetime = Field(sa_type=UtcDateTime)  # when its last panic was placed
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    digests: int = 0
    told_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    hosts_told: int = 0
    pictures: int = 0
    pictured_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    hosts_pictured: int = 0
    elsewhere: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
