"""Panics as a list shows them, a page at a time, and the other small questions to the tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from storage.conditions import counted
from storage.filters import Filters, Match, Pattern, Releases, Sort
from storage.paging import Place, page_ids
from storage.tables import DumpState, Incident, IncidentState, Panic, Report, ReportState
from storage.work import SlackMessage

__all__ = [
    "Filters", "HeldReport", "Match", "PanicRow", "Pattern", "Place", "Releases", "Sort", "count_panics", "list_rows",
    "newest_panic_id", "parents_of", "reports_held", "reports_waiting", "threads_of",
]  # fmt: skip


@dataclass(frozen=True)
class PanicRow:
    """A panic as a list shows it. `channel` and `ts` are those of its incident's parent message, once posted."""

    id: int
    host: str
    occurred_at: datetime
    kernel: str | None
    kind: str
    title: str
    signature_key: str
    ring: str | None
    hardware: str | None
    deliberate: bool
    dump_state: DumpState
    dump_size: int | None
    incident_id: int | None
    state: IncidentState | None
    channel: str | None = field(default=None)
    ts: str | None = field(default=None)


@dataclass(frozen=True)
class HeldReport:
    """A report that waits for a person. `error` says why it could not be read; None in quarantine."""

    id: int
    host: str
    received_at: datetime
    error: str | None


def count_panics(session: Session, filters: Filters, *, most: int | None = None) -> int:
    """Exactly how many panics match; with `most`, `most` and one says that there are more than that."""
    return counted(session, filters, most)


def newest_panic_id(session: Session) -> int:
    """The highest panic id; 0 when there is none."""
    return session.exec(select(func.max(Panic.id))).one() or 0


def reports_waiting(session: Session) -> dict[ReportState, int]:
    """How many reports are no panics yet, by state (`done` is left out). From the index alone."""
    waiting = [state for state in ReportState if state is not ReportState.DONE]
    counted = session.execute(
        sa_select(col(Report.state), func.count())
        .where(col(Report.state).in_(waiting))
        .group_by(col(Report.state))
    )
    found: dict[ReportState, int] = {row[0]: row[1] for row in counted}
    return {state: found.get(state, 0) for state in waiting}


def reports_held(session: Session, state: ReportState, *, limit: int = 10) -> list[HeldReport]:
    """The reports in this state, oldest first. Their bodies are not read."""
    rows = session.execute(
        sa_select(col(Report.id), col(Report.host), col(Report.received_at), col(Report.error))
        .where(col(Report.state) == state)
        .order_by(col(Report.id))
        .limit(limit)
    )
    return [HeldReport(*row) for row in rows]


def list_rows(
    session: Session,
    filters: Filters,
    *,
    limit: int = 50,
    after: PanicRow | Place | None = None,
    before: PanicRow | Place | None = None,
) -> list[PanicRow]:
    """The matching panics in the order of `filters.sort`: those after a place, those before one, or the first.

    In each case in the list's own order, and however far down the list at the cost of the first page. The panics'
    texts are not read.
    """
    ids = page_ids(session, filters, limit, _place(after), _place(before))
    columns = (
        col(Panic.id), col(Panic.host), col(Panic.occurred_at), col(Panic.kernel), col(Panic.kind),
        col(Panic.title), col(Panic.signature_key), col(Panic.ring), col(Panic.hardware),
        col(Panic.deliberate), col(Panic.dump_state), col(Panic.dump_size), col(Panic.incident_id),
    )  # fmt: skip
    found = {row[0]: row for row in session.execute(sa_select(*columns).where(col(Panic.id).in_(ids)))}
    threads = parents_of(session, {row[12] for row in found.values() if row[12] is not None})
    return [PanicRow(*found[i], *threads.get(found[i][12], (None, None, None))) for i in ids if i in found]


def _place(row: PanicRow | Place | None) -> Place | None:
    return Place(row.id, row.occurred_at, row.host, row.kernel) if isinstance(row, PanicRow) else row


def parents_of(
    session: Session, incident_ids: set[int]
) -> dict[int, tuple[IncidentState, str | None, str | None]]:
    """{incident id: (state, channel, ts of the parent message)}; the last two None until it was posted."""
    if not incident_ids:
        return {}
    keys = {f"incident:{i}": i for i in incident_ids}
    posted: dict[int, tuple[str, str]] = {}
    for key, channel, ts in session.execute(
        sa_select(col(SlackMessage.key), col(SlackMessage.channel), col(SlackMessage.ts)).where(
            col(SlackMessage.key).in_(keys)
        )
    ):
        if ts:
            posted[keys[key]] = (channel, ts)
    states = session.execute(
        sa_select(col(Incident.id), col(Incident.state)).where(col(Incident.id).in_(incident_ids))
    ).all()
    return {i: (state, *posted.get(i, (None, None))) for i, state in states}


def threads_of(session: Session, panic_ids: Collection[int]) -> dict[int, str]:
    """{panic id: address of the thread it is in}, of those whose threads stand in Slack and whose address is known."""
    if not panic_ids:
        return {}
    placed = session.execute(
        sa_select(col(Panic.id), col(Panic.incident_id)).where(
            col(Panic.id).in_(panic_ids), col(Panic.incident_id).is_not(None)
        )
    ).all()
    addresses = session.execute(
        sa_select(col(SlackMessage.key), col(SlackMessage.permalink)).where(
            col(SlackMessage.key).in_({f"incident:{incident}" for _, incident in placed})
        )
    ).all()
    known = {key: address for key, address in addresses if address}
    return {i: known[f"incident:{incident}"] for i, incident in placed if f"incident:{incident}" in known}
