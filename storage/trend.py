"""Panics by the day and by what they have in common, for `trends`: from the roll-ups, where those know the filters.

Days are whole days in UTC. Deliberate panics are not counted. `panic_tally` knows filters on the cut itself,
`panic_pair` those on one other column (`ring:canary` by signature); for a host, a state, words, or two columns at once
the panics themselves are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, func
from sqlalchemy import select as sa_select
from sqlmodel import Session, col

from storage.changes import ChangeRecord
from storage.conditions import (
    dialect,
    kernels_matching,
    other_conditions,
    time_conditions,
    values_matching,
    word_conditions,
)
from storage.filters import Filters
from storage.rollups import COLUMNS, GIVEN, Cut, Grain, panic_pair, panic_tally
from storage.tables import Panic
from storage.tallies import by_value, midnight, most_of, within

ROLLOUTS = ("kernel", "driver", "firmware")
# A panic's column -> the filters that ask for it.
_FIELDS: dict[str, tuple[str, ...]] = {
    "kernel": ("kernel", "releases"), "ring": ("ring",), "hardware": ("hardware",), "kind": ("kind",),
    "signature_key": ("signature",),
}  # fmt: skip


@dataclass(frozen=True)
class Daily:
    """Panics a day of one value."""

    day: date
    value: str
    panics: int


@dataclass(frozen=True)
class Trend:
    """`days` are those of the values with most panics; `rest` are (day, panics) of all others together."""

    days: tuple[Daily, ...]
    rest: tuple[tuple[date, int], ...]
    values: int  # how many there are, shown ones included


@dataclass(frozen=True)
class Rollout:
    """A change to kernels, drivers or firmware, as it was told."""

    key: str
    kind: str
    summary: str
    started: datetime
    url: str


@dataclass(frozen=True)
class _Source:
    """A roll-up's columns and the conditions under which its rows sum up to the answer."""

    day: Any
    value: Any
    panics: Any
    conditions: tuple[ColumnElement[bool], ...]
    only: tuple[str, ...] | None = None  # of a tally: these values
    tally: bool = True


def trend(session: Session, filters: Filters, cut: Cut, *, shown: int) -> Trend:
    """Panics a day of the `shown` values with most of them (of as many the first by name), and of the rest."""
    first, last = _ends(filters)
    source = _source(session, filters, cut, first, last)
    if (source is None and cut is not Cut.HOST) or (_undated(filters) != Filters() and cut is Cut.HOST):
        return _folded(daily(session, filters, cut), shown)
    if source is None:
        totals = by_value(cut, first, last)
    elif source.tally:
        totals = by_value(cut, first, last, source.only)
    else:
        totals = sa_select(source.value.label("value"), func.sum(source.panics).label("panics"))
        totals = totals.where(*source.conditions).group_by(source.value)
    named, _panics, values = most_of(session, totals, shown)
    names = [value for value, _n in named]
    if source is None:  # hosts: their days are not kept, for they are nearly as many as the panics
        whole = _of_tally(Cut.RING, first, last, None)
        its = _counted(session, [col(Panic.host).in_(names), *within(first, last)], cut)
    else:
        whole = source
        its = (
            sa_select(source.day, source.value, func.sum(source.panics))
            .where(*source.conditions, source.value.in_(names))
            .group_by(source.day, source.value)
        )
    days = _dailies(session.execute(its))
    sums = sa_select(whole.day, func.sum(whole.panics)).where(*whole.conditions).group_by(whole.day)
    rest = Counter({date.fromisoformat(day): int(number) for day, number in session.execute(sums)})
    rest.subtract(_by_day(days))
    return Trend(tuple(days), tuple(sorted((day, n) for day, n in rest.items() if n)), values)


def daily(session: Session, filters: Filters, cut: Cut) -> list[Daily]:
    """Panics a day that match, by the values of a cut; days without any are left out. Order, `sort` and times of day
    in the filters do not matter: the days of `since` and of `until` (the day before, at midnight) are counted whole."""
    first, last = _ends(filters)
    source = _source(session, filters, cut, first, last)
    query: Any
    if source is not None:
        query = sa_select(source.day, source.value, func.sum(source.panics)).where(*source.conditions)
        return _dailies(session.execute(query.group_by(source.day, source.value)))
    whole = replace(
        filters,
        since=midnight(first) if first else None,
        until=midnight(last + timedelta(days=1)) if last else None,
    )
    conditions = [
        *time_conditions(whole), *other_conditions(session, whole), *word_conditions(session, whole)
    ]  # fmt: skip
    return _dailies(session.execute(_counted(session, conditions, cut)))


def rollouts(session: Session, since: date, until: date, *, limit: int = 200) -> list[Rollout]:
    """The changes to kernels, drivers and firmware that began in these days, oldest first; kernels before the others
    where there are too many."""
    rows = session.execute(
        sa_select(
            col(ChangeRecord.key), col(ChangeRecord.kind), col(ChangeRecord.summary), col(ChangeRecord.started),
            col(ChangeRecord.url),
        )
        .where(
            col(ChangeRecord.kind).in_(ROLLOUTS),
            col(ChangeRecord.started) >= midnight(since),
            col(ChangeRecord.started) < midnight(until + timedelta(days=1)),
        )
        .order_by(case((col(ChangeRecord.kind) == "kernel", 0), else_=1), col(ChangeRecord.started).desc())
        .limit(limit)
    ).all()  # fmt: skip
    return sorted((Rollout(*row) for row in rows), key=lambda r: (r.started, r.key))


# -- where the answer comes from ----------------------------------------------------------------------


def _source(
    session: Session, filters: Filters, cut: Cut, first: date | None, last: date | None
) -> _Source | None:
    """The roll-up that holds all that the filters ask for; None: the panics themselves."""
    if cut is Cut.HOST:
        return None
    asked = _undated(filters)
    columns = [name for name, fields in _FIELDS.items() if any(getattr(asked, field) for field in fields)]
    known = {field: () for name in columns for field in _FIELDS[name]}
    if len(columns) > 1 or replace(asked, **known) != Filters():  # type: ignore[arg-type]
        return None
    if not columns:
        return _of_tally(cut, first, last, None)
    (column,) = columns
    if column == "kernel":
        values: list[str] | None = kernels_matching(session, filters)
    else:
        values = values_matching(session, column, getattr(filters, _FIELDS[column][0]))
    if values is None:
        return None
    wanted = tuple(value for value in values if value)
    if column == COLUMNS[cut]:
        return _of_tally(cut, first, last, wanted)
    if column not in GIVEN:
        return None
    pair = panic_pair.c
    conditions = (
        pair.given == column, pair.known.in_(wanted), pair.cut == cut.value, *_days(pair.day, first, last)
    )  # fmt: skip
    return _Source(pair.day, pair.value, pair.panics, conditions, tally=False)


def _of_tally(cut: Cut, first: date | None, last: date | None, only: tuple[str, ...] | None) -> _Source:
    tally = panic_tally.c
    conditions: list[ColumnElement[bool]] = [tally.cut == cut.value, tally.grain == Grain.DAY.value]
    if only is not None:
        conditions.append(tally.value.in_(only))
    return _Source(
        tally.period, tally.value, tally.panics, (*conditions, *_days(tally.period, first, last)), only
    )


def _undated(filters: Filters) -> Filters:
    return replace(filters, since=None, until=None, sort=Filters().sort)


def _ends(filters: Filters) -> tuple[date | None, date | None]:
    """The first day and the last, both included."""
    first = filters.since.astimezone(UTC).date() if filters.since else None
    last = (filters.until - timedelta(microseconds=1)).astimezone(UTC).date() if filters.until else None
    return first, last


def _counted(session: Session, conditions: Sequence[ColumnElement[bool]], cut: Cut) -> Any:
    """(day, value, panics) from the panics themselves."""
    if dialect(session) == "sqlite":
        day: Any = func.substr(col(Panic.occurred_at), 1, 10)
    else:
        day = func.to_char(func.timezone("UTC", col(Panic.occurred_at)), "YYYY-MM-DD")
    value = func.coalesce(getattr(Panic, COLUMNS[cut]), "")
    return (
        sa_select(day, value, func.count())
        .where(col(Panic.deliberate).is_(False), *conditions)
        .group_by(day, value)
    )


def _dailies(rows: Iterable[Any]) -> list[Daily]:
    made = (Daily(date.fromisoformat(day), value, int(number)) for day, value, number in rows)
    return sorted(made, key=lambda row: (row.day, row.value))


def _by_day(days: Iterable[Daily]) -> Counter[date]:
    sums: Counter[date] = Counter()
    for row in days:
        sums[row.day] += row.panics
    return sums


def _folded(days: Sequence[Daily], shown: int) -> Trend:
    totals: Counter[str] = Counter()
    for row in days:
        totals[row.value] += row.panics
    named = {value for value, _n in sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:shown]}
    rest = _by_day(row for row in days if row.value not in named)
    return Trend(tuple(row for row in days if row.value in named), tuple(sorted(rest.items())), len(totals))


def _days(day: Any, since: date | None, until: date | None) -> list[ColumnElement[bool]]:
    made: list[ColumnElement[bool]] = []
    if since is not None:
        made.append(day >= since.isoformat())
    if until is not None:
        made.append(day <= until.isoformat())
    return made
