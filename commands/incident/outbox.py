"""The outbox: what should stand in Slack, and what is to be done about it next.

Plain queries inside the caller's transaction. A job is drawn and marked as begun in the transaction that hands
it out, so after a crash it is known which calls may have landed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, case, false, or_
from sqlmodel import Session, col, select

from commands.incident.pace import EDIT, KINDS, LOOK, PARENT, POST
from commands.incident.rendering import Rendered, draw, is_known
from commands.incident.thread import linked
from storage import MessageState, SlackMessage

log = structlog.get_logger(__name__)

_UNDRAWN = timedelta(seconds=60)  # until a message that could not be drawn is drawn again
_AGAIN = timedelta(seconds=5)  # until a look is made again, should the process die in it


@dataclass
class Job:
    """One call to make. `kind`: parent, post (a reply, or an upload), edit, look."""

    id: int
    kind: str
    key: str
    channel: str
    thread_ts: str | None
    ts: str | None  # where the message stands; `file:ID` for an upload
    version: int
    attempts: int
    attempted_at: datetime | None
    file_path: str | None
    file_name: str | None
    text: str = ""
    blocks: list[dict[str, Any]] = field(default_factory=list)
    alt: str = ""  # a picture in words


@dataclass(frozen=True)
class Claim:
    """The job, or None; then `held` says what kinds of call are due and were not allowed."""

    job: Job | None
    held: frozenset[str] = frozenset()


def due_channels(session: Session, now: datetime) -> tuple[list[str], datetime | None]:
    """The channels with something to do now, and when the next thing comes due."""
    due = session.exec(select(SlackMessage.channel).where(_due(now, KINDS)).distinct()).all()
    waiting = session.exec(
        select(SlackMessage.next_at)
        .where(
            col(SlackMessage.state).in_((MessageState.WAITING, MessageState.SENDING)),
            col(SlackMessage.next_at) > now,
        )
        .order_by(col(SlackMessage.next_at))
        .limit(1)
    ).first()
    double = session.exec(
        select(SlackMessage.check_doubles_at)
        .where(col(SlackMessage.check_doubles_at) > now)
        .order_by(col(SlackMessage.check_doubles_at))
        .limit(1)
    ).first()
    moments = [m for m in (waiting, double) if m is not None]
    return list(due), min(moments) if moments else None


def claim(session: Session, channel: str, now: datetime, allowed: Collection[str]) -> Claim:
    """The next call of an allowed kind in this channel.

    In the order of a reader: new parents, then replies as they were said, then edits, the longest overdue
    first, so that one busy parent starves nobody.
    """
    for message in _candidates(session, channel, now, allowed):
        job = _begin(session, message, now)
        session.add(message)
        if job is not None:
            return Claim(job)
    held = frozenset(
        kind
        for kind in KINDS
        if kind not in allowed
        and session.exec(
            select(SlackMessage.id).where(SlackMessage.channel == channel, _due(now, (kind,))).limit(1)
        ).first()
        is not None
    )
    return Claim(None, held)


def _due(now: datetime, kinds: Collection[str]) -> ColumnElement[bool]:
    state, ts = col(SlackMessage.state), col(SlackMessage.ts)
    waiting = and_(state == MessageState.WAITING, col(SlackMessage.next_at) <= now)
    clauses = {
        PARENT: and_(waiting, ts.is_(None), col(SlackMessage.thread_key).is_(None)),
        POST: and_(waiting, ts.is_(None), col(SlackMessage.thread_key).is_not(None)),
        EDIT: and_(waiting, ts.is_not(None)),
        LOOK: or_(
            and_(state == MessageState.SENDING, ts.is_(None), col(SlackMessage.next_at) <= now),
            and_(ts.is_not(None), col(SlackMessage.check_doubles_at) <= now),
        ),
    }
    return or_(false(), *(clauses[kind] for kind in kinds))


def _candidates(
    session: Session, channel: str, now: datetime, allowed: Collection[str]
) -> Iterator[SlackMessage]:
    stands = col(SlackMessage.ts).is_not(None)
    rank = case((stands, 2), (col(SlackMessage.thread_key).is_(None), 0), else_=1)
    edits_first_due = case((stands, col(SlackMessage.next_at)), else_=None)
    query = (
        select(SlackMessage)
        .where(SlackMessage.channel == channel, _due(now, allowed))
        .order_by(rank, edits_first_due, col(SlackMessage.id))
        .limit(200)
    )
    yield from session.exec(query).all()


def _begin(session: Session, message: SlackMessage, now: datetime) -> Job | None:
    """The job, with the message marked as begun; None when nothing is to be done with it now."""
    checking = (
        message.ts is not None and message.check_doubles_at is not None and message.check_doubles_at <= now
    )
    thread_ts, obstacle = _thread_of(session, message)
    if checking:
        # Should the look fail or the process die in it, look again; a thread that is gone hides no double.
        message.check_doubles_at = None if obstacle is not None else now + _AGAIN
        return _job(message, LOOK, thread_ts) if obstacle is None else None
    if obstacle == "wait":
        message.next_at = _parent_due(session, message, now)
        return None
    if obstacle is not None:
        message.state, message.error = MessageState.FAILED, obstacle
        return None
    if message.state is MessageState.SENDING:
        return _job(message, LOOK, thread_ts)
    if message.file_path is not None and message.ts is not None:
        message.state, message.sent = MessageState.SENT, message.wanted  # an uploaded file is not edited
        return None
    drawn = _drawn(session, message, now)
    if drawn is None:
        return None
    message.attempts += 1
    if message.ts is None:
        # Due at once: nobody else works on this channel while the call is under way, and after a crash the
        # message is looked for before it is posted again.
        message.state, message.attempted_at, message.next_at, message.looked = (
            MessageState.SENDING,
            now,
            now,
            0,
        )
    post = PARENT if message.thread_key is None else POST
    job = _job(message, post if message.ts is None else EDIT, thread_ts)
    job.text, job.blocks = drawn.text, drawn.blocks
    job.alt = str((message.payload or {}).get("alt", ""))
    return job


def _job(message: SlackMessage, kind: str, thread_ts: str | None) -> Job:
    return Job(
        id=message.id or 0,
        kind=kind,
        key=message.key,
        channel=message.channel,
        thread_ts=thread_ts,
        ts=message.ts,
        version=message.wanted,
        attempts=message.attempts,
        attempted_at=message.attempted_at,
        file_path=message.file_path,
        file_name=message.file_name,
    )


def _drawn(session: Session, message: SlackMessage, now: datetime) -> Rendered | None:
    """What the message shows. A renderer that fails is a defect of ours, and holds up no other message."""
    if message.renderer is None:
        payload = message.payload or {}
        return Rendered(linked(session, str(payload.get("text", ""))), list(payload.get("blocks") or []))
    if not is_known(message.renderer):
        message.state, message.error = MessageState.FAILED, f"nothing draws {message.renderer!r} any more"
        return None
    try:
        with session.begin_nested():
            drawn = draw(message.renderer, session, message.subject_id or 0)
    except Exception as error:
        log.exception("printer.not_drawn", key=message.key)
        message.error = f"could not be drawn: {type(error).__name__}: {error}"[:1000]
        if message.ts is not None:
            message.next_at = now + _UNDRAWN
            return None
        return Rendered(f":warning: {message.key} could not be drawn; Panicroom's log says why.")
    if drawn is None:
        message.state, message.error = MessageState.FAILED, "its subject is gone"
    return drawn


def _parent_due(session: Session, message: SlackMessage, now: datetime) -> datetime:
    """A reply looks again when its parent's turn has come."""
    parent = session.exec(select(SlackMessage).where(SlackMessage.key == message.thread_key)).first()
    soon = now + timedelta(seconds=0.1)
    return max(soon, parent.next_at) if parent is not None else soon


def _thread_of(session: Session, message: SlackMessage) -> tuple[str | None, str | None]:
    """(thread_ts, None), or (None, "wait") while the parent is not there, or (None, why it never will be)."""
    if message.thread_ts is not None or message.thread_key is None:
        return message.thread_ts, None
    parent = session.exec(select(SlackMessage).where(SlackMessage.key == message.thread_key)).first()
    if parent is None:
        return None, f"its parent {message.thread_key!r} does not exist"
    if parent.ts is not None:
        return parent.ts, None
    if parent.state is MessageState.FAILED:
        return None, f"its parent could not be posted: {parent.error}"
    return None, "wait"
