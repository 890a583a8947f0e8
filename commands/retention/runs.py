"""Sweeps as rows: begun once with what they are to remove, taken up after a crash, ended with what they brought.

All functions work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, func, select

from commands.retention.items import CENTRAL, Decision, LocalDump
from storage import CopyCare, DumpCopy, ItemState, RetentionItem, RetentionRun

DEAD = timedelta(minutes=10)  # without a sign of life, another process may take a sweep over
OPEN = (ItemState.WAITING, ItemState.WORKING)
_SHOWN = 50  # of the list that a sweep's result keeps


def active(session: Session) -> RetentionRun | None:
    return session.exec(select(RetentionRun).where(col(RetentionRun.slot).is_not(None))).first()


def last(session: Session, *, scheduled: bool = False) -> RetentionRun | None:
    query = select(RetentionRun).order_by(col(RetentionRun.id).desc())
    if scheduled:
        query = query.where(RetentionRun.scheduled == True)  # noqa: E712 - SQL
    return session.exec(query.limit(1)).first()


def begin(
    session: Session,
    decisions: Sequence[Decision],
    *,
    asked_by: str,
    owner: str,
    now: datetime,
    scheduled: bool = False,
    scrub: bool = True,
) -> RetentionRun:
    """A new sweep; the caller made sure that none runs. What stays is counted."""
    run = RetentionRun(
        slot=1, scheduled=scheduled, scrub=scrub, asked_by=asked_by, asked_at=now, owner=owner, beat_at=now
    )
    run.result = {"kept": sum(not d.remove for d in decisions)}
    session.add(run)
    session.flush()
    for decision in decisions:
        if decision.remove:
            session.add(_item(session, run, decision))
    session.flush()
    return run


def _item(session: Session, run: RetentionRun, decision: Decision) -> RetentionItem:
    thing = decision.item
    made_of = thing.made_of if isinstance(thing, LocalDump) else thing.id
    copy = session.get_one(DumpCopy, made_of)
    central = decision.where == CENTRAL
    return RetentionItem(
        run_id=run.id or 0,
        place=decision.where,
        key=decision.key[1],
        panic_id=thing.panic_id,
        copy_id=None if central else made_of,
        host=thing.host,
        path=(copy.place if central else copy.source_path) or "",
        stamp=copy.state.value if central else copy.source_stamp or "",
        size=thing.size if central else copy.size or 0,
        reason=decision.reason.value,
        why=decision.why,
        rests_on=decision.rests_on,
    )


def take(session: Session, run_id: int, owner: str, now: datetime) -> RetentionRun | None:
    """The sweep, if it is this process's to work on: its own, or of one that died. None: it is another's, or over."""
    run = session.get_one(RetentionRun, run_id)
    if run.slot is None or (run.owner != owner and abs(now - run.beat_at) < DEAD):
        return None
    run.owner, run.beat_at = owner, now
    session.add(run)
    return run


def beat(session: Session, run_id: int, now: datetime) -> None:
    run = session.get_one(RetentionRun, run_id)
    run.beat_at = now
    session.add(run)


def items_of(session: Session, run_id: int) -> list[RetentionItem]:
    return list(
        session.exec(
            select(RetentionItem).where(RetentionItem.run_id == run_id).order_by(col(RetentionItem.id))
        )
    )


def finish(session: Session, run_id: int, scrub: Mapping[str, Any], now: datetime) -> RetentionRun | None:
    """Ends a sweep with what it brought; None when it had ended before."""
    run = session.get_one(RetentionRun, run_id)
    if run.slot is None:
        return None
    items = items_of(session, run_id)
    states = {state.value: sum(i.state is state for i in items) for state in ItemState}
    failed = [i for i in items if i.state in (ItemState.FAILED, ItemState.REFUSED)]
    run.result = {
        **run.result,
        "states": {name: count for name, count in states.items() if count},
        "freed": {
            place: sum(i.freed for i in items if i.place == place and i.state is ItemState.REMOVED)
            for place in ("central", "local")
        },
        "failed": [[i.panic_id, i.place, i.host, i.note[:200]] for i in failed[:_SHOWN]],
        "scrub": dict(scrub),
    }
    run.slot, run.finished_at = None, now
    session.add(run)
    return run


def freed_since(session: Session, since: datetime) -> int:
    """Bytes that left central since then."""
    query = select(func.coalesce(func.sum(CopyCare.freed), 0)).where(col(CopyCare.removed_at) >= since)
    return int(session.exec(query).one() or 0)


def came_since(session: Session, since: datetime) -> int:
    """Bytes of the copies that were verified since then."""
    query = select(func.coalesce(func.sum(DumpCopy.size), 0)).where(col(DumpCopy.verified_at) >= since)
    return int(session.exec(query).one() or 0)
