"""Which panics a list shows: filters as data, and the queries that obey them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, false, func, or_
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from storage.tables import DumpState, Incident, IncidentState, Panic, Report, ReportState
from storage.work import SlackMessage


class Match(StrEnum):
    """How a pattern is held against a column; never with regard to case."""

    PREFIX = "prefix"
    EXACT = "exact"
    GLOB = "glob"  # `*` any run of characters, `?` one; the whole value must match
    CONTAINS = "contains"


@dataclass(frozen=True)
class Pattern:
    """One wanted value of a filter. Nothing in `text` has a meaning to SQL."""

    text: str
    how: Match = Match.PREFIX

    @property
    def like(self) -> str:
        r"""The LIKE pattern, to be used with `ESCAPE '\'`."""
        escaped = self.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        if self.how is Match.GLOB:
            return escaped.replace("*", "%").replace("?", "_")
        return {Match.PREFIX: f"{escaped}%", Match.EXACT: escaped, Match.CONTAINS: f"%{escaped}%"}[self.how]


@dataclass(frozen=True)
class Filters:
    """All fields together must hold; of several patterns in one field, one must. Empty: no condition.

    `since` is inclusive, `until` exclusive. `states` holds IncidentState values, or "none" for a panic
    without an incident. `same_as` are ids of panics whose signature is wanted. `upto_id` freezes a list
    while somebody pages through it.
    """

    host: tuple[Pattern, ...] = ()
    kernel: tuple[Pattern, ...] = ()
    kind: tuple[Pattern, ...] = ()
    ring: tuple[Pattern, ...] = ()
    hardware: tuple[Pattern, ...] = ()
    signature: tuple[Pattern, ...] = ()
    same_as: tuple[int, ...] = ()
    states: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    words: tuple[str, ...] = ()  # each must stand in the title
    incident: int | None = None
    upto_id: int | None = None


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


def count_panics(session: Session, filters: Filters) -> int:
    """Exactly how many panics match."""
    return session.exec(select(func.count()).select_from(Panic).where(*_conditions(filters))).one()


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


def list_rows(session: Session, filters: Filters, *, limit: int = 50, offset: int = 0) -> list[PanicRow]:
    """The matching panics, newest first. The panic's text is not read."""
    columns = (
        col(Panic.id), col(Panic.host), col(Panic.occurred_at), col(Panic.kernel), col(Panic.kind),
        col(Panic.title), col(Panic.signature_key), col(Panic.ring), col(Panic.hardware),
        col(Panic.deliberate), col(Panic.dump_state), col(Panic.dump_size), col(Panic.incident_id),
    )  # fmt: skip
    found = session.execute(
        sa_select(*columns)
        .where(*_conditions(filters))
        .order_by(col(Panic.occurred_at).desc(), col(Panic.id).desc())
        .limit(limit)
        .offset(offset)
    ).all()
    threads = parents_of(session, {row[12] for row in found if row[12] is not None})
    return [PanicRow(*row, *threads.get(row[12], (None, None, None))) for row in found]


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


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    for column, patterns in (
        (Panic.host, filters.host),
        (Panic.kernel, filters.kernel),
        (Panic.kind, filters.kind),
        (Panic.ring, filters.ring),
        (Panic.hardware, filters.hardware),
    ):
        if patterns:
            conditions.append(_any_of(column, patterns))
    if filters.signature or filters.same_as:
        wanted = [_any_of(Panic.signature_key, filters.signature)] if filters.signature else []
        if filters.same_as:
            # Causes nobody could read share a key and nothing else: of those only the panic itself is meant.
            keys = select(Panic.signature_key).where(
                col(Panic.id).in_(filters.same_as), col(Panic.kind) != "unknown"
            )
            wanted += [col(Panic.signature_key).in_(keys), col(Panic.id).in_(filters.same_as)]
        conditions.append(or_(*wanted))
    if filters.states:
        conditions.append(_in_states(filters.states))
    if filters.since is not None:
        conditions.append(col(Panic.occurred_at) >= filters.since)
    if filters.until is not None:
        conditions.append(col(Panic.occurred_at) < filters.until)
    conditions += [_any_of(Panic.title, (Pattern(word, Match.CONTAINS),)) for word in filters.words]
    if filters.incident is not None:
        conditions.append(col(Panic.incident_id) == filters.incident)
    if filters.upto_id is not None:
        conditions.append(col(Panic.id) <= filters.upto_id)
    return conditions


def _any_of(column: Any, patterns: Sequence[Pattern]) -> ColumnElement[bool]:
    return or_(false(), *(col(column).ilike(p.like, escape="\\") for p in patterns))


def _in_states(states: Sequence[str]) -> ColumnElement[bool]:
    """By subquery on the incidents: `incident_id` has an index, and lies behind the panic's long text."""
    wanted: list[ColumnElement[bool]] = []
    named = [IncidentState(s) for s in states if s != "none"]
    if named:
        wanted.append(col(Panic.incident_id).in_(select(Incident.id).where(col(Incident.state).in_(named))))
    if "none" in states:
        wanted.append(col(Panic.incident_id).is_(None))
    return or_(*wanted)
