"""The host's rows: what goes, what stays as a count, and its messages in Slack. Inside the caller's transaction."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from commands.forget.extent import Extent
from commands.incident.rendering import draw, is_known
from storage import (
    AuditEntry,
    Incident,
    MessageState,
    Panic,
    RetentionRun,
    SlackMessage,
    SweepPlace,
    TimelineEntry,
    panic_ref,
)  # fmt: skip
from storage.names import HostName

ERASED = ":wastebasket: _Erased: what stood here was of a host that Panicroom was told to forget._"
_GONE = "erased"


def erase_panics(session: Session, found: Extent, name: HostName) -> None:
    """What stays of a panic: its signature, kernel, ring and hardware, and the day."""
    for panic in session.exec(select(Panic).where(func.lower(Panic.host) == found.host)):
        panic.host = name.placeholder
        panic.occurred_at = panic.occurred_at.replace(hour=0, minute=0, second=0, microsecond=0)
        panic.reported_at = panic.occurred_at
        panic.text, panic.crash_lines, panic.frames, panic.taint = "", "", [], []
        panic.boot_id = panic.boot_started_at = panic.uptime_seconds = panic.process = panic.owner = None
        panic.dump_path = panic.dump_size = panic.dump_note = panic.kernel_build = None
        panic.down_since = panic.back_at = panic.running_kernel = None
        session.add(panic)


def erase_incidents(session: Session, found: Extent) -> None:
    for incident in session.exec(select(Incident).where(col(Incident.id).in_(found.whole))):
        incident.cause = incident.fixed_by = None
        session.add(incident)
    mine = or_(col(TimelineEntry.panic_id).in_(found.panics), col(TimelineEntry.incident_id).in_(found.whole))
    for entry in session.exec(select(TimelineEntry).where(mine)):
        entry.text = _GONE
        session.add(entry)


def erase_audit(session: Session, found: Extent) -> None:
    """Who did what when stays, without what was typed and found."""
    refs = _refs(found.panics)
    if refs is None:
        return
    named = or_(*(col(AuditEntry.subject).startswith(panic_ref(i)) for i in found.panics[:500]))
    which = named if len(found.panics) <= 500 else col(AuditEntry.subject).startswith("P-")
    for entry in session.exec(select(AuditEntry).where(which)):
        match = refs.match(entry.subject)
        if match is not None:
            entry.subject, entry.detail = match[0], _GONE if entry.detail else ""
            session.add(entry)


def erase_runs(session: Session, found: Extent, name: HostName) -> None:
    """What sweeps had noted of the host, in rows that are of many hosts."""
    for run in session.exec(select(RetentionRun)):
        failed = run.result.get("failed") or []
        kept = [entry for entry in failed if entry[0] not in found.panics]
        if len(kept) < len(failed):
            run.result = {**run.result, "failed": kept}
            session.add(run)
    for place in session.exec(select(SweepPlace).where(SweepPlace.kind != "host")):
        if name.in_text(str(place.findings)):
            place.findings = {}  # the next sweep finds what is there
            session.add(place)


def erase_messages(session: Session, found: Extent, name: HostName, now: datetime) -> list[int]:
    """Messages of the host's incidents say that they were erased, or are drawn anew. Returns their rows' ids.

    To be called when the host's rows are gone: what cannot be drawn any more was of one of them.
    """
    changed = []
    for message in session.exec(
        select(SlackMessage).where(col(SlackMessage.incident_id).in_(found.incidents))
    ):
        if message.renderer == "incident":
            _again(message, now)
        elif message.incident_id in found.whole or is_of(session, message, found, name):
            erase(message, now)
        elif message.renderer is not None:
            _again(message, now)
        else:
            continue
        session.add(message)
        changed.append(message.id or 0)
    return changed


def is_of(session: Session, message: SlackMessage, found: Extent, name: HostName) -> bool:
    """Whether a message in a thread that is of other hosts, too, is of this one."""
    if message.renderer is None:
        said = str(message.payload or "") + (message.file_name or "")
        refs = _refs(found.panics)
        return name.in_text(said) or (refs is not None and refs.search(said) is not None)
    if message.renderer == "panic_text":
        return message.subject_id in found.panics
    if not is_known(message.renderer):
        return True
    with session.begin_nested():
        return draw(message.renderer, session, message.subject_id or 0) is None


def erase(message: SlackMessage, now: datetime) -> None:
    """The row says it; the printer edits what stands in Slack. What was not said yet never is."""
    message.renderer, message.subject_id = None, None
    message.payload = {"text": ERASED, "blocks": []}
    message.file_name = None
    message.error = None
    if message.file_path is not None:
        message.file_path = "erased"
        message.state = MessageState.SENT if message.ts else MessageState.FAILED
        return
    if message.ts is None and message.state is not MessageState.SENDING:
        message.state, message.error = MessageState.FAILED, _GONE
        return
    _again(message, now)


def _again(message: SlackMessage, now: datetime) -> None:
    message.wanted += 1
    if message.state in (MessageState.SENT, MessageState.FAILED) and message.ts is not None:
        message.state, message.next_at = MessageState.WAITING, now


def redraw(session: Session, ids: Iterable[int], now: datetime) -> None:
    for message in session.exec(select(SlackMessage).where(col(SlackMessage.id).in_(list(ids)))):
        if message.file_path is None:
            _again(message, now)
            session.add(message)


def naming(
    session: Session, name: HostName, since: datetime, after: int, limit: int
) -> tuple[list[int], int | None]:
    """Drawn messages in Slack that name the host now, among the next `limit` behind the id `after`: (ids, the last
    id that was looked at, or None at the end)."""
    rows = session.exec(
        select(SlackMessage)
        .where(
            col(SlackMessage.id) > after,
            SlackMessage.created_at >= since,
            col(SlackMessage.renderer).is_not(None),
            col(SlackMessage.ts).is_not(None),
        )
        .order_by(col(SlackMessage.id))
        .limit(limit)
    ).all()
    made = []
    for message in rows:
        if not is_known(message.renderer or ""):
            continue
        drawn: Any = draw(message.renderer or "", session, message.subject_id or 0)
        if drawn is not None and name.in_text(drawn.text + str(drawn.blocks)):
            made.append(message.id or 0)
    return made, (rows[-1].id if len(rows) == limit else None)


def _refs(panics: Iterable[int]) -> re.Pattern[str] | None:
    numbers = "|".join(map(str, panics))
    return re.compile(rf"\bP-(?:{numbers})\b") if numbers else None
