"""Panics counted by what they have in common, for `top`: from the roll-ups, over any span of whole days in UTC.

Deliberate panics are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, union_all
from sqlalchemy import select as sa_select
from sqlmodel import Session, col

from storage.conditions import time_conditions
from storage.filters import Filters
from storage.rollups import COLUMNS, LENGTHS, PLACED, Cut, Grain, panic_place, panic_tally
from storage.tables import Panic, Signature


@dataclass(frozen=True)
class Counted:
    """What some panics have in common. `value` is empty where it is not known; `title` is a signature's."""

    value: str
    panics: int
    hosts: int
    title: str = ""


@dataclass(frozen=True)
class Top:
    """The values with most panics, most first. `since` and `until` are the first day and the last; None: no end."""

    cut: Cut
    since: date | None
    until: date | None
    panics: int  # of all values
    values: int  # how many there are
    rows: tuple[Counted, ...]


def top(
    session: Session, cut: Cut, *, since: date | None = None, until: date | None = None, limit: int = 10
) -> Top:
    """Which signatures, hosts, kernels, … had most panics from the day `since` to the day `until`, both included."""
    most, panics, values = most_of(session, by_value(cut, since, until), limit)
    names = [value for value, _count in most]
    hosts = dict.fromkeys(names, 1) if cut is Cut.HOST else _hosts(session, cut, names, since, until)
    titles = _titles(session, names) if cut is Cut.SIGNATURE else {}
    rows = tuple(Counted(v, int(n), hosts.get(v, 0), titles.get(v, "")) for v, n in most)
    return Top(cut, since, until, panics, values, rows)


def most_of(session: Session, totals: Any, limit: int) -> tuple[list[tuple[str, int]], int, int]:
    """(the values with most panics, all panics, all values) of a query for (value, panics), which is run once."""
    inner = totals.cte("totals").prefix_with("MATERIALIZED")
    rows = session.execute(
        sa_select(
            inner.c.value,
            inner.c.panics,
            sa_select(func.sum(inner.c.panics)).scalar_subquery(),
            sa_select(func.count()).select_from(inner).scalar_subquery(),
        )
        .order_by(inner.c.panics.desc(), inner.c.value)
        .limit(limit)
    ).all()
    panics, values = rows[0][2:] if rows else (0, 0)
    return [(value, int(number)) for value, number, *_all in rows], int(panics), int(values)


def signature_titles(session: Session, keys: Sequence[str]) -> dict[str, str]:
    """{signature: its title}, of those that are known."""
    return _titles(session, keys)


# -- the roll-ups -------------------------------------------------------------------------------------


def by_value(cut: Cut, since: date | None, until: date | None, only: Sequence[str] | None = None) -> Any:
    """(value, panics), of days, months and years together. `only`: of these values."""
    place = panic_place.c
    if cut is Cut.HOST and since is None and until is None:
        return sa_select(place.value, place.panics).where(place.cut == cut.value, place.panics > 0)
    parts: list[Any] = []
    for grain, first, last in spans(since, until):
        if cut is Cut.HOST and grain is Grain.DAY:
            some: Any = sa_select(col(Panic.host).label("value"), func.count().label("panics")).where(
                *within(first, last), col(Panic.deliberate).is_(False)
            )
            parts.append(some.group_by(col(Panic.host)))
            continue
        length = LENGTHS[grain]
        tally = panic_tally.c
        parts.append(
            sa_select(tally.value, tally.panics).where(
                tally.cut == cut.value,
                tally.grain == grain.value,
                tally.period >= first.isoformat()[:length],
                tally.period <= last.isoformat()[:length],
                *([] if only is None else [tally.value.in_(only)]),
            )
        )
    pieces = union_all(*parts).subquery() if len(parts) > 1 else parts[0].subquery()
    return sa_select(pieces.c.value, func.sum(pieces.c.panics).label("panics")).group_by(pieces.c.value)


def spans(since: date | None, until: date | None) -> list[tuple[Grain, date, date]]:
    """The days from `since` to `until`, both included, as (grain, first day, last day) in as few periods as there are.

    At most days, months, years, months, days, in this order. None is an open end.
    """
    at, end = since or date.min, until or date(9998, 12, 31)
    found: list[tuple[Grain, date, date]] = []

    def take(grain: Grain, last: date) -> None:
        nonlocal at
        if at <= last:
            found.append((grain, at, last))
            at = last + timedelta(days=1)

    if at.day != 1:
        take(Grain.DAY, min(end, _month_end(at)))
    if at.month != 1:
        take(Grain.MONTH, min(date(at.year, 12, 31), _last_whole_month(end)))
    if at.month == at.day == 1:
        whole = end.year if (end.month, end.day) == (12, 31) else end.year - 1
        if whole >= at.year:
            take(Grain.YEAR, date(whole, 12, 31))
    if at.day == 1:
        take(Grain.MONTH, _last_whole_month(end))
    take(Grain.DAY, end)
    return found


def _month_end(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _last_whole_month(end: date) -> date:
    """The last day of the last month that has ended by the end of `end`."""
    return end if end == _month_end(end) else end.replace(day=1) - timedelta(days=1)


def _hosts(
    session: Session, cut: Cut, values: Sequence[str], since: date | None, until: date | None
) -> dict[str, int]:
    """On how many hosts: up to now from the roll-up, else from the panics themselves."""
    query: Any
    if until is None and cut in PLACED:
        place = panic_place.c
        seen = place.last_at >= midnight(since) if since else place.last_at.is_not(None)
        query = sa_select(place.value, func.count()).where(
            place.cut == cut.value, place.value.in_(values), seen
        )
        return {value: int(number) for value, number in session.execute(query.group_by(place.value))}
    found = {}
    column = getattr(Panic, COLUMNS[cut])
    for value in values:
        its = col(column) == value if value else or_(col(column).is_(None), col(column) == "")
        hosts = (
            sa_select(col(Panic.host))
            .where(its, *within(since, until), col(Panic.deliberate).is_(False))
            .distinct()
        )
        found[value] = int(
            session.execute(sa_select(func.count()).select_from(hosts.subquery())).scalar_one()
        )
    return found


def _titles(session: Session, keys: Sequence[str]) -> dict[str, str]:
    rows = session.execute(
        sa_select(col(Signature.key), col(Signature.title)).where(col(Signature.key).in_(keys))
    )
    return {str(key): str(title) for key, title in rows}


def within(since: date | None, until: date | None) -> list[ColumnElement[bool]]:
    return time_conditions(
        Filters(
            since=midnight(since) if since else None,
            until=midnight(until + timedelta(days=1)) if until else None,
        )
    )


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
