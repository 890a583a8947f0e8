"""Panics counted by day and by what they have in common, for `top` and `trends`.

Days are whole days in UTC. Deliberate panics are not counted. Answers come from the roll-ups, except for filters that
those know nothing of (a host, a state, words, …): such panics are counted themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, func, or_, union_all
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
from storage.rollups import COLUMNS, LENGTHS, PLACED, Cut, Grain, panic_day, panic_place, panic_tally
from storage.tables import Panic, Signature

ROLLOUTS = ("kernel", "driver", "firmware")


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


@dataclass(frozen=True)
class Daily:
    """Panics a day of one value."""

    day: date
    value: str
    panics: int


@dataclass(frozen=True)
class Rollout:
    """A change to kernels, drivers or firmware, as it was told."""

    key: str
    kind: str
    summary: str
    started: datetime
    url: str


def top(
    session: Session, cut: Cut, *, since: date | None = None, until: date | None = None, limit: int = 10
) -> Top:
    """Which signatures, hosts, kernels, … had most panics from the day `since` to the day `until`, both included."""
    inner = _by_value(cut, since, until).subquery()
    panics, values = session.execute(
        sa_select(func.coalesce(func.sum(inner.c.panics), 0), func.count()).select_from(inner)
    ).one()
    most = session.execute(
        sa_select(inner.c.value, inner.c.panics).order_by(inner.c.panics.desc(), inner.c.value).limit(limit)
    ).all()
    names = [value for value, _count in most]
    hosts = dict.fromkeys(names, 1) if cut is Cut.HOST else _hosts(session, cut, names, since, until)
    titles = _titles(session, names) if cut is Cut.SIGNATURE else {}
    rows = tuple(Counted(v, int(n), hosts.get(v, 0), titles.get(v, "")) for v, n in most)
    return Top(cut, since, until, int(panics), int(values), rows)


def daily(session: Session, filters: Filters, cut: Cut) -> list[Daily]:
    """Panics a day that match, by the values of a cut; days without any are left out. Order, `sort` and times of day
    in the filters do not matter: the days of `since` and of `until` (the day before, at midnight) are counted whole."""
    first = filters.since.astimezone(UTC).date() if filters.since else None
    last = (filters.until - timedelta(microseconds=1)).astimezone(UTC).date() if filters.until else None
    own = _of_own_cut(session, filters, cut)
    conditions = None if cut is Cut.HOST or own is not None else _of_rollup(session, filters)
    query: Any
    value: Any
    if own is not None:
        tally = panic_tally.c
        query = sa_select(tally.period, tally.value, func.sum(tally.panics)).where(
            tally.cut == cut.value, tally.grain == Grain.DAY.value, *own, *_days(tally.period, first, last)
        )
        query = query.group_by(tally.period, tally.value)
    elif conditions is not None:
        value = panic_day.c[COLUMNS[cut]]
        query = sa_select(panic_day.c.day, value, func.sum(panic_day.c.panics)).where(
            *conditions, *_days(panic_day.c.day, first, last)
        )
        query = query.group_by(panic_day.c.day, value)
    else:
        whole = replace(
            filters,
            since=_midnight(first) if first else None,
            until=_midnight(last + timedelta(days=1)) if last else None,
        )
        value = func.coalesce(getattr(Panic, COLUMNS[cut]), "")
        day = _day_of(session)
        query = sa_select(day, value, func.count()).where(
            col(Panic.deliberate).is_(False),
            *time_conditions(whole),
            *other_conditions(session, whole),
            *word_conditions(session, whole),
        )
        query = query.group_by(day, value)
    return sorted(
        (Daily(date.fromisoformat(d), v, int(n)) for d, v, n in session.execute(query)),
        key=lambda row: (row.day, row.value),
    )


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
            col(ChangeRecord.started) >= _midnight(since),
            col(ChangeRecord.started) < _midnight(until + timedelta(days=1)),
        )
        .order_by(case((col(ChangeRecord.kind) == "kernel", 0), else_=1), col(ChangeRecord.started).desc())
        .limit(limit)
    ).all()  # fmt: skip
    return sorted((Rollout(*row) for row in rows), key=lambda r: (r.started, r.key))


def signature_titles(session: Session, keys: Sequence[str]) -> dict[str, str]:
    """{signature: its title}, of those that are known."""
    return _titles(session, keys)


# -- the roll-ups -------------------------------------------------------------------------------------


def _by_value(cut: Cut, since: date | None, until: date | None) -> Any:
    """(value, panics), of days, months and years together."""
    place = panic_place.c
    if cut is Cut.HOST and since is None and until is None:
        return sa_select(place.value, place.panics).where(place.cut == cut.value, place.panics > 0)
    parts: list[Any] = []
    for grain, first, last in spans(since, until):
        if cut is Cut.HOST and grain is Grain.DAY:
            some: Any = sa_select(col(Panic.host).label("value"), func.count().label("panics")).where(
                *_within(first, last), col(Panic.deliberate).is_(False)
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
        seen = place.last_at >= _midnight(since) if since else place.last_at.is_not(None)
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
            .where(its, *_within(since, until), col(Panic.deliberate).is_(False))
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


def _of_rollup(session: Session, filters: Filters) -> list[ColumnElement[bool]] | None:
    """The filters as conditions on `panic_day`; None where it does not hold what they ask for."""
    held = replace(
        filters, kernel=(), releases=(), ring=(), hardware=(), signature=(), since=None, until=None
    )
    if replace(held, sort=Filters().sort) != Filters():
        return None
    made: list[ColumnElement[bool]] = []
    if filters.kernel or filters.releases:
        made.append(panic_day.c.kernel.in_(kernels_matching(session, filters)))
    for name, patterns in (
        ("ring", filters.ring),
        ("hardware", filters.hardware),
        ("signature_key", filters.signature),
    ):
        if patterns:
            values = values_matching(session, name, patterns)
            if values is None:
                return None
            made.append(panic_day.c[name].in_([v for v in values if v]))
    return made


def _of_own_cut(session: Session, filters: Filters, cut: Cut) -> list[ColumnElement[bool]] | None:
    """The filters as conditions on `panic_tally`; None where they ask for more than the cut's own values."""
    field = {
        Cut.KERNEL: "kernel",
        Cut.RING: "ring",
        Cut.HARDWARE: "hardware",
        Cut.SIGNATURE: "signature",
    }.get(cut)
    if field is None:
        return None
    left: dict[str, Any] = {field: (), "since": None, "until": None, "sort": Filters().sort}
    if cut is Cut.KERNEL:
        left["releases"] = ()
    if replace(filters, **left) != Filters():
        return None
    if cut is Cut.KERNEL:
        asked = bool(filters.kernel or filters.releases)
        return [panic_tally.c.value.in_(kernels_matching(session, filters))] if asked else []
    patterns = getattr(filters, field)
    values = values_matching(session, COLUMNS[cut], patterns) if patterns else []
    if values is None:
        return None
    return [panic_tally.c.value.in_([v for v in values if v])] if patterns else []


def _days(day: Any, since: date | None, until: date | None) -> list[ColumnElement[bool]]:
    made: list[ColumnElement[bool]] = []
    if since is not None:
        made.append(day >= since.isoformat())
    if until is not None:
        made.append(day <= until.isoformat())
    return made


def _within(since: date | None, until: date | None) -> list[ColumnElement[bool]]:
    return time_conditions(
        Filters(
            since=_midnight(since) if since else None,
            until=_midnight(until + timedelta(days=1)) if until else None,
        )
    )


def _day_of(session: Session) -> Any:
    if dialect(session) == "sqlite":
        return func.strftime("%Y-%m-%d", Panic.occurred_at)
    return func.to_char(func.timezone("UTC", Panic.occurred_at), "YYYY-MM-DD")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
