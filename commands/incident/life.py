"""The life of an incident: acknowledge, assign, note, resolve, reopen. Each in the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from commands.errors import Impossible
from commands.incident import thread
from commands.incident.membership import begin_again
from integrations.slack.text import escape, shorten, user
from storage import Incident, IncidentState, incident_ref


def acknowledge(session: Session, incident: Incident, actor: str, now: datetime) -> None:
    """Raises Impossible when it is resolved, or acknowledged already (and says by whom)."""
    _must_live(incident)
    if incident.state is IncidentState.ACKNOWLEDGED:
        raise Impossible(
            f"{incident_ref(incident.id)} is acknowledged already, by {user(incident.acknowledged_by or '?')}."
        )
    incident.state = IncidentState.ACKNOWLEDGED
    incident.acknowledged_at, incident.acknowledged_by = now, actor
    incident.assignee = incident.assignee or actor
    _happened(session, incident, "acknowledged", f":eyes: {user(actor)} acknowledged this.", actor, now)


def assign(session: Session, incident: Incident, assignee: str, actor: str, now: datetime) -> None:
    _must_live(incident)
    if incident.assignee == assignee:
        raise Impossible(f"{incident_ref(incident.id)} is assigned to {user(assignee)} already.")
    incident.assignee = assignee
    by = "" if assignee == actor else f" (by {user(actor)})"
    _happened(
        session, incident, "assigned", f":bust_in_silhouette: Assigned to {user(assignee)}{by}.", actor, now
    )


def note(session: Session, incident: Incident, text: str, actor: str, now: datetime) -> None:
    text = shorten(text.strip(), 2500)
    if not text:
        raise Impossible("there is nothing in that note.")
    _happened(session, incident, "note", f":memo: {user(actor)}: {escape(text)}", actor, now)


def resolve(
    session: Session, incident: Incident, cause: str, fixed_by: str, actor: str, now: datetime
) -> None:
    """Cause and fix are kept with the incident: the next thread of this signature shows them."""
    _must_live(incident)
    incident.state = IncidentState.RESOLVED
    incident.resolved_at, incident.resolved_by = now, actor
    incident.cause = shorten(cause.strip(), 3000) or None
    incident.fixed_by = shorten(fixed_by.strip(), 3000) or None
    words = [f":white_check_mark: {user(actor)} resolved this."]
    if incident.cause:
        words.append(f"*Cause:* {escape(shorten(incident.cause, 1200))}")
    if incident.fixed_by:
        words.append(f"*Fixed by:* {escape(shorten(incident.fixed_by, 800))}")
    _happened(session, incident, "resolved", "\n".join(words), actor, now)
    told = f"timeline:{incident.id}:{int(now.timestamp())}"
    thread.say(session, incident.id or 0, told, renderer="timeline", subject_id=incident.id, now=now)


def reopen(session: Session, incident: Incident, actor: str, now: datetime) -> None:
    if incident.state is not IncidentState.RESOLVED:
        raise Impossible(f"{incident_ref(incident.id)} is not resolved; it is {incident.state.value}.")
    incident.state = IncidentState.OPEN
    begin_again(incident, now)
    _happened(
        session, incident, "reopened", f":leftwards_arrow_with_hook: {user(actor)} reopened this.", actor, now
    )


def _must_live(incident: Incident) -> None:
    if incident.state is IncidentState.RESOLVED:
        raise Impossible(
            f"{incident_ref(incident.id)} is resolved. Reopen it first.",
            example=f"/panic reopen {incident_ref(incident.id)}",
        )


def _happened(session: Session, incident: Incident, verb: str, text: str, actor: str, now: datetime) -> None:
    session.add(incident)
    incident_id = incident.id or 0
    entry = thread.note(session, incident_id, verb, text, actor=actor, at=now)
    session.flush()
    thread.say(session, incident_id, f"life:{entry.id}", text=text, now=now)
    thread.touch(session, incident_id)
