"""Tables of work in hand: Slack's in- and outbox, runbook runs, artefacts, change links."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from storage.types import EnumText, UtcDateTime, utc_now


class MessageState(StrEnum):
    """Where an outgoing Slack message stands."""

    WAITING = "waiting"  # never tried, or certain not to have landed
    SENDING = "sending"  # a call was begun: until its answer is stored it may or may not have landed
    SENT = "sent"
    FAILED = "failed"  # Slack refused it for good; `error` says why


class SlackMessage(SQLModel, table=True):
    """A message that should stand in Slack: outbox, and memory of what was posted where.

    `wanted` counts the versions asked for, `sent` the version that stands in Slack. A message with a
    `renderer` is drawn afresh from the database when its turn comes, so ten changes cost one edit;
    one with a `payload` is fixed (text, blocks).
    """

    __tablename__ = "slack_message"
    __table_args__ = (Index("ix_slack_message_due", "state", "next_at"),)
    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True, max_length=200)
    incident_id: int | None = Field(default=None, index=True)
    channel: str = Field(max_length=40)
    thread_key: str | None = Field(default=None, max_length=200)  # key of the parent message
    thread_ts: str | None = Field(default=None, max_length=40)
    renderer: str | None = Field(default=None, max_length=60)
    subject_id: int | None = None
    payload: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    file_path: str | None = None  # a file to upload with the message, under the store directory
    file_name: str | None = None
    wanted: int = 1
    sent: int = 0
    ts: str | None = Field(default=None, max_length=40)
    permalink: str | None = Field(default=None, max_length=400)  # of a parent, once it stands
    state: MessageState = Field(default=MessageState.WAITING, sa_type=EnumText(MessageState))
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    attempted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    looked: int = 0  # how often we looked for it after an unclear failure
    check_doubles_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    attempts: int = 0
    next_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    error: str | None = Field(default=None, sa_type=Text)


class SlackRequest(SQLModel, table=True):
    """A command, click, submission or event from Slack, committed before it is acknowledged."""

    __tablename__ = "slack_request"
    __table_args__ = (Index("ix_slack_request_state_id", "state", "id"),)
    id: int | None = Field(default=None, primary_key=True)
    dedupe: str = Field(unique=True, max_length=200)
    kind: str = Field(max_length=40)
    body: str = Field(sa_type=Text)
    received_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    state: str = Field(default="new", max_length=20)  # new, done, failed
    attempts: int = 0
    error: str | None = Field(default=None, sa_type=Text)


class RunState(StrEnum):
    """Where a run on a host stands."""

    WAITING = "waiting"  # the host does not answer yet
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunbookRun(SQLModel, table=True):
    """One run of the triage runbook or of the evidence collection on a host."""

    __tablename__ = "runbook_run"
    id: int | None = Field(default=None, primary_key=True)
    kind: str = Field(default="triage", max_length=20)  # triage, evidence
    panic_id: int = Field(foreign_key="panic.id", index=True)
    workflow_id: str = Field(unique=True, max_length=100)
    state: RunState = Field(default=RunState.WAITING, sa_type=EnumText(RunState))
    asked_by: str
    asked_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    attempts: int = 0  # connection attempts so far
    next_try_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    give_up_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cancelled_by: str | None = None
    note: str = Field(default="", sa_type=Text)


class StepResult(SQLModel, table=True):
    """One step of a run: what it found in plain words, and the raw output."""

    __tablename__ = "step_result"
    __table_args__ = (UniqueConstraint("run_id", "name", name="uq_step_result_run_name"),)
    id: int | None = Field(default=None, primary_key=True)
    run_id: int = Field(foreign_key="runbook_run.id", index=True)
    position: int = 0
    name: str = Field(max_length=60)
    title: str = Field(max_length=200)
    state: str = Field(default="waiting", max_length=20)  # waiting, running, ok, warn, failed, skipped
    summary: str = Field(default="", sa_type=Text)
    facts: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    outputs: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Artefact(SQLModel, table=True):
    """A file we keep: an evidence bundle, the panic's text, a dump."""

    __tablename__ = "artefact"
    id: int | None = Field(default=None, primary_key=True)
    panic_id: int = Field(foreign_key="panic.id", index=True)
    run_id: int | None = Field(default=None, foreign_key="runbook_run.id")
    kind: str = Field(max_length=40)  # bundle, text, vmcore
    name: str = Field(max_length=255)
    sha256: str = Field(max_length=64)
    size: int = Field(sa_type=BigInteger)
    path: str  # relative to the store directory
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    verified_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    pinned: bool = False


class ChangeLink(SQLModel, table=True):
    """A change ticket beside a panic, as last seen at the tracker."""

    __tablename__ = "change_link"
    __table_args__ = (UniqueConstraint("panic_id", "key", name="uq_change_link_panic_key"),)
    id: int | None = Field(default=None, primary_key=True)
    panic_id: int = Field(foreign_key="panic.id", index=True)
    key: str = Field(max_length=60, index=True)
    automatic: bool = False
    state: str = Field(default="pending", max_length=20)  # pending, linked, failed, removed
    linked_by: str
    linked_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    note: str = Field(default="", sa_type=Text)
    summary: str = Field(default="", sa_type=Text)
    status: str = ""
    assignee: str | None = None
    started: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended: datetime | None = Field(default=None, sa_type=UtcDateTime)
    url: str = ""
    told_at: datetime | None = Field(
        default=None, sa_type=UtcDateTime
    )  # comment and remote link made or renewed
    told_mark: str = Field(default="", max_length=60)  # what names the incident in the comment
    told_resolved: bool = False  # whether the comment says that the incident is resolved
    told_artefact: int = 0  # the newest artefact there was when the comment was written
    look_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)  # when it is read again
    problem: bool = False  # the problem ticket of the panic's signature, not a change
    gone: str | None = Field(default=None, sa_type=Text)  # why the ticket can no longer be read
    attempts: int = 0
    next_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    error: str | None = Field(default=None, sa_type=Text)
