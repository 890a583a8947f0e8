"""Changes to the fleet as they were told or seen, whoever told them: a pipeline, a file, a tracker, a host itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.types import UtcDateTime, utc_now


class ChangeRecord(SQLModel, table=True):
    """One change in the normal form, known by its source's own key: told again, it is updated.

    `source` is the feed's name, "jira", or "host:NAME" for what was read on a host. `scope` holds lists of what it
    touches: hosts (names or globs), rings, hardware, services; {"everywhere": true} for the whole fleet.
    """

    __tablename__ = "change_record"
    __table_args__ = (UniqueConstraint("source", "key", name="uq_change_record_source_key"),)
    id: int | None = Field(default=None, primary_key=True)
    source: str = Field(max_length=300)
    key: str = Field(max_length=200)
    kind: str = Field(
        default="", max_length=40
    )  # kernel, driver, firmware, package, configuration, deployment, …
    status: str = Field(default="", max_length=100)
    started: datetime = Field(sa_type=UtcDateTime, index=True)
    ended: datetime | None = Field(default=None, sa_type=UtcDateTime)
    first_told: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    last_told: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    url: str = Field(default="", max_length=2000)
    scope: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    summary: str = Field(default="", sa_type=Text)
    text: str = Field(default="", sa_type=Text)


class ChangeTouch(SQLModel, table=True):
    """One thing that a change touches, in lower case: what a panic's host is looked up by.

    `what` is host, glob, ring, hardware, service, everywhere, or unsaid (the change does not say where it was made).
    `started` and `ended` are the change's, so that the index alone answers what touched this ring in that week. No
    end that is known: the beginning itself, or 30 days later for a ticket that is open.
    """

    __tablename__ = "change_touch"
    __table_args__ = (
        Index("ix_change_touch_what_name_started", "what", "name", "started", "ended", "change_id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    change_id: int = Field(foreign_key="change_record.id", index=True)
    what: str = Field(max_length=20)
    name: str = Field(max_length=255)
    started: datetime = Field(sa_type=UtcDateTime)
    ended: datetime = Field(sa_type=UtcDateTime)


class ChangeFinding(SQLModel, table=True):
    """What was found for an incident when its changes were last weighed: at most three, each with its reasons.

    `likely` is a list of {source, key, summary, kind, url, started, ended, reasons: [words]}, likeliest first; times
    as ISO 8601. `note` says in words what could not be asked.
    """

    __tablename__ = "change_finding"
    id: int | None = Field(default=None, primary_key=True)
    incident_id: int = Field(foreign_key="incident.id", unique=True)
    panic_id: int = Field(foreign_key="panic.id")
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    considered: int = 0  # changes of the window, of the whole fleet
    likely: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    workload: str = Field(default="", sa_type=Text)  # in words; empty until it was looked at
    note: str = Field(default="", sa_type=Text)
