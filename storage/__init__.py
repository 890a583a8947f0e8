"""Tables, database, inbox, queries and migrations. Knows nothing of Slack, SSH or kernels."""

from __future__ import annotations

from storage.database import Database
from storage.ids import incident_ref, panic_ref, parse_ref, report_ref
from storage.tables import (
    AuditEntry,
    Correction,
    DumpState,
    Host,
    Incident,
    IncidentState,
    Panic,
    Report,
    ReportState,
    Signature,
    Silence,
    TimelineEntry,
)
from storage.types import UtcDateTime, utc_now
from storage.work import (
    Artefact,
    ChangeLink,
    MessageState,
    RunbookRun,
    RunState,
    SlackMessage,
    SlackRequest,
    StepResult,
)

__all__ = [
    "Artefact",
    "AuditEntry",
    "ChangeLink",
    "Correction",
    "Database",
    "DumpState",
    "Host",
    "Incident",
    "IncidentState",
    "MessageState",
    "Panic",
    "Report",
    "ReportState",
    "RunState",
    "RunbookRun",
    "Signature",
    "Silence",
    "SlackMessage",
    "SlackRequest",
    "StepResult",
    "TimelineEntry",
    "UtcDateTime",
    "incident_ref",
    "panic_ref",
    "parse_ref",
    "report_ref",
    "utc_now",
]
