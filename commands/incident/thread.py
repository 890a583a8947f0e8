"""Speaking in an incident's thread. All of it inside the caller's transaction; call `context.wake()` after it.

What is to be said is committed together with the fact it tells of, and said afterwards by the printer:
a crash in between loses neither.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, and_, bindparam, case, or_, update
from sqlmodel import Session, select

from storage import Incident, MessageState, Panic, SlackMessage, TimelineEntry, incident_ref, utc_now

# Stands in a text for another incident's name until the text is drawn: only then its thread's address is known.
# A control character cannot come from a host's text, which is cleaned of them.
_LINK = re.compile("\x01(\\d+)\x01")


def link_to(incident_id: int | None) -> str:
    """`I-7` in a text for `say`, a link to its thread once that is posted."""
    return f"\x01{incident_id}\x01"


def linked(session: Session, text: str) -> str:
    """The text with what `link_to` left in it put in words."""
    return _LINK.sub(lambda found: incident_link(session, int(found.group(1))), text)


def incident_link(session: Session, incident_id: int | None) -> str:
    """`<address|I-7>`, or `I-7` while the address is not known."""
    url = session.exec(
        select(SlackMessage.permalink).where(SlackMessage.key == parent_key(incident_id or 0))
    ).first()
    ref = incident_ref(incident_id)
    return f"<{url}|{ref}>" if url else ref


def parent_key(incident_id: int) -> str:
    return f"incident:{incident_id}"


_messages: Table = SlackMessage.__table__  # type: ignore[attr-defined]
# What Slack refused is tried again with the new content: that may have been what was wrong with it.
_AGAIN = or_(
    _messages.c.state == MessageState.SENT,
    and_(_messages.c.state == MessageState.FAILED, _messages.c.renderer.is_not(None)),
)
_REDRAW = (
    update(_messages)
    .where(_messages.c.key == bindparam("which"))
    .values(
        wanted=_messages.c.wanted + 1,
        state=case((_AGAIN, MessageState.WAITING), else_=_messages.c.state),
        next_at=case((_AGAIN, bindparam("now", type_=_messages.c.next_at.type)), else_=_messages.c.next_at),
    )
)


def say(
    session: Session,
    incident_id: int,
    key: str,
    *,
    text: str | None = None,
    blocks: list[dict[str, Any]] | None = None,
    renderer: str | None = None,
    subject_id: int | None = None,
    file: Path | None = None,
    file_name: str | None = None,
    now: datetime | None = None,
) -> SlackMessage:
    """A reply in the thread, made once for its `key` ("triage:12"), however often this is called.

    Either fixed (`text`, `blocks`), or drawn by a registered `renderer` from `subject_id`: saying it again
    then means "it changed, edit it". A `file` (under the store directory, kept by the caller) is uploaded
    with `text` as its comment.
    """
    message = session.exec(select(SlackMessage).where(SlackMessage.key == key)).first()
    if message is not None:
        if renderer is not None:
            redraw(session, key)
        return message
    incident = session.get_one(Incident, incident_id)
    message = SlackMessage(
        key=key,
        incident_id=incident_id,
        channel=incident.channel,
        thread_key=parent_key(incident_id),
        renderer=renderer,
        subject_id=subject_id,
        payload=None if renderer else {"text": text or "", "blocks": blocks or []},
        file_path=str(file) if file else None,
        file_name=file_name,
        created_at=now or utc_now(),
        next_at=now or utc_now(),
    )
    session.add(message)
    session.flush()
    return message


def redraw(session: Session, *keys: str) -> None:
    """The messages with these keys are out of date: they will be drawn again. Unknown keys are no error."""
    session.flush()
    now = utc_now()
    # By the connection: what the session would add to a plain statement costs more than the statement.
    session.connection().execute(_REDRAW, [{"which": key, "now": now} for key in sorted(set(keys))])
    for known in session.identity_map.values():
        if isinstance(known, SlackMessage) and known.__dict__.get("key") in keys:
            session.refresh(known)


def show_text(session: Session, panic: Panic, now: datetime | None = None) -> None:
    """The panic's own text stands in the thread that the panic is in now, as it is known now."""
    if panic.incident_id is not None:
        key = f"text:{panic.id}:{panic.incident_id}"
        say(session, panic.incident_id, key, renderer="panic_text", subject_id=panic.id, now=now)


def touch(session: Session, incident_id: int) -> None:
    """Facts of the incident changed: its parent message is edited in place."""
    redraw(session, parent_key(incident_id))


def note(
    session: Session,
    incident_id: int,
    verb: str,
    text: str,
    *,
    actor: str = "panicroom",
    panic_id: int | None = None,
    at: datetime | None = None,
) -> TimelineEntry:
    """A line in the incident's timeline. `text` is mrkdwn: escape what strangers wrote."""
    entry = TimelineEntry(
        incident_id=incident_id, panic_id=panic_id, verb=verb, text=text, actor=actor, at=at or utc_now()
    )
    session.add(entry)
    return entry


def incident_of(session: Session, panic_id: int) -> Incident | None:
    """The incident that a panic belongs to, or None when there is no such panic or it has none."""
    panic = session.get(Panic, panic_id)
    return session.get(Incident, panic.incident_id) if panic is not None and panic.incident_id else None


def panic_in_thread(session: Session, channel: str, thread_ts: str) -> Panic | None:
    """The newest panic of the incident whose thread this is: what `@panicroom triage` in a thread means."""
    parent = session.exec(
        select(SlackMessage).where(SlackMessage.channel == channel, SlackMessage.ts == thread_ts)
    ).first()
    if parent is None or parent.incident_id is None:
        return None
    return session.exec(
        select(Panic).where(Panic.incident_id == parent.incident_id).order_by(Panic.id.desc())  # type: ignore[union-attr]
    ).first()
