"""One page of a list, found by where the last one ended and not by counting rows off.

A list is first looked for among the newest panics (or the oldest, or the first hosts, as it is sorted): most filters
find a page's worth there. Where they do not, the matches are few or far, and the list is looked for among the panics of
the narrowest filter: among all of them where they are few, else among the newest, by the index on its column and the
time. What the database would choose by itself depends on its statistics, which may be old or missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, union_all
from sqlalchemy import select as sa_select
from sqlalchemy.sql.operators import desc_op
from sqlmodel import Session, col

from storage.conditions import (
    Part,
    dialect,
    kernels_matching,
    letter_conditions,
    other_conditions,
    parts_of,
    time_conditions,
    word_conditions,
)
from storage.filters import Filters, Match, Pattern, Sort, kernel_order
from storage.tables import Panic
from storage.wordindex import holds_words, ids_with_words, in_words, searchable

_NEAR = 150  # panics that are looked at one by one before anything else
_FURTHER = 3000  # where no filter has few, and the matches are not near
_SHORT = 400  # the newest of a filter's panics, which are looked at before filters are weighed
_FEW_AT_ONCE = 3000  # panics of one filter that are all looked at
_FEW = 12_000  # likewise, where nothing was found near
_FEW_WORDS = 3000
_MANY = 20_000  # panics to which a filter's are counted
_LANES = 40  # values of a filter whose panics are read side by side
_WIDTHS = (4000, _MANY)


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


@dataclass(frozen=True)
class _Narrow:
    """The filter with fewest panics, as far as an index tells. `size` is at most _MANY and one. `part`: its panics can
    be read by the day, value by value."""

    size: int
    condition: ColumnElement[bool]
    part: Part | None = None


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
    look = _Look(session, filters, order, limit)
    near = [*times, *other_conditions(session, filters, near=True)]
    found = look.among(_window(along, order, _NEAR), near)
    if len(found) >= limit:
        return found
    parts = parts_of(session, filters)
    if any(part.values is not None and not part.values for part in parts):
        return []
    rest = [*times, *(part.condition for part in parts)]
    by_day = [part for part in parts if part.values is not None and len(part.values) <= _LANES]
    if len(parts) == len(by_day) == 1 and not filters.words and filters.sort is not Sort.HOST:
        return list(session.execute(_lanes(by_day[0], along, order, limit)).scalars())
    spans = time_conditions(replace(filters, upto_id=None))
    if filters.sort is not Sort.HOST:
        for part in by_day:
            found = look.among(_lanes(part, [*place, *spans], order, _SHORT), rest)
            if len(found) >= limit:
                return found
    narrow = _narrowest(session, filters, parts)
    if narrow is not None and narrow.size <= _FEW_AT_ONCE:
        return look.among(sa_select(col(Panic.id)).where(narrow.condition, *place), rest)
    if narrow is not None and narrow.part is not None and filters.sort is not Sort.HOST:
        for width in _WIDTHS:
            found = look.among(_lanes(narrow.part, [*place, *spans], order, width), rest)
            if len(found) >= limit or width >= narrow.size:
                return found
    else:
        for part in by_day if filters.sort is not Sort.HOST else ():
            found = look.among(_lanes(part, [*place, *spans], order, _WIDTHS[0]), rest)
            if len(found) >= limit:
                return found
        hosts = [p.condition for p in parts if filters.sort is Sort.HOST and p.column is Panic.host]
        found = look.among(_window([*along, *hosts], order, _FURTHER), rest)
        if len(found) >= limit:
            return found
        if narrow is not None and narrow.size <= _FEW:
            return look.among(sa_select(col(Panic.id)).where(narrow.condition, *place), rest)
    all_of_them = (
        sa_select(*(col(c) for c, _name, _down in keys))
        .where(*place, *rest, *word_conditions(session, filters))
        .cte("found")
        .prefix_with("MATERIALIZED")
    )
    sorted_ = [all_of_them.c[name].desc() if down else all_of_them.c[name].asc() for _c, name, down in keys]
    return list(session.execute(sa_select(all_of_them.c.id).order_by(*sorted_).limit(limit)).scalars())


def _window(conditions: Sequence[ColumnElement[bool]], order: Sequence[Any], width: int) -> Any:
    """The ids of the first `width` panics of the list's order."""
    return sa_select(col(Panic.id)).where(*conditions).order_by(*order).limit(width)


def _lanes(part: Part, conditions: Sequence[ColumnElement[bool]], order: Sequence[Any], width: int) -> Any:
    """The same of those that one filter leaves: of each of its values by the index on it and on the time."""
    lanes = []
    for value in part.values or ():
        its = (
            sa_select(col(Panic.id).label("id"), col(Panic.occurred_at).label("occurred_at"))
            .where(col(part.column) == value, *conditions)
            .order_by(*order)
            .limit(width)
            .subquery()
        )
        lanes.append(sa_select(its.c.id, its.c.occurred_at))
    together = union_all(*lanes).subquery() if len(lanes) > 1 else lanes[0].subquery()
    down = order[0].modifier is desc_op
    by = [c.desc() if down else c.asc() for c in (together.c.occurred_at, together.c.id)]
    return sa_select(together.c.id).order_by(*by).limit(width)


def _narrowest(session: Session, filters: Filters, parts: Sequence[Part]) -> _Narrow | None:
    """None where no filter has an index. Each is counted no further than the narrowest so far."""
    spans = time_conditions(replace(filters, upto_id=None))
    best: _Narrow | None = None

    def weigh(some: Any, condition: ColumnElement[bool], part: Part | None = None) -> None:
        nonlocal best
        counted = some.limit(best.size if best is not None else _MANY + 1).subquery()
        size = session.execute(sa_select(func.count()).select_from(counted)).scalar_one()
        if best is None or size < best.size:
            best = _Narrow(size, condition, part)

    for part in parts:
        if part.values is not None or part.few:
            by_day = part if part.values is not None and len(part.values) <= _LANES else None
            within = [part.condition, *(spans if part.values is not None else ())]
            weigh(sa_select(col(Panic.id)).where(*within), and_(*within), by_day)
    if spans:
        weigh(sa_select(col(Panic.id)).where(*spans), and_(*spans))
    words = [word for word in filters.words if searchable(word)]
    if words and (best is None or best.size > _FEW_AT_ONCE):
        ids = ids_with_words(dialect(session), words, None)
        some = session.execute(ids.limit(_FEW_WORDS + 1)).scalars().all()
        if len(some) <= _FEW_WORDS:
            best = _Narrow(len(some), col(Panic.id).in_(some))
    return best


@dataclass(frozen=True)
class _Look:
    """A list's first matches among some panics."""

    session: Session
    filters: Filters
    order: Sequence[Any]
    limit: int

    def among(self, ids: Any, conditions: Sequence[ColumnElement[bool]]) -> list[int]:
        """`ids`: a query for the panics to look at, of which those are told that hold the conditions and the words."""
        some = ids.cte("some").prefix_with("MATERIALIZED")
        words = [word for word in self.filters.words if searchable(word)]
        letters = letter_conditions(self.session, self.filters.words)
        conditions = [*conditions, *letters]
        read: tuple[Any, ...] = (col(Panic.id),)
        by_hand = bool(words) and dialect(self.session) == "sqlite"
        if by_hand:  # its index would list every panic with the words
            read = (col(Panic.id), col(Panic.title), col(Panic.frames))
        elif words:
            conditions = [*conditions, in_words(dialect(self.session), words)]
        query = (
            sa_select(*read)
            .join_from(some, Panic, col(Panic.id) == some.c.id)
            .where(*conditions)
            .order_by(*self.order)
        )
        if not by_hand:
            return list(self.session.execute(query.limit(self.limit)).scalars())
        found: list[int] = []
        with self.session.execute(query) as rows:
            while len(found) < self.limit and (batch := rows.fetchmany(50)):
                found += [i for i, title, frames in batch if holds_words(title, frames, words)]
        return found[: self.limit]


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
    if (few := _few_by_kernel(session, filters, rest)) is not None:
        return _cut_out(few, kernels, limit, start, backwards=backwards)
    conditions = [
        *time_conditions(filters), *other_conditions(session, rest), *word_conditions(session, filters)
    ]  # fmt: skip
    found: list[int] = []
    for kernel in kernels:
        within = start if start is not None and kernel == start.kernel else None
        room = limit - len(found)
        if kernel is not None and other_conditions_asked(rest):
            its = replace(rest, kernel=(Pattern(kernel, Match.EXACT),), sort=Sort.NEWEST)
            found += _walk(session, its, room, within, backwards=backwards)
        else:
            found += _of_kernel(session, conditions, kernel, room, within, backwards=backwards)
        if len(found) >= limit:
            break
    return found[::-1] if backwards else found


def _few_by_kernel(session: Session, filters: Filters, rest: Filters) -> list[Place] | None:
    """All that match, newest first, where one of the filters but those on the kernel leaves few; else None."""
    parts = parts_of(session, rest)
    narrow = _narrowest(session, rest, parts)
    if narrow is None or narrow.size > _FEW_AT_ONCE:
        return None
    kernels = kernels_matching(session, filters)
    its = [col(Panic.kernel).in_(kernels)] if filters.kernel or filters.releases else []
    newest = [col(Panic.occurred_at).desc(), col(Panic.id).desc()]
    ids = _Look(session, rest, newest, _FEW_AT_ONCE).among(
        sa_select(col(Panic.id)).where(narrow.condition),
        [*time_conditions(rest), *(part.condition for part in parts), *its],
    )
    places = sa_select(col(Panic.id), col(Panic.occurred_at), col(Panic.kernel)).where(narrow.condition)
    known = {i: Place(i, at, kernel=kernel) for i, at, kernel in session.execute(places)}
    return [known[i] for i in ids]


def _cut_out(
    found: Sequence[Place],
    kernels: Sequence[str | None],
    limit: int,
    start: Place | None,
    *,
    backwards: bool,
) -> list[int]:
    """The page of a list that is at hand. `kernels` in the direction of the walk, from the place's kernel on."""
    ranks = {kernel: rank for rank, kernel in enumerate(kernels)}
    page: list[int] = []
    walk = sorted((p for p in (found[::-1] if backwards else found) if p.kernel in ranks),
                  key=lambda p: ranks[p.kernel])  # fmt: skip
    for place in walk:
        if start is not None and place.kernel == start.kernel:
            here, there = (place.occurred_at, place.id), (start.occurred_at, start.id)
            if here <= there if backwards else here >= there:
                continue
        page.append(place.id)
    return page[:limit][::-1] if backwards else page[:limit]


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
