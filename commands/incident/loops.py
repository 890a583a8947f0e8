"""Crash loops: a host that panics again and again within the hour."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, select

from commands.incident import thread
from commands.incident.config import IncidentConfig
from commands.incident.rendering import Rendered, renderer
from commands.incident.wording import span
from integrations.slack.text import escape
from storage import Panic, TimelineEntry

VERB = "crash_loop"


def tell_loop(
    session: Session,
    panic: Panic,
    incident_id: int,
    config: IncidentConfig,
    now: datetime,
    *,
    quietly: bool = False,
) -> None:
    """One message a host in a thread, edited as the loop goes on; each turn is a line of the timeline. `quietly`: in
    the timeline alone, while many hosts panic."""
    loops = crash_loop(session, panic, config)
    if not loops:
        return
    said = f"{escape(panic.host)} is in a crash loop: {loops} panics within {span(config.crash_loop_window)}"
    thread.note(session, incident_id, VERB, said, actor=f"host:{panic.host}", panic_id=panic.id, at=now)
    if quietly:
        return
    thread.say(
        session,
        incident_id,
        f"loop:{incident_id}:{panic.host}",
        renderer="crash_loop",
        subject_id=panic.id,
        now=now,
    )


@renderer("crash_loop")
def draw_loop(session: Session, panic_id: int) -> Rendered | None:
    """The newest word on the loop of this panic's host in this panic's thread."""
    panic = session.get(Panic, panic_id)
    if panic is None:
        return None
    entry = session.exec(
        select(TimelineEntry)
        .where(
            TimelineEntry.incident_id == panic.incident_id,
            TimelineEntry.verb == VERB,
            TimelineEntry.actor == f"host:{panic.host}",
        )
        .order_by(col(TimelineEntry.id).desc())
    ).first()
    return Rendered(f":repeat: *{entry.text}.*") if entry is not None else None


def crash_loop(session: Session, panic: Panic, config: IncidentConfig) -> int:
    """How many panics this host had in the window that ends with this one, when that is a loop; else 0."""
    since = panic.occurred_at - config.crash_loop_window
    count = len(
        session.exec(
            select(Panic.id).where(
                Panic.host == panic.host,
                Panic.occurred_at > since,
                Panic.occurred_at <= panic.occurred_at,
                Panic.deliberate == False,  # noqa: E712 - SQL
            )
        ).all()
    )
    return count if count >= config.crash_loop_count else 0
