"""The parent message of an incident: what a half-awake reader sees first, drawn from what is known now."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

from sqlmodel import Session, col, func, select

from commands.incident import living, thread
from commands.incident.causes import known_line, resolution_words
from commands.incident.loops import VERB as LOOP
from commands.incident.membership import LIVE
from commands.incident.rendering import Rendered, renderer
from commands.incident.stormwords import head_lines
from commands.incident.wording import dump_line, listing, redacted, span
from commands.past import past_line
from integrations.redaction import redact_lines
from integrations.slack import blocks as b
from integrations.slack.text import clean, code, date, escape, shorten, user
from storage import (
    ChangeLink,
    DumpCopy,
    Incident,
    IncidentState,
    LiveSighting,
    Panic,
    RunbookRun,
    RunState,
    StepResult,
    TimelineEntry,
    incident_ref,
    panic_ref,
)
from storage.queries import threads_of
from storage.recurrence import recurrence

_LIGHT = {
    IncidentState.OPEN: ":red_circle:",
    IncidentState.ACKNOWLEDGED: ":large_orange_circle:",
    IncidentState.RESOLVED: ":white_check_mark:",
    IncidentState.MERGED: ":arrow_right:",
}


@renderer("incident")
def draw_incident(session: Session, incident_id: int) -> Rendered | None:
    incident = session.get(Incident, incident_id)
    if incident is None:
        return None
    # Text and frames of thousands of panics are not needed to count hosts.
    rows = session.exec(
        select(Panic.host, Panic.kernel, Panic.ring)
        .where(Panic.incident_id == incident_id)
        .order_by(col(Panic.occurred_at))
    ).all()
    newest = session.exec(
        select(Panic).where(Panic.incident_id == incident_id).order_by(col(Panic.id).desc()).limit(1)
    ).first()
    hosts = list(dict.fromkeys(r[0] for r in rows))
    if newest is None:
        return _draw_empty(session, incident)
    known = living.sighting_of(session, newest.id)
    headline = _headline(incident, hosts, living.doing(known, newest.host))
    light = (
        _LIGHT[incident.state]
        if not newest.deliberate or incident.state is not IncidentState.OPEN
        else ":test_tube:"
    )
    headline = redacted(headline, *hosts)
    made: list[dict[str, Any]] = [b.section(f"{light} *{escape(shorten(headline, 400))}*")]
    made.append(b.context(" · ".join(_ids(session, incident, newest, len(rows)))))
    awaited = living.awaited_line(session, incident.id, newest)
    if awaited:
        made.append(b.section(awaited))
    known_cause = known_line(session, newest)
    if known_cause:
        made.append(b.section(known_cause))
    made.append(b.section("\n".join(_facts(session, incident, newest, hosts, rows, known))))
    state = _state_line(session, incident)
    if state:
        made.append(b.context(state))
    if incident.state is not IncidentState.MERGED:
        made.append(_buttons(incident, newest))
    return Rendered(
        escape(shorten(f"{headline} ({panic_ref(newest.id)}, {incident_ref(incident.id)})", 500)), made
    )


def _draw_empty(session: Session, incident: Incident) -> Rendered:
    """All its panics moved elsewhere."""
    name = f"{incident_ref(incident.id)} is empty."
    where = ""
    if incident.merged_into_id:
        where = f" Its panics are in {thread.incident_link(session, incident.merged_into_id)}."
    return Rendered(name, [b.section(f":arrow_right: *{name}*{where}"), b.context(escape(incident.title))])


def _headline(incident: Incident, hosts: list[str], doing: str | None) -> str:
    if incident.wave:
        return f"{len(hosts):,} hosts panicked without a readable cause"
    if len(hosts) == 1:
        return f"{doing}: {incident.title}" if doing else headline(hosts[0], incident.title)
    return f"{len(hosts):,} hosts panicked: {incident.title}"


def headline(host: str, title: str) -> str:
    """`web-17 panicked: NULL pointer dereference in nvme_irq`; without a readable cause, without a second colon."""
    return (
        f"{host} panicked, {title.replace(': ', ', ')}"
        if title.startswith("cause unknown")
        else f"{host} panicked: {title}"
    )


def _ids(session: Session, incident: Incident, newest: Panic, panics: int) -> list[str]:
    parts = [panic_ref(newest.id) if panics == 1 else f"{panics} panics, last {panic_ref(newest.id)}"]
    parts.append(incident_ref(incident.id))
    if incident.severity == "critical":
        parts.append(":rotating_light: *critical*")
    loop = session.exec(
        select(TimelineEntry.id).where(
            TimelineEntry.incident_id == incident.id,
            TimelineEntry.verb == LOOP,
            TimelineEntry.panic_id == newest.id,
        )
    ).first()
    if loop is not None:
        parts.append(":repeat: *crash loop*")
    if newest.deliberate:
        parts.append("deliberate (a test)")
    if newest.head_lost:
        parts.append("the head of the crash text was lost")
    if incident.silenced:
        parts.append(":no_bell: silenced (planned work)")
    return parts


def _facts(
    session: Session,
    incident: Incident,
    newest: Panic,
    hosts: list[str],
    rows: Any,
    known: LiveSighting | None,
) -> list[str]:
    lines = []
    if len(hosts) > 1:
        lines.append(f"Hosts: {listing(hosts, 8)}")
        lines.append(f"Kernels: {_counted(r[1] for r in rows)} · Rings: {_counted(r[2] for r in rows)}")
    lines += head_lines(session, incident.id or 0)
    facts = [f"kernel {code(newest.kernel or 'unknown')}", f"up {span(newest.uptime_seconds)}"]
    if newest.ring:
        facts.append(f"ring {escape(newest.ring)}")
    if newest.hardware:
        facts.append(escape(shorten(redacted(newest.hardware), 80)))
    facts.append(date(newest.occurred_at))
    lines.append(" · ".join(facts))
    if newest.taint:
        lines.append(f"Taint: {escape(shorten(', '.join(newest.taint), 200))}")
    past = recurrence(session, newest)
    lines.append(past_line(past, threads_of(session, past.similar)))
    if incident.previous_id is not None:
        previous = session.get_one(Incident, incident.previous_id)
        told = f"Came back after {thread.incident_link(session, previous.id)} was resolved"
        lines.append(f"{told}{resolution_words(previous)}.")
    change = _change_line(session, newest)
    if change:
        lines.append(change)
    copy = session.exec(
        select(DumpCopy).where(DumpCopy.panic_id == newest.id).order_by(col(DumpCopy.id).desc()).limit(1)
    ).first()
    lines.append(f"{dump_line(newest, copy)}\n{_runbook_line(session, incident)}")
    if not living.lives(known):
        lines.append(_down_line(newest))
    return lines


def _counted(values: Any) -> str:
    counts = Counter(v or "unknown" for v in values).most_common(4)
    return ", ".join(f"{escape(name)} ×{count}" for name, count in counts)


def _change_line(session: Session, newest: Panic) -> str:
    links = session.exec(
        select(ChangeLink)
        .join(Panic, col(Panic.id) == ChangeLink.panic_id)
        .where(Panic.incident_id == newest.incident_id, ChangeLink.state == "linked")
        .order_by(col(ChangeLink.automatic), col(ChangeLink.id).desc())
        .limit(3)
    ).all()
    said = [
        f"*{escape(x.key)}* “{escape(shorten(x.summary, 80))}”" for x in {x.key: x for x in links}.values()
    ]
    if not said:
        return ""
    return f"{'Change' if not all(x.automatic for x in links) else 'Likely change'}: {' · '.join(said)}"


def _runbook_line(session: Session, incident: Incident) -> str:
    run = session.exec(
        select(RunbookRun)
        .join(Panic, col(Panic.id) == RunbookRun.panic_id)
        .where(Panic.incident_id == incident.id, RunbookRun.kind == "triage")
        .order_by(col(RunbookRun.id).desc())
        .limit(1)
    ).first()
    due = (
        f" · should be done by {date(incident.remind_at, '{time}')}"
        if incident.remind_at and incident.state in LIVE
        else ""
    )
    if run is None:
        return f"Runbook: not started{due}"
    total = session.exec(
        select(func.count()).select_from(StepResult).where(StepResult.run_id == run.id)
    ).one()
    done = session.exec(
        select(func.count())
        .select_from(StepResult)
        .where(StepResult.run_id == run.id, col(StepResult.state).not_in(("waiting", "running")))
    ).one()
    words = {
        RunState.WAITING: f"waiting for {escape('the host')}",
        RunState.RUNNING: "running",
        RunState.DONE: ":white_check_mark: done",
        RunState.FAILED: ":warning: failed",
        RunState.CANCELLED: "cancelled",
    }[run.state]
    took = due if run.state in (RunState.WAITING, RunState.RUNNING) else ""
    if incident.runbook_done_at is not None:
        took = f" · {span(incident.runbook_done_at - incident.opened_at)} after the incident opened"
    return f"Runbook {done}/{total}: {words}{took}"


def _down_line(panic: Panic) -> str:
    parts = []
    if panic.down_since is not None:
        parts.append(f"down since {date(panic.down_since, '{time_secs}')}")
    if panic.back_at is not None:
        parts.append(f"back at {date(panic.back_at, '{time_secs}')}")
        if panic.down_since is not None and panic.back_at - panic.down_since >= timedelta(seconds=1):
            parts.append(f"down {span(panic.back_at - panic.down_since)}")
    else:
        parts.append("not known to be back")
    if panic.running_kernel:
        parts.append(f"now running {code(panic.running_kernel)}")
    return " · ".join(parts)


def _state_line(session: Session, incident: Incident) -> str:
    parts = []
    if incident.state is IncidentState.MERGED:
        parts.append(f"Moved to {thread.incident_link(session, incident.merged_into_id)}")
    if incident.acknowledged_by and incident.acknowledged_at:
        parts.append(
            f"Acknowledged by {user(incident.acknowledged_by)} {date(incident.acknowledged_at, '{time}')}"
        )
    if incident.assignee:
        parts.append(f"Assigned to {user(incident.assignee)}")
    if incident.state is IncidentState.RESOLVED and incident.resolved_at and incident.resolved_by:
        parts.append(
            f"Resolved by {user(incident.resolved_by)} {date(incident.resolved_at, '{date_short} {time}')}"
        )
        if incident.cause:
            parts.append(f"Cause: {escape(shorten(incident.cause, 300))}")
        if incident.fixed_by:
            parts.append(f"Fixed by: {escape(shorten(incident.fixed_by, 200))}")
    return " · ".join(parts)


def _buttons(incident: Incident, newest: Panic) -> dict[str, Any]:
    panic, ref = panic_ref(newest.id), incident_ref(incident.id)
    elements = [
        b.button(
            "Run triage", "triage.run", panic, style="primary" if incident.runbook_done_at is None else None
        ),
        b.button("Collect evidence", "evidence.collect", panic),
        b.button("Link change", "changes.link", panic),
    ]
    more = [
        b.option("Copy vmcore", f"copies.begin|{panic}"),
        b.option("Assign to me", f"incident.take|{ref}"),
        b.option("Add a note", f"incident.note|{ref}"),
        b.option("Timeline", f"incident.timeline|{ref}"),
    ]
    if incident.state is IncidentState.OPEN:
        elements.append(b.button("Acknowledge", "incident.acknowledge", ref))
    if incident.state is IncidentState.RESOLVED:
        elements.append(b.button("Reopen", "incident.reopen", ref))
    else:
        more.insert(2, b.option("Resolve", f"incident.resolve|{ref}"))
    elements.append(b.overflow("incident.more", more))
    return b.actions(elements, block_id=f"incident:{incident.id}")


@renderer("panic_text")
def draw_panic_text(session: Session, panic_id: int) -> Rendered | None:
    """The kernel's own words: how the report begins (it names the fault), and its last 40 lines."""
    panic = session.get(Panic, panic_id)
    if panic is None:
        return None
    named = redacted(panic.title, panic.host)
    title = f"{panic_ref(panic.id)} · {escape(panic.host)}: {escape(shorten(named, 300))}"
    source = panic.crash_lines or panic.text
    if not source.strip():
        text = f"{title}\nNo crash text came with the report. Triage looks for it on the host."
        return Rendered(text, [b.section(text)])
    lines = source.splitlines()
    # A key goes over many lines: those around the ones shown are looked at, too.
    tail = _within(redact_lines(lines[-_AROUND:], (panic.host,))[: -_TAIL_LINES - 1 : -1], _TAIL_BUDGET)
    tail.reverse()
    left = len(lines) - len(tail)
    first = redact_lines(lines[:_AROUND], (panic.host,))[: min(_HEAD_LINES, left)]
    head = _within(first, _HEAD_BUDGET) if panic.crash_lines else []
    made = [b.section(f"*{title}*")]
    missing = living.loss_line(living.sighting_of(session, panic.id))
    if missing:
        made.append(b.context(f":warning: {missing}"))
    if head:
        made += [b.section(block) for block in _code_sections(head)]
    if left > len(head):
        made.append(b.context(f"… {left - len(head)} lines, in the file below …"))
    made += [b.section(block) for block in _code_sections(tail)]
    frames = " ← ".join(code(f) for f in panic.frames[:6])
    if frames:
        made.append(b.context(f"Frames: {frames}"))
    return Rendered(escape(shorten(f"{panic_ref(panic.id)} {panic.host}: {named}", 300)), made)


# Slack refuses a message whose blocks are larger than about 13,200 characters of JSON (msg_blocks_too_long).
_HEAD_LINES = 8
_TAIL_LINES = 40
_AROUND = 200
_HEAD_BUDGET = 1800
_TAIL_BUDGET = 8500


def _within(lines: list[str], budget: int) -> list[str]:
    """The first lines that fit, cleaned and escaped; `budget` in characters of JSON."""
    kept: list[str] = []
    for line in lines:
        line = shorten(clean(line), 500).replace("```", "ˋˋˋ")
        line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        budget -= len(json.dumps(line))
        if budget < 0:
            break
        kept.append(line)
    return kept


def _code_sections(lines: list[str]) -> list[str]:
    """Fenced blocks of whole lines, each within a section's 3,000 characters."""
    made: list[str] = []
    chunk: list[str] = []
    for line in lines:
        if chunk and sum(len(c) + 1 for c in chunk) + len(line) > 2900:
            made.append("```\n" + "\n".join(chunk) + "\n```")
            chunk = []
        chunk.append(line[:2900])
    if chunk:
        made.append("```\n" + "\n".join(chunk) + "\n```")
    return made
