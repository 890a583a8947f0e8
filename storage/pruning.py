"""What the database need not keep for ever: the books of work that is long done.

Panics, incidents, their timelines and the audit stay. A report stays, too, without its text: the panic has it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, ColumnElement, cast, delete, func, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Session, col, select

from storage.changes import ChangeRecord, ChangeTouch
from storage.tables import Report, ReportState
from storage.work import SlackRequest

REQUESTS_KEPT = timedelta(days=7)  # Slack repeats a delivery within hours; a repeated one must still be known
TEXTS_KEPT = timedelta(days=30)
CHANGES_KEPT = timedelta(days=400)
BATCH = 200
_FINISHED = ("done", "failed")


def prune(session: Session, now: datetime, *, batch: int = BATCH) -> int:
    """Removes finished Slack requests older than 7 days, the text of read reports older than 30, changes after 400.

    At most `batch` rows of each in one transaction, the oldest first; returns how many rows it changed. Call it
    again, each time in a transaction of its own, until it returns 0.
    """
    return (
        _forget_requests(session, now - REQUESTS_KEPT, batch)
        + _drop_texts(session, now - TEXTS_KEPT, batch)
        + _forget_changes(session, now - CHANGES_KEPT, batch)
    )


def _forget_requests(session: Session, before: datetime, batch: int) -> int:
    """One state after the other: each is a range of the index (state, id), and its oldest rows come first."""
    removed = 0
    for state in _FINISHED:
        ids = session.exec(
            select(SlackRequest.id)
            .where(SlackRequest.state == state, SlackRequest.received_at < before)
            .order_by(col(SlackRequest.id))
            .limit(batch - removed)
        ).all()
        if ids:
            session.execute(delete(SlackRequest).where(col(SlackRequest.id).in_(ids)))
        removed += len(ids)
    return removed


def _drop_texts(session: Session, before: datetime, batch: int) -> int:
    """In the database itself: a batch of texts may be hundreds of megabytes.

    To find them, every read report is looked at (0.2 s for 100,000 of them in SQLite).
    """
    ids = session.exec(
        select(Report.id)
        .where(
            Report.state == ReportState.DONE,
            Report.received_at < before,
            col(Report.body)["text"].as_string().is_not(None),
        )
        .order_by(col(Report.id))
        .limit(batch)
    ).all()
    if not ids:
        return 0
    without: ColumnElement[Any]
    if session.get_bind().dialect.name == "postgresql":
        without = cast(cast(col(Report.body), JSONB).op("-")("text"), JSON)
    else:
        without = func.json_remove(col(Report.body), "$.text", type_=JSON)
    session.execute(update(Report).where(col(Report.id).in_(ids)).values(body=without))
    return len(ids)


def _forget_changes(session: Session, before: datetime, batch: int) -> int:
    old = list(session.exec(select(ChangeRecord.id).where(ChangeRecord.started < before).limit(batch)))
    if old:
        session.execute(delete(ChangeTouch).where(col(ChangeTouch.change_id).in_(old)))
        session.execute(delete(ChangeRecord).where(col(ChangeRecord.id).in_(old)))
    return len(old)
