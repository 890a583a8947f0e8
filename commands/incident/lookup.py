"""Which panic or incident a person means: `P-41`, `I-7`, a button's value, or the thread they are in."""

from __future__ import annotations

from sqlmodel import Session, select

from commands.errors import BadArguments, NotFound
from commands.incident.thread import panic_in_thread
from commands.router import Ask
from integrations.slack.text import code
from storage import Incident, Panic, parse_ref


def panic_meant(session: Session, ask: Ask, word: str | None = None) -> Panic:
    """Raises BadArguments when no panic is named, NotFound when the one named does not exist."""
    named = word or (ask.value if ask.value and parse_ref(ask.value, "P") else None)
    if named is None:
        if ask.thread_ts:
            panic = panic_in_thread(session, ask.channel, ask.thread_ts)
            if panic is not None:
                return panic
        raise BadArguments(f"say which panic: `{ask.verb} P-41`.", example=f"/panic {ask.verb} P-41")
    incident_id = parse_ref(named, "I")
    if incident_id is not None:
        panic = session.exec(
            select(Panic).where(Panic.incident_id == incident_id).order_by(Panic.id.desc())  # type: ignore[union-attr]
        ).first()
        if panic is None:
            raise NotFound(f"there is no incident I-{incident_id}. `/panic list` shows what there is.")
        return panic
    panic_id = parse_ref(named, "P")
    if panic_id is None:
        raise BadArguments(
            f"{code(named[:40])} is no panic id; they look like `P-41`.",
            example=f"/panic {ask.verb} P-41",
        )
    found = session.get(Panic, panic_id)
    if found is None:
        raise NotFound(f"there is no panic P-{panic_id}. `/panic list` shows what there is.")
    return found


def incident_meant(session: Session, ask: Ask, word: str | None = None) -> Incident:
    """The incident of the panic meant, or the one named as `I-7`; a merged one leads to where it lives on."""
    named = word or ask.value
    incident_id = parse_ref(named, "I") if named else None
    if incident_id is not None:
        incident = session.get(Incident, incident_id)
        if incident is None:
            raise NotFound(f"there is no incident I-{incident_id}. `/panic list` shows what there is.")
    else:
        panic = panic_meant(session, ask, word)
        incident = session.get(Incident, panic.incident_id) if panic.incident_id else None
        if incident is None:
            raise NotFound(f"P-{panic.id} has no incident thread.")
    while incident.merged_into_id is not None:
        incident = session.get_one(Incident, incident.merged_into_id)
    return incident
