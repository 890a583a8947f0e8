"""The timeline of an incident: in the thread when it is resolved, and for whoever asks."""

from __future__ import annotations

from sqlmodel import Session

from commands.fitting import MESSAGE_LIMIT
from commands.incident.rendering import Rendered, renderer
from commands.incident.wording import redacted
from commands.timeline import stretch, timeline_blocks
from integrations.slack import blocks as b
from integrations.slack.text import escape, shorten
from storage import Incident, incident_ref


@renderer("timeline")
def draw_timeline(session: Session, incident_id: int) -> Rendered | None:
    """In order; when it is too long, the newest entries, with buttons to the earlier ones."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        return None
    ref = incident_ref(incident.id)
    title = b.section(f"*{ref}: {escape(shorten(redacted(incident.title), 200))}*")
    return Rendered(
        f"Timeline of {ref}", [title, *timeline_blocks(stretch(session, incident_id), MESSAGE_LIMIT - 1000)]
    )
