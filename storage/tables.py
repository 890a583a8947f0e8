"""What the bot knows about panics: hosts, reports, panics, signatures, incidents.

Ids shown to people are `R-12` (report), `P-41` (panic), `I-7` (incident): see `storage.ids`.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.types import EnumText, UtcDateTime, utc_now


class ReportState(StrEnum):
    """Where a raw notification stands."""

    NEW = "new"
    DONE = "done"
    QUARANTINED = "quarantined"  # authenticated, but its host is not in a closed inventory
    PARKED = "parked"  # failed each time it was read; kept for a person


class IncidentState(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    MERGED = "merged"  # lives on in `merged_into_id`


class DumpState(StrEnum):
    """What is known of a panic's vmcore."""

    UNKNOWN = "unknown"  # nobody looked yet
    NONE = "none"  # looked: there is none
    EMPTY = "empty"
    INCOMPLETE = "incomplete"
    UNVERIFIED = "unverified"  # there is one; its content could not be checked
    COMPLETE = "complete"


class Host(SQLModel, table=True):
    """A machine that has panicked or is in the inventory."""

    __tablename__ = "host"
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True, unique=True, max_length=255)
    address: str | None = None
    ring: str | None = Field(default=None, index=True)
    hardware: str | None = Field(default=None, index=True)
    criticality: str = "normal"
    owner: str | None = None
    in_inventory: bool = False
    first_seen: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class Report(SQLModel, table=True):
    """One notification as it came in, before anybody read it. Committed before it is acknowledged."""

    __tablename__ = "report"
    __table_args__ = (
        UniqueConstraint("host", "external_id", name="uq_report_host_external_id"),
        Index("ix_report_state_id", "state", "id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    external_id: str = Field(max_length=200)
    host: str = Field(max_length=255, index=True)
    source: str = Field(default="report", max_length=40)
    body: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    received_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    state: ReportState = Field(default=ReportState.NEW, sa_type=EnumText(ReportState))
    attempts: int = 0
    next_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)  # when it may be read (again)
    error: str | None = Field(default=None, sa_type=Text)
    panic_id: int | None = Field(default=None, foreign_key="panic.id", index=True)


class Signature(SQLModel, table=True):
    """The recurrence key: kind + top non-generic frame (+ module)."""

    __tablename__ = "signature"
    key: str = Field(primary_key=True, max_length=300)
    kind: str = Field(index=True, max_length=40)
    title: str = Field(max_length=400)
    first_seen: datetime = Field(sa_type=UtcDateTime)
    last_seen: datetime = Field(sa_type=UtcDateTime)


class Incident(SQLModel, table=True):
    """One thread in Slack: panics of one signature that belong together."""

    __tablename__ = "incident"
    __table_args__ = (
        Index("ix_incident_signature_state", "signature_key", "state"),
        Index("ix_incident_state", "state"),
    )
    id: int | None = Field(default=None, primary_key=True)
    signature_key: str = Field(max_length=300)
    title: str = Field(max_length=400)
    wave: bool = False  # the one thread that lists many panics nobody could read yet
    channel: str = Field(max_length=40)
    severity: str = Field(default="normal", max_length=20)
    state: IncidentState = Field(default=IncidentState.OPEN, sa_type=EnumText(IncidentState))
    silenced: bool = False
    opened_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime, index=True)
    last_panic_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    acknowledged_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    acknowledged_by: str | None = None
    assignee: str | None = None
    resolved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    resolved_by: str | None = None
    cause: str | None = Field(default=None, sa_type=Text)
    fixed_by: str | None = Field(default=None, sa_type=Text)
    remind_at: datetime | None = Field(default=None, sa_type=UtcDateTime)  # when the runbook should be done
    reminded_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    mentioned_again_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    paged_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    runbook_done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    previous_id: int | None = Field(default=None, foreign_key="incident.id")
    merged_into_id: int | None = Field(default=None, foreign_key="incident.id")


class Panic(SQLModel, table=True):
    """One crash of one host's one boot, whoever told of it."""

    __tablename__ = "panic"
    __table_args__ = (
        Index("ix_panic_host_occurred", "host", "occurred_at"),
        Index("ix_panic_signature_occurred", "signature_key", "occurred_at", "host", "deliberate"),
        # With `id`, so that a list is read in its order; with the rest, so that hosts are counted from it alone.
        Index("ix_panic_occurred", "occurred_at", "id", "host", "deliberate"),
        Index("ix_panic_kernel_occurred", "kernel", "occurred_at"),
        Index("ix_panic_kind_occurred", "kind", "occurred_at"),
        Index("ix_panic_ring_occurred", "ring", "occurred_at"),
        Index("ix_panic_hardware_occurred", "hardware", "occurred_at"),
    )
    id: int | None = Field(default=None, primary_key=True)
    host: str = Field(max_length=255)
    ring: str | None = None
    hardware: str | None = None
    criticality: str = "normal"
    owner: str | None = None
    boot_id: str | None = Field(default=None, max_length=64, index=True)
    boot_started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    occurred_at: datetime = Field(sa_type=UtcDateTime)
    reported_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    kernel: str | None = Field(default=None, max_length=200)
    kernel_build: str | None = None
    arch: str | None = None
    uptime_seconds: float | None = None
    kind: str = Field(default="unknown", max_length=40)
    title: str = Field(max_length=400)
    signature_key: str = Field(max_length=300)
    function: str | None = None
    module: str | None = None
    frames: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    taint: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    process: str | None = None
    deliberate: bool = False
    head_lost: bool = False
    dump_state: DumpState = Field(default=DumpState.UNKNOWN, sa_type=EnumText(DumpState))
    dump_path: str | None = None
    dump_size: int | None = Field(default=None, sa_type=BigInteger)
    dump_note: str | None = None
    down_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    back_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    running_kernel: str | None = None
    silenced: bool = False
    reclassified: bool = False
    incident_id: int | None = Field(default=None, foreign_key="incident.id", index=True)
    # Last, because they are long: what stands behind them in a row costs a read of their overflow pages.
    crash_lines: str = Field(default="", sa_type=Text)  # the lines of the crash itself
    text: str = Field(default="", sa_type=Text)  # the whole text that was read


class TimelineEntry(SQLModel, table=True):
    """What happened in an incident, in words, in order."""

    __tablename__ = "timeline_entry"
    id: int | None = Field(default=None, primary_key=True)
    incident_id: int = Field(foreign_key="incident.id", index=True)
    panic_id: int | None = Field(default=None, foreign_key="panic.id")
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    actor: str = "panicroom"  # a Slack user id, `host:NAME`, or panicroom itself
    verb: str = Field(max_length=40)
    text: str = Field(default="", sa_type=Text)


class AuditEntry(SQLModel, table=True):
    """Who asked for what, on what, and what came of it. Never changed, never deleted by the bot."""

    __tablename__ = "audit_entry"
    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime, index=True)
    actor: str = Field(index=True)
    verb: str = Field(max_length=60, index=True)
    subject: str = Field(default="", max_length=300)
    outcome: str = Field(max_length=40)  # done, refused, failed, started, ...
    detail: str = Field(default="", sa_type=Text)


class Correction(SQLModel, table=True):
    """A person's correction of the bot (merge, split, reclassify), with what is needed to undo it."""

    __tablename__ = "correction"
    id: int | None = Field(default=None, primary_key=True)
    verb: str = Field(max_length=40)
    incident_id: int = Field(foreign_key="incident.id", index=True)
    panic_id: int | None = Field(default=None, foreign_key="panic.id")
    before: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    after: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    actor: str
    at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    undone_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    undone_by: str | None = None


class Silence(SQLModel, table=True):
    """Planned work: panics of matching hosts are recorded and threaded, and nobody is mentioned."""

    __tablename__ = "silence"
    id: int | None = Field(default=None, primary_key=True)
    pattern: str = Field(max_length=255)
    reason: str = ""
    created_by: str
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    until: datetime = Field(sa_type=UtcDateTime, index=True)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
