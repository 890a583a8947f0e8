"""Whether what is taken in is stored, and (where this process reads it) read, as fast as it comes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, func, select

from bot.http import ReadyCheck
from storage import Database, Report, ReportState, utc_now

MOST_WAITING = 2500  # reports that are not stored yet: half of what there is room for
LONGEST = timedelta(seconds=60)


def lag_check(
    db: Database,
    waiting: Callable[[], int],
    reads: Callable[[], bool],
    *,
    clock: Callable[[], datetime] = utc_now,
) -> ReadyCheck:
    """`waiting()`: reports that are not stored yet. Storing is each process's own; how far reading is behind is told by
    the one that leads alone, for followers can do nothing about it."""

    async def check() -> str | None:
        if waiting() > MOST_WAITING:
            return f"{waiting()} reports wait to be stored: the database does not keep up"
        if not reads():
            return None
        try:
            due = await db.read(oldest_due)
        except SQLAlchemyError as error:
            return f"not known: {type(error).__name__}"
        behind = clock() - due if due is not None else timedelta(0)
        if behind > LONGEST:
            return f"the oldest report that is stored has waited {behind.total_seconds():.0f} s to be read"
        return None

    return check


def oldest_due(session: Session) -> datetime | None:
    """Since when the report that has waited longest could have been read; one that failed waits for its next turn."""
    return session.exec(select(func.min(Report.next_at)).where(Report.state == ReportState.NEW)).one()
