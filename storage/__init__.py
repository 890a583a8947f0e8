"""Tables, database, inbox, queries and migrations. Knows nothing of Slack, SSH or kernels."""

from __future__ import annotations

from storage.changes import ChangeFinding, ChangeRecord, ChangeTouch
from storage.copies import CopyState, DumpCopy, DumpPart
from storage.database import Database
from storage.derived import rebuild as rebuild_derived
from storage.drills import Drill, DrillState
from storage.erasure import Erasure, ErasureItem, ErasureStage, ErasureState, ItemOutcome
from storage.fetching import DumpFetch, DumpLink, FetchState
from storage.ids import incident_ref, panic_ref, parse_ref, report_ref
from storage.known import KnownCause
from storage.lease import Lease
from storage.live import LiveSighting, LiveState
from storage.problems import ProblemTicket
from storage.readiness import HostReadiness, ReadinessChange
from storage.retention import CopyCare, HostKeeps, ItemState, Pin, RetentionItem, RetentionRun
from storage.storms import Storm
from storage.sweeps import PlaceState, SweepPlace, SweepRun, SweepState
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
from storage.uploads import Upload
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
    "ChangeFinding",
    "ChangeLink",
    "ChangeRecord",
    "ChangeTouch",
    "CopyCare",
    "CopyState",
    "Correction",
    "Database",
    "Drill",
    "DrillState",
    "DumpCopy",
    "DumpFetch",
    "DumpLink",
    "DumpPart",
    "DumpState",
    "Erasure",
    "ErasureItem",
    "ErasureStage",
    "ErasureState",
    "FetchState",
    "Host",
    "HostKeeps",
    "HostReadiness",
    "Incident",
    "IncidentState",
    "ItemOutcome",
    "ItemState",
    "KnownCause",
    "Lease",
    "LiveSighting",
    "LiveState",
    "MessageState",
    "Panic",
    "Pin",
    "PlaceState",
    "ProblemTicket",
    "ReadinessChange",
    "Report",
    "ReportState",
    "RetentionItem",
    "RetentionRun",
    "RunState",
    "RunbookRun",
    "Signature",
    "Silence",
    "SlackMessage",
    "SlackRequest",
    "StepResult",
    "Storm",
    "SweepPlace",
    "SweepRun",
    "SweepState",
    "TimelineEntry",
    "Upload",
    "UtcDateTime",
    "incident_ref",
    "panic_ref",
    "parse_ref",
    "rebuild_derived",
    "report_ref",
    "utc_now",
]
