"""Who is in an incident: what panics may share it, and what changes when one comes or goes."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from commands.incident import thread
from commands.incident.config import RoutingConfig
from integrations.slack.text import escape
from storage import Incident, IncidentState, Panic, SlackMessage, incident_ref, panic_ref

UNKNOWN = "unknown"
LIVE = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)


def shares(session: Session, panic: Panic, incident: Incident) -> bool:
    """Whether this panic may be in a thread with the panics that are there: an unknown cause and a deliberate
    crash never share one with another host's."""
    strangers = select(Panic.id).where(Panic.incident_id == incident.id, Panic.host != panic.host).limit(1)
    if panic.signature_key != UNKNOWN and not panic.deliberate:
        strangers = strangers.where(Panic.deliberate == True)  # noqa: E712 - SQL
    return session.exec(strangers).first() is None


def near(session: Session, incident: Incident, panic: Panic, window: timedelta) -> bool:
    """Whether a panic of the incident occurred within the window of this one, before or after it."""
    around = (panic.occurred_at - window, panic.occurred_at + window)
    return (
        session.exec(
            select(Panic.id)
            .where(Panic.incident_id == incident.id, col(Panic.occurred_at).between(*around))
            .limit(1)
        ).first()
        is not None
    )


def others(session: Session, incident: Incident, panic: Panic) -> bool:
    return (
        session.exec(select(Panic.id).where(Panic.incident_id == incident.id, Panic.id != panic.id)).first()
        is not None
    )


def leave(session: Session, panic: Panic, old: Incident, new: Incident, now: datetime) -> None:
    what, title = f"{panic_ref(panic.id)} ({escape(panic.host)}) moved to", escape(panic.title)
    thread.note(
        session, old.id or 0, "moved", f"{what} {incident_ref(new.id)}: {title}", panic_id=panic.id, at=now
    )
    if old.wave:
        thread.say(session, old.id or 0, f"wave:{old.id}", renderer="wave_list", subject_id=old.id, now=now)
    else:
        text = f":arrow_right: {what} {thread.link_to(new.id)}: {title}"
        thread.say(session, old.id or 0, f"moved:{old.id}:{panic.id}:{new.id}", text=text, now=now)
    if not others(session, old, panic):
        old.state, old.merged_into_id = IncidentState.MERGED, new.id
        session.add(old)
    thread.touch(session, old.id or 0)


def post_parent(session: Session, incident: Incident, now: datetime) -> None:
    session.add(incident)
    session.flush()
    session.add(
        SlackMessage(
            key=thread.parent_key(incident.id or 0),
            incident_id=incident.id,
            channel=incident.channel,
            renderer="incident",
            subject_id=incident.id,
            created_at=now,
            next_at=now,
        )
    )
    session.flush()


def attach(session: Session, panic: Panic, incident: Incident, now: datetime) -> None:
    panic.incident_id = incident.id
    incident.last_panic_at = max(incident.last_panic_at, panic.occurred_at)
    if not panic.silenced:
        incident.silenced = False
    if panic.criticality == "critical":
        incident.severity = "critical"
    session.add(panic)
    session.add(incident)
    session.flush()


def begin_again(incident: Incident, now: datetime) -> None:
    """A new life of an incident that was resolved: nobody has acknowledged it, and every clock starts anew.

    `paged_at` stays while a page stands: the pager has not been told yet that it was resolved.
    """
    incident.acknowledged_at = incident.acknowledged_by = None
    incident.reminded_at = incident.mentioned_again_at = incident.runbook_done_at = None
    incident.opened_at = now


def mention(
    session: Session, panic: Panic, incident: Incident, routing: RoutingConfig, now: datetime
) -> None:
    """The group is mentioned for critical hosts only: by the first one of each life of the incident."""
    if panic.criticality == "critical" and not panic.silenced and routing.mention_group:
        thread.say(
            session,
            incident.id or 0,
            f"mention:{incident.id}:{int(incident.opened_at.timestamp())}",
            text=f"<!subteam^{routing.mention_group}> {escape(panic.host)} is critical and has panicked.",
            now=now,
        )
