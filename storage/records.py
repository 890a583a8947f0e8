"""Everything that is known of one panic, gathered for a reader or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from sqlmodel import Session, SQLModel, col, func, select

from storage.ids import incident_ref, panic_ref, report_ref
from storage.known import KnownCause, known_cause
from storage.queries import Filters, PanicRow, list_rows, parents_of, threads_of
from storage.recurrence import Recurrence, is_readable, recurrence, recurrence_line
from storage.tables import Correction, Incident, Panic, Report, TimelineEntry
from storage.work import Artefact, ChangeLink, RunbookRun, StepResult

TIMELINE_READ = 200  # the newest entries of an incident's timeline; `timeline_total` says how many there are
PANICS_READ = 10  # the newest panics of an incident


@dataclass(frozen=True)
class IncidentRecord:
    """One incident with its newest panics (newest first) and the change tickets of any of them."""

    incident: Incident
    channel: str | None  # of its parent message, with its ts; both None until it was posted
    ts: str | None
    panics: tuple[PanicRow, ...]
    panics_total: int
    hosts_total: int
    links: tuple[ChangeLink, ...]  # oldest first


@dataclass(frozen=True)
class Witness:
    """A notification that told of the panic."""

    report_id: int
    source: str
    received_at: datetime


@dataclass(frozen=True)
class PanicRecord:
    """One panic with its incident and all that hangs on either. Lists are oldest first."""

    panic: Panic
    incident: Incident | None
    channel: str | None  # of the incident's parent message, with its ts; both None until it was posted
    ts: str | None
    others: int  # further panics in the same incident
    recurrence: Recurrence
    similar_threads: Mapping[
        int, str
    ]  # of the panics in `recurrence.similar`: address of the thread, where known
    witnesses: tuple[Witness, ...]
    timeline: tuple[TimelineEntry, ...]
    timeline_total: int
    runs: tuple[tuple[RunbookRun, tuple[StepResult, ...]], ...]
    artefacts: tuple[Artefact, ...]
    links: tuple[ChangeLink, ...]
    corrections: tuple[Correction, ...]
    known: KnownCause | None = None  # what people know of its signature


def record(
    session: Session, panic_id: int, *, timeline_limit: int | None = TIMELINE_READ
) -> PanicRecord | None:
    """None when there is no such panic. `timeline_limit`: how many of the newest entries are read; None: all."""
    panic = session.get(Panic, panic_id)
    if panic is None:
        return None
    incident = session.get(Incident, panic.incident_id) if panic.incident_id is not None else None
    timeline: list[TimelineEntry] = []
    corrections: list[Correction] = []
    total = others = 0
    channel = ts = None
    if incident is not None and incident.id is not None:
        _state, channel, ts = parents_of(session, {incident.id}).get(incident.id, (None, None, None))
        of_incident = TimelineEntry.incident_id == incident.id
        newest = select(TimelineEntry).where(of_incident).order_by(col(TimelineEntry.id).desc())
        timeline = list(session.exec(newest.limit(timeline_limit)).all())[::-1]
        total = session.exec(select(func.count()).select_from(TimelineEntry).where(of_incident)).one()
        others = (
            session.exec(
                select(func.count()).select_from(Panic).where(Panic.incident_id == incident.id)
            ).one()
            - 1
        )
        corrections = list(
            session.exec(
                select(Correction).where(Correction.incident_id == incident.id).order_by(col(Correction.id))
            ).all()
        )
    runs = session.exec(
        select(RunbookRun).where(RunbookRun.panic_id == panic_id).order_by(col(RunbookRun.id))
    ).all()
    before = recurrence(session, panic)
    return PanicRecord(
        panic=panic,
        incident=incident,
        channel=channel,
        ts=ts,
        others=others,
        recurrence=before,
        similar_threads=threads_of(session, before.similar),
        witnesses=_witnesses(session, panic_id),
        timeline=tuple(timeline),
        timeline_total=total,
        runs=tuple((run, _steps(session, run)) for run in runs),
        artefacts=tuple(
            session.exec(
                select(Artefact).where(Artefact.panic_id == panic_id).order_by(col(Artefact.id))
            ).all()
        ),
        links=tuple(
            session.exec(
                select(ChangeLink).where(ChangeLink.panic_id == panic_id).order_by(col(ChangeLink.id))
            ).all()
        ),
        corrections=tuple(corrections),
        known=known_cause(session, panic.signature_key)
        if is_readable(panic.kind, panic.signature_key)
        else None,
    )


def show_json(session: Session, panic_id: int) -> dict[str, Any] | None:
    """The record as JSON-ready values (times as ISO 8601 in UTC), with the whole timeline; None when there is no such
    panic."""
    found = record(session, panic_id, timeline_limit=None)
    if found is None:
        return None
    facts = asdict(found.recurrence)
    return {
        "id": panic_ref(panic_id),
        "panic": _plain(found.panic),
        "incident": _plain(found.incident) if found.incident is not None else None,
        "incident_id": incident_ref(found.incident.id) if found.incident is not None else None,
        "message": {"channel": found.channel, "ts": found.ts} if found.ts else None,
        "other_panics_in_incident": found.others,
        "known_cause": _plain(found.known) if found.known is not None else None,
        "recurrence": _value({**facts, "line": recurrence_line(found.recurrence)}),
        "witnesses": [
            {"report": report_ref(w.report_id), "source": w.source, "received_at": _value(w.received_at)}
            for w in found.witnesses
        ],
        "timeline": [_plain(entry) for entry in found.timeline],
        "timeline_total": found.timeline_total,
        "runs": [{**_plain(run), "steps": [_plain(step) for step in steps]} for run, steps in found.runs],
        "artefacts": [_plain(a) for a in found.artefacts],
        "links": [_plain(link) for link in found.links],
        "corrections": [_plain(c) for c in found.corrections],
    }


def incident_record(session: Session, incident_id: int) -> IncidentRecord | None:
    """None when there is no such incident."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        return None
    _state, channel, ts = parents_of(session, {incident_id})[incident_id]
    panics, hosts = session.exec(
        select(func.count(), func.count(func.distinct(Panic.host)))
        .select_from(Panic)
        .where(Panic.incident_id == incident_id)
    ).one()
    links = session.exec(
        select(ChangeLink)
        .join(Panic, col(Panic.id) == ChangeLink.panic_id)
        .where(Panic.incident_id == incident_id, ChangeLink.state != "removed")
        .order_by(col(ChangeLink.id))
        .limit(50)
    ).all()
    newest = tuple(list_rows(session, Filters(incident=incident_id), limit=PANICS_READ))
    return IncidentRecord(incident, channel, ts, newest, panics, hosts, tuple(links))


def _witnesses(session: Session, panic_id: int) -> tuple[Witness, ...]:
    rows = session.exec(
        select(Report.id, Report.source, Report.received_at)
        .where(Report.panic_id == panic_id)
        .order_by(col(Report.id))
    ).all()
    return tuple(Witness(i or 0, source, at) for i, source, at in rows)


def _steps(session: Session, run: RunbookRun) -> tuple[StepResult, ...]:
    return tuple(
        session.exec(
            select(StepResult)
            .where(StepResult.run_id == run.id)
            .order_by(col(StepResult.position), col(StepResult.id))
        ).all()
    )


def _plain(row: SQLModel) -> dict[str, Any]:
    return {name: _value(value) for name, value in row.model_dump().items()}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(k): _value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_value(v) for v in value]
    return value
