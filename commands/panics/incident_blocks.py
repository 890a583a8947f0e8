"""What a reader sees of `/panic show I-7`: the incident, its panics, and as much of its timeline as fits."""

from __future__ import annotations

from datetime import datetime

from commands.fitting import MESSAGE_LIMIT, length, linked
from commands.incident.wording import redacted, span
from commands.panics.blocks import LIGHTS, change_line, group, incident_words
from commands.timeline import Stretch, timeline_blocks
from integrations.slack import blocks as b
from integrations.slack.text import code, date, escape, shorten
from storage import Incident, IncidentState, incident_ref, panic_ref
from storage.queries import PanicRow
from storage.records import IncidentRecord


def incident_message(
    found: IncidentRecord, newest: Stretch, link: str | None, now: datetime
) -> tuple[str, list[b.Block]]:
    """The timeline gets the room that the rest leaves, which is most of it; its buttons lead to what is earlier."""
    incident = found.incident
    ref = incident_ref(incident.id)
    made = [b.section(f"*{linked(ref, link)} · {escape(shorten(redacted(incident.title), 250))}*")]
    made.append(b.context(" · ".join(_standing(incident, now))))
    more = found.panics_total - len(found.panics)
    rows = [_panic_line(row) for row in found.panics] + ([f"and {more} older"] if more else [])
    made += group(_count(found), rows, 2600)
    made += group("Changes", [change_line(c) for c in found.links], 1200)
    foot = [b.context(_pointer(found))] if found.panics else []
    made += timeline_blocks(newest, MESSAGE_LIMIT - length(made) - length(foot))
    return escape(shorten(f"{ref} {redacted(incident.title)}", 300)), made + foot


def timeline_message(found: Stretch) -> tuple[str, list[b.Block]]:
    """One stretch of a timeline alone, as the buttons below it turn to."""
    ref = incident_ref(found.incident_id)
    made = [b.section(f"*{ref}*")]
    return f"Timeline of {ref}", made + timeline_blocks(found, MESSAGE_LIMIT - length(made))


def _standing(incident: Incident, now: datetime) -> list[str]:
    parts = [LIGHTS[incident.state], f"opened {date(incident.opened_at)}"]
    if incident.severity == "critical":
        parts.insert(0, ":rotating_light: critical")
    if incident.state is IncidentState.RESOLVED and incident.resolved_at is not None:
        parts.append(f"resolved {date(incident.resolved_at)}")
    elif incident.state is not IncidentState.MERGED:
        parts.append(f"open for {span(now - incident.opened_at)}")
    parts += incident_words(incident)
    if incident.cause:
        parts.append(f"cause: {escape(shorten(incident.cause, 300))}")
    if incident.fixed_by:
        parts.append(f"fixed by: {escape(shorten(incident.fixed_by, 300))}")
    return parts


def _count(found: IncidentRecord) -> str:
    panics = f"{found.panics_total} panic{'s' if found.panics_total != 1 else ''}"
    return f"{panics} on {found.hosts_total} hosts" if found.hosts_total > 1 else panics


def _panic_line(row: PanicRow) -> str:
    kernel = code(shorten(row.kernel, 60)) if row.kernel else "kernel unknown"
    return " · ".join([panic_ref(row.id), date(row.occurred_at), escape(shorten(row.host, 80)), kernel])


def _pointer(found: IncidentRecord) -> str:
    ref = panic_ref(found.panics[0].id)
    return (
        f"Crash text, runbook and evidence of one panic: `/panic show {ref}` · the whole timeline as data, on the "
        f"bot's machine: `panicroom show {ref} --json`"
    )
