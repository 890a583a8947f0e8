"""The timeline of an incident: in the thread when it is resolved, and for whoever asks."""

from __future__ import annotations

import json

from sqlmodel import Session, col, select

from commands.incident.rendering import Rendered, renderer
from integrations.slack import blocks as b
from integrations.slack.text import cut_mrkdwn, date, escape, sections, shorten
from storage import Incident, TimelineEntry, incident_ref

# Slack refuses a message whose blocks are larger than about 13,200 characters of JSON (msg_blocks_too_long).
_BUDGET = 11_000
_LINE = 400


@renderer("timeline")
def draw_timeline(session: Session, incident_id: int) -> Rendered | None:
    """In order; when it is too long, the newest entries, and where the rest is."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        return None
    entries = session.exec(
        select(TimelineEntry)
        .where(TimelineEntry.incident_id == incident_id)
        .order_by(col(TimelineEntry.at).desc(), col(TimelineEntry.id).desc())
    ).all()
    lines: list[str] = []
    budget = _BUDGET
    for entry in entries:
        line = f"{date(entry.at, '{date_short_pretty} {time_secs}')} {cut_mrkdwn(entry.text, _LINE)}"
        budget -= len(json.dumps(line))
        if budget < 0:
            break
        lines.append(line)
    lines.reverse()
    ref = incident_ref(incident.id)
    made = [b.section(f"*Timeline of {ref}: {escape(shorten(incident.title, 200))}*")]
    if len(lines) < len(entries):
        made.append(b.context(f"{len(entries) - len(lines)} older entries: `panicroom show` has them all"))
    made += [b.section(part) for part in sections(lines)]
    return Rendered(f"Timeline of {ref}", made)
