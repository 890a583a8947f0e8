"""One page of a list, found by where the last one ended and not by counting rows off.

A list is first looked for among the newest panics (or the oldest, or the first hosts, as it is sorted): most filters
find a page's worth there. Where they do not, the matches are few or far, and the database collects them from the
index of the narrowest filter and sorts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_
from sqlalchemy import select as sa_select
from sqlmodel import Session, col

from storage.conditions import kernels_matching, other_conditions, time_conditions, word_conditions
from storage.filters import Filters, Sort, kernel_order
from storage.tables import Panic

_NEAR = 150  # panics that are looked at one by one before anything else
_FURTHER = 3000  # where there are many matches, and those not near
_FEW = 3000  # matches that are collected and sorted at once


@dataclass(frozen=True)
class Place:
    """Where a page begins or ends: a panic, with what lists are sorted by."""

    id: int
    occurred_at: datetime
    host: str = ""
    kernel: str | None = None


_KEYS = {
    Sort.NEWEST: (("occurred_at", True), ("id", True)),
    Sort.OLDEST: (("occurred_at", False), ("id", False)),
    Sort.HOST: (("host", False), ("occurred_at", False), ("id", False)),
}


def page_ids(
    session: Session, filters: Filters, limit: int, after: Place | None, before: Place | None
) -> list[int]:
    """The ids of a page's panics, in the list's order."""
    if filters.sort is Sort.KERNEL:
        return _by_kernel(session, filters, limit, after, before)
    if before is not None:
        return _walk(session, filters, limit, before, backwards=True)[::-1]
    return _walk(session, filters, limit, after, backwards=False)


def _walk(
    session: Session, filters: Filters, limit: int, start: Place | None, *, backwards: bool
) -> list[int]:
    keys = [(getattr(Panic, name), name, down is not backwards) for name, down in _KEYS[filters.sort]]
    order = [col(c).desc() if down else col(c).asc() for c, _name, down in keys]
    place = _past(keys, start)
    times = time_conditions(filters)
    # Hosts' panics are not in the order of time: there, a time is a condition like any other.
    along = [*place, *times] if filters.sort is not Sort.HOST else place
    if not other_conditions_asked(filters) and (filters.sort is not Sort.HOST or not times):
        return list(
            session.execute(sa_select(col(Panic.id)).where(*along).order_by(*order).limit(limit)).scalars()
        )
    others = other_conditions(session, filters)
    found = _among_first(session, filters, along, order, _NEAR, [*times, *others], limit)
    if len(found) >= limit:
        return found
    words = word_conditions(session, filters)
    some = sa_select(col(Panic.id)).where(*place, *times, *others, *words).limit(_FEW + 1).subquery()
    if session.execute(sa_select(func.count()).select_from(some)).scalar_one() > _FEW:
        found = _among_first(session, filters, along, order, _FURTHER, [*times, *others], limit)
        if len(found) >= limit:
            return found
    all_of_them = (
        sa_select(*(col(c) for c, _name, _down in keys))
        .where(*place, *times, *others, *words)
        .cte("found")
        .prefix_with("MATERIALIZED")
    )
    sorted_ = [all_of_them.c[name].desc() if down else all_of_them.c[name].asc() for _c, name, down in keys]
    return list(session.execute(sa_select(all_of_them.c.id).order_by(*sorted_).limit(limit)).scalars())


def _among_first(
    session: Session,
    filters: Filters,
    along: Sequence[ColumnElement[bool]],
    order: Sequence[Any],
    width: int,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
) -> list[int]:
    """Of the first `width` panics of the list's order, those that match."""
    window = sa_select(col(Panic.id)).where(*along).order_by(*order).limit(width).cte("near")
    words: list[ColumnElement[bool]] = []
    if filters.words:
        low, high = session.execute(sa_select(func.min(window.c.id), func.max(window.c.id))).one()
        if low is None:
            return []
        words = word_conditions(session, filters, (low, high))
    return list(
        session.execute(
            sa_select(col(Panic.id))
            .join_from(window, Panic, col(Panic.id) == window.c.id)
            .where(*conditions, *words)
            .order_by(*order)
            .limit(limit)
        ).scalars()
    )


def other_conditions_asked(filters: Filters) -> bool:
    """Whether there are conditions but those of time."""
    return replace(filters, since=None, until=None, upto_id=None, sort=Sort.NEWEST) != Filters()


def _past(keys: Sequence[tuple[Any, str, bool]], place: Place | None) -> list[ColumnElement[bool]]:
    """Strictly after the place, in the order of the keys. The first key stands alone, too: that is for the index."""
    if place is None:
        return []
    past: ColumnElement[bool] | None = None
    for column, name, down in reversed(keys):
        value = getattr(place, name)
        beyond = col(column) < value if down else col(column) > value
        past = beyond if past is None else or_(beyond, and_(col(column) == value, past))
    column, name, down = keys[0]
    first = col(column) <= getattr(place, name) if down else col(column) >= getattr(place, name)
    assert past is not None
    return [first, past]


def _by_kernel(
    session: Session, filters: Filters, limit: int, after: Place | None, before: Place | None
) -> list[int]:
    """Kernel by kernel, the highest first, and last the panics whose kernel is not known."""
    kernels: list[str | None] = [*sorted(kernels_matching(session, filters), key=kernel_order, reverse=True)]
    if not filters.kernel and not filters.releases:
        kernels.append(None)
    start = before or after
    backwards = before is not None
    if backwards:
        kernels.reverse()
    if start is not None:
        kernels = kernels[kernels.index(start.kernel) :] if start.kernel in kernels else kernels
    rest = replace(filters, kernel=(), releases=())
    conditions = [
        *time_conditions(filters), *other_conditions(session, rest), *word_conditions(session, filters)
    ]  # fmt: skip
    found: list[int] = []
    for kernel in kernels:
        within = start if start is not None and kernel == start.kernel else None
        found += _of_kernel(session, conditions, kernel, limit - len(found), within, backwards=backwards)
        if len(found) >= limit:
            break
    return found[::-1] if backwards else found


def _of_kernel(
    session: Session,
    conditions: Sequence[ColumnElement[bool]],
    kernel: str | None,
    limit: int,
    start: Place | None,
    *,
    backwards: bool,
) -> list[int]:
    """Newest first; backwards, oldest first."""
    keys = [(getattr(Panic, name), name, down is not backwards) for name, down in _KEYS[Sort.NEWEST]]
    its = col(Panic.kernel).is_(None) if kernel is None else col(Panic.kernel) == kernel
    return list(
        session.execute(
            sa_select(col(Panic.id))
            .where(its, *_past(keys, start), *conditions)
            .order_by(*(col(c).desc() if down else col(c).asc() for c, _name, down in keys))
            .limit(limit)
        ).scalars()
    )
