"""Filters as conditions of SQL, in the form in which both databases answer them from an index.

Kernels, kinds, rings and hardware are few, whatever the number of panics: a pattern is held against the values that
there are, and the query gets those values. Hosts and signatures likewise, as long as few of them match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, or_, text
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from storage.filters import Filters, Match, Pattern
from storage.rollups import Cut, panic_place
from storage.suspects import change_suspect
from storage.tables import DumpState, Incident, IncidentState, Panic
from storage.wordindex import holds_words, ids_with_words, in_words, searchable
from storage.work import ChangeLink

HELD = (DumpState.INCOMPLETE, DumpState.UNVERIFIED, DumpState.COMPLETE)  # something of a vmcore is there
_FEW = 400  # values that a query is given by name
_FEW_HOSTS = 3000
_FEW_PANICS = (
    2000  # of whose words each is looked at by itself, rather than that all panics with the words are listed
)
_MANY_KINDS = 5000  # distinct values of a column beyond which a pattern goes to SQL as it is


def time_conditions(filters: Filters) -> list[ColumnElement[bool]]:
    """Of time and of what a page was frozen at."""
    made: list[ColumnElement[bool]] = []
    if filters.since is not None:
        made.append(col(Panic.occurred_at) >= filters.since)
    if filters.until is not None:
        made.append(col(Panic.occurred_at) < filters.until)
    if filters.upto_id is not None:
        made.append(col(Panic.id) <= filters.upto_id)
    return made


def other_conditions(session: Session, filters: Filters) -> list[ColumnElement[bool]]:
    """All conditions but those of time and of words."""
    made: list[ColumnElement[bool]] = []
    if filters.host:
        made.append(_of_hosts(session, filters.host))
    if filters.kernel or filters.releases:
        made.append(_of_kernels(session, filters))
    for column, patterns in (
        (Panic.kind, filters.kind),
        (Panic.ring, filters.ring),
        (Panic.hardware, filters.hardware),
    ):
        if patterns:
            made.append(_of_values(session, column, patterns))
    if filters.signature or filters.same_as:
        made.append(_of_signatures(session, filters))
    if filters.states:
        made.append(_in_states(session, filters.states))
    if filters.change:
        made.append(_of_changes(session, filters.change))
    if filters.dump:
        made.append(col(Panic.dump_state).in_(HELD))
    if filters.incident is not None:
        made.append(col(Panic.incident_id) == filters.incident)
    return made


def word_conditions(
    session: Session, filters: Filters, between: tuple[int, int] | None = None
) -> list[ColumnElement[bool]]:
    """What the free words ask for. `between`: only panics with such ids are wanted."""
    made = [
        _like(session, Panic.title, Pattern(w, Match.CONTAINS)) for w in filters.words if not searchable(w)
    ]
    words = [w for w in filters.words if searchable(w)]
    if not words:
        return made
    found = _read(session, filters, words) if between is None and dialect(session) == "sqlite" else None
    made.append(in_words(dialect(session), words, between) if found is None else col(Panic.id).in_(found))
    return made


def _read(session: Session, filters: Filters, words: Sequence[str]) -> list[int] | None:
    """The panics with the words among those that the other filters leave; None where those are many, or all.

    SQLite would list every panic with the words before it looks at the rest.
    """
    rest = replace(filters, words=())
    if rest == Filters(upto_id=filters.upto_id, sort=filters.sort):
        return None
    rows = session.execute(
        sa_select(col(Panic.id), col(Panic.title), col(Panic.frames))
        .where(*time_conditions(rest), *other_conditions(session, rest))
        .limit(_FEW_PANICS + 1)
    ).all()
    if len(rows) > _FEW_PANICS:
        return None
    return [i for i, title, frames in rows if holds_words(title, frames, words)]


def dialect(session: Session) -> str:
    return session.get_bind().dialect.name


def distinct(session: Session, column: str) -> list[str]:
    """The values of a panic's column, by a loose index scan: one look-up a value, however many panics there are.

    The same in SQLite and PostgreSQL, which both lack a skip scan for DISTINCT. At most `_MANY_KINDS` and one.
    """
    query = (
        "WITH RECURSIVE seen(value) AS ("  # noqa: S608 - names of our own
        f" SELECT min({column}) FROM panic"
        " UNION ALL"
        f" SELECT (SELECT min(panic.{column}) FROM panic WHERE panic.{column} > seen.value)"
        " FROM seen WHERE seen.value IS NOT NULL"
        f") SELECT value FROM seen WHERE value IS NOT NULL LIMIT {_MANY_KINDS + 1}"
    )
    return [str(value) for value in session.execute(text(query)).scalars()]


def kernels_matching(session: Session, filters: Filters) -> list[str]:
    """The kernels that the filters want, of those that there are; all, where they say nothing of kernels."""
    known = distinct(session, "kernel")
    if not filters.kernel and not filters.releases:
        return known
    return [
        k for k in known
        if any(p.matches(k) for p in filters.kernel) or any(r.holds(k) for r in filters.releases)
    ]  # fmt: skip


def values_matching(session: Session, column: str, patterns: Iterable[Pattern]) -> list[str] | None:
    """The values of a column that one of the patterns matches; None: too many values to tell."""
    known = distinct(session, column)
    if len(known) > _MANY_KINDS:
        return None
    wanted = list(patterns)
    return [value for value in known if any(p.matches(value) for p in wanted)]


def _of_values(session: Session, column: Any, patterns: Sequence[Pattern]) -> ColumnElement[bool]:
    found = values_matching(session, column.key, patterns)
    return _any_of(session, column, patterns) if found is None else col(column).in_(found)


def _of_kernels(session: Session, filters: Filters) -> ColumnElement[bool]:
    return col(Panic.kernel).in_(kernels_matching(session, filters))


def _of_hosts(session: Session, patterns: Sequence[Pattern]) -> ColumnElement[bool]:
    hosts = (
        sa_select(panic_place.c.value)
        .where(
            panic_place.c.cut == Cut.HOST.value,
            _any_of(session, panic_place.c.value, patterns),
        )
        .limit(_FEW_HOSTS + 1)
    )
    found = session.execute(hosts).scalars().all()
    return col(Panic.host).in_(found) if len(found) <= _FEW_HOSTS else _any_of(session, Panic.host, patterns)


def _of_signatures(session: Session, filters: Filters) -> ColumnElement[bool]:
    wanted: list[ColumnElement[bool]] = []
    if filters.signature:
        found = values_matching(session, "signature_key", filters.signature)
        few = found is not None and len(found) <= _FEW
        wanted.append(
            col(Panic.signature_key).in_(found or [])
            if few
            else _any_of(session, Panic.signature_key, filters.signature)
        )
    if filters.same_as:
        # Causes nobody could read share a key and nothing else: of those only the panic itself is meant.
        same = sa_select(col(Panic.signature_key)).where(
            col(Panic.id).in_(filters.same_as), col(Panic.kind) != "unknown"
        )
        keys = session.execute(same.distinct()).scalars().all()
        wanted += [col(Panic.signature_key).in_(keys), col(Panic.id).in_(filters.same_as)]
    return or_(*wanted)


def _in_states(session: Session, states: Sequence[str]) -> ColumnElement[bool]:
    """By the incidents' ids where they are few, else by a look at each panic's incident."""
    wanted: list[ColumnElement[bool]] = []
    named = [IncidentState(s) for s in states if s != "none"]
    if named:
        of_them = sa_select(col(Incident.id)).where(col(Incident.state).in_(named))
        found = session.execute(of_them.limit(_FEW + 1)).scalars().all()
        if len(found) <= _FEW:
            wanted.append(col(Panic.incident_id).in_(found))
        else:
            wanted.append(of_them.where(col(Incident.id) == col(Panic.incident_id)).exists())
    if "none" in states:
        wanted.append(col(Panic.incident_id).is_(None))
    return or_(*wanted)


def _of_changes(session: Session, patterns: Sequence[Pattern]) -> ColumnElement[bool]:
    """Linked to the panic, or likely for its incident and not taken off the panic by a person."""
    keys = _held_against(col(ChangeLink.key), patterns)
    linked = sa_select(col(ChangeLink.panic_id)).where(keys, col(ChangeLink.state) != "removed")
    removed = sa_select(col(ChangeLink.panic_id)).where(keys, col(ChangeLink.state) == "removed")
    likely = sa_select(change_suspect.c.incident_id).where(_held_against(change_suspect.c.key, patterns))
    of_it, off_it, incidents = (_told(session, query) for query in (linked, removed, likely))
    return or_(
        col(Panic.id).in_(of_it), and_(col(Panic.incident_id).in_(incidents), col(Panic.id).not_in(off_it))
    )


def _told(session: Session, query: Any) -> Any:
    """The ids, where they are few: with them both databases use their indexes on either side of an `or`."""
    found = session.execute(query.limit(_FEW_HOSTS + 1)).scalars().all()
    return found if len(found) <= _FEW_HOSTS else query


def _held_against(key: Any, patterns: Sequence[Pattern]) -> ColumnElement[bool]:
    """Keys stand as the tracker has them, mostly in capitals: what was typed is tried in each case by the index."""
    exact = [p.text for p in patterns if p.how is Match.EXACT]
    typed = {form for word in exact for form in (word, word.upper(), word.lower())}
    globs = [key.ilike(p.like, escape="\\") for p in patterns if p.how is not Match.EXACT]
    return or_(key.in_(sorted(typed)), *globs)


def _like(session: Session, column: Any, pattern: Pattern) -> ColumnElement[bool]:
    """Without regard to case: SQLite's LIKE is so (of ASCII) by itself, and as a call of lower() it is slow."""
    if dialect(session) == "sqlite":
        return col(column).like(pattern.like, escape="\\")
    return col(column).ilike(pattern.like, escape="\\")


def _any_of(session: Session, column: Any, patterns: Sequence[Pattern]) -> ColumnElement[bool]:
    return or_(false(), *(_like(session, column, p) for p in patterns))


def counted(session: Session, filters: Filters, most: int | None) -> int:
    """How many panics match; with `most`, `most` and one stands for more."""
    conditions = [
        *time_conditions(filters),
        *other_conditions(session, filters),
        *word_conditions(session, filters),
    ]
    if most is None:
        return session.exec(select(func.count()).select_from(Panic).where(*conditions)).one()
    words = [w for w in filters.words if searchable(w)]
    if replace(filters, upto_id=None, sort=Filters().sort) == Filters(words=tuple(words)) and words:
        some: Any = ids_with_words(dialect(session), words, filters.upto_id).limit(most + 1).subquery()
    else:
        some = select(Panic.id).where(*conditions).limit(most + 1).subquery()
    return session.exec(select(func.count()).select_from(some)).one()
