"""Pins and legal holds: what people say must stay. All inside the caller's transaction; call `context.wake()` after."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlmodel import Session, col, select

from commands.durations import read_duration
from commands.errors import BadArguments, Impossible, NotFound
from commands.incident import thread
from integrations.slack.text import code, date, escape, shorten, user
from storage import AuditEntry, CopyCare, CopyState, DumpCopy, ItemState, Panic, Pin, RetentionItem, panic_ref
from storage.requests import once

PIN, HOLD = "pin", "hold"
_LONGEST = timedelta(days=3650)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def in_force(session: Session, panic_ids: Iterable[int] | None = None) -> list[Pin]:
    """The pins and holds that nobody has ended; one that is past its day is among them. None: of all panics."""
    query = select(Pin).where(col(Pin.slot).is_not(None)).order_by(col(Pin.id))
    if panic_ids is not None:
        query = query.where(col(Pin.panic_id).in_(list(panic_ids)))
    return list(session.exec(query))


def read_until(word: str, now: datetime) -> datetime:
    """`30d` from now, or the end of the day `2026-12-24` (UTC). Raises BadArguments."""
    try:
        if _DAY.fullmatch(word):
            until = datetime.fromisoformat(word).replace(tzinfo=UTC) + timedelta(days=1)
        else:
            until = now + read_duration(word)
    except (ValueError, OverflowError) as error:
        raise BadArguments(
            f"{code(word[:40])} is no day (2026-12-24) and no length of time (30d)."
        ) from error
    if until <= now:
        raise BadArguments(f"{code(word[:40])} is over already.")
    if until - now > _LONGEST:
        raise BadArguments("a pin is for ten years at most; without a day it is until somebody unpins it.")
    return until


def pin(
    session: Session,
    panic: Panic,
    *,
    kind: str,
    by: str,
    reason: str,
    until: datetime | None,
    now: datetime,
    request_id: str = "",
) -> Pin:
    """A pin in force is replaced by the new one; a hold is not. Raises Impossible, BadArguments (a hold without a
    reason). The same request finds its own."""
    # Whoever removes locks this row, too: a pin comes before a removal or after it, never into it.
    session.exec(select(Panic.id).where(Panic.id == panic.id).with_for_update()).one()
    known = _active(session, panic, kind)
    if not once(session, request_id) and known is not None:
        return known
    if kind == HOLD and not reason.strip():
        raise BadArguments("a legal hold needs a reason: who asked for it, and for what.")
    if known is not None:
        if kind == HOLD:
            raise Impossible(
                f"{panic_ref(panic.id)} is on legal hold already ({escape(known.reason[:200])})."
            )
        known.slot, known.ended_at, known.ended_by = None, now, by
        session.add(known)
        session.flush()
    made = Pin(
        panic_id=panic.id or 0, kind=kind, slot=f"{kind}:{panic.id}", reason=shorten(reason.strip(), 1000),
        created_by=by, created_at=now, until=until,
    )  # fmt: skip
    session.add(made)
    words = "put on legal hold" if kind == HOLD else "pinned"
    _happened(session, panic, f"{words}{_until(until)}{_because(reason)}", by, now)
    return made


def unpin(
    session: Session, panic: Panic, *, kind: str, by: str, now: datetime, request_id: str = ""
) -> Pin | None:
    """Raises NotFound when nothing is in force. None: the same request did it before."""
    known = _active(session, panic, kind)
    if not once(session, request_id):
        return known
    if known is None:
        what = "on legal hold" if kind == HOLD else "pinned"
        raise NotFound(f"{panic_ref(panic.id)} is not {what}.")
    known.slot, known.ended_at, known.ended_by = None, now, by
    session.add(known)
    words = "released from legal hold" if kind == HOLD else "unpinned"
    _happened(session, panic, words, by, now)
    return known


def too_late(session: Session, panic_id: int) -> str | None:
    """What of a panic's dumps has gone already, or is going now: a pin does not bring it back."""
    going = session.exec(
        select(RetentionItem.place).where(
            RetentionItem.panic_id == panic_id, RetentionItem.state == ItemState.WORKING
        )
    ).all()
    copies = session.exec(
        select(DumpCopy.state, CopyCare.removed_at)
        .outerjoin(CopyCare, col(CopyCare.copy_id) == DumpCopy.id)
        .where(DumpCopy.panic_id == panic_id)
    ).all()
    if any(place == "local" for place in going):
        return "its dump on the host is being removed just now; the copy in central stays"
    if any(state is CopyState.VERIFIED for state, _ in copies):
        return None
    gone = [at for state, at in copies if state is CopyState.REMOVED and at is not None]
    if gone:
        return f"its copy in central was removed {date(max(gone))}"
    if any(state is CopyState.REMOVED for state, _ in copies):
        return "its copy in central is being removed just now"
    return "no verified copy of its dump is in central (yet)"


def _active(session: Session, panic: Panic, kind: str) -> Pin | None:
    return session.exec(select(Pin).where(Pin.slot == f"{kind}:{panic.id}")).first()


def _until(until: datetime | None) -> str:
    return f" until {date(until, '{date_short_pretty} {time}')}" if until is not None else ""


def _because(reason: str) -> str:
    return f": {escape(shorten(reason.strip(), 300))}" if reason.strip() else ""


def _happened(session: Session, panic: Panic, words: str, by: str, now: datetime) -> None:
    ref = panic_ref(panic.id)
    session.add(
        AuditEntry(at=now, actor=by, verb="retention.keep", subject=ref, outcome="done", detail=words)
    )
    if panic.incident_id is None:
        return
    text = f":pushpin: the dumps of {ref} are {words}"
    entry = thread.note(session, panic.incident_id, "retention", text, actor=by, panic_id=panic.id, at=now)
    session.flush()
    thread.say(session, panic.incident_id, f"keep:{entry.id}", text=f"{text} ({user(by)}).", now=now)
