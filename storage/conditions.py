"""Filters as conditions of SQL, in the form in which both databases answer them from an index.

Kernels, kinds, rings and hardware are few, whatever the number of panics: a pattern is held against the values that
there are, and the query gets those values. Hosts and signatures likewise, as long as few of them match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, false, func, or_, text
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from storage.filters import Filters, Match, Pattern
from storage.rollups import Cut, panic_place
from storage.suspects import change_suspect
from storage.tables import DumpState, Incident, IncidentState, Panic
from storage.wordindex import holds_words, ids_with_words, in_words, letters_of, searchable
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
        # As a sum it is no invitation to read the whole table in the order of its ids.
        made.append(col(Panic.id) + 0 <= filters.upto_id)
    return made


@dataclass(frozen=True)
class Part:
    """One filter as a condition. `column` and `values`: it says that the column has one of these values; of a column
    with an index, whose panics can be read by it. `few`: an index finds its panics, and they may well be few."""

    condition: ColumnElement[bool]
    column: Any = None
    values: Sequence[Any] | None = None
    few: bool = False


def other_conditions(session: Session, filters: Filters, *, near: bool = False) -> list[ColumnElement[bool]]:
    """All conditions but those of time and of words. `near`: for a look at a few panics, where it costs less to hold
    each against a pattern than to find the hosts and signatures that match."""
    return [part.condition for part in parts_of(session, filters, near=near)]


def parts_of(session: Session, filters: Filters, *, near: bool = False) -> list[Part]:
    made: list[Part] = []
    if filters.host:
        made.append(
            Part(_any_of(session, Panic.host, filters.host)) if near else _of_hosts(session, filters.host)
        )
    if filters.kernel or filters.releases:
        made.append(_one_of(Panic.kernel, kernels_matching(session, filters)))
    for column, patterns in (
        (Panic.kind, filters.kind),
        (Panic.ring, filters.ring),
        (Panic.hardware, filters.hardware),
    ):
        if patterns:
            made.append(_of_values(session, column, patterns))
    if filters.signature or filters.same_as:
        made.append(_of_signatures(session, filters, near=near))
    if filters.states:
        made.append(_in_states(session, filters.states))
    if filters.change:
        made.append(_of_changes(session, filters.change))
    if filters.dump:
        made.append(Part(col(Panic.dump_state).in_(HELD)))
    if filters.incident is not None:
        made.append(Part(col(Panic.incident_id) == filters.incident, few=True))
    return made


def _one_of(column: Any, values: Sequence[str]) -> Part:
    return Part(col(column).in_(values), column, values)


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


def letter_conditions(session: Session, words: Sequence[str]) -> list[ColumnElement[bool]]:
    """What a panic must have in its title or frames to have the words, whatever stands around it: told quickly."""
    made: list[ColumnElement[bool]] = []
    frames = cast(col(Panic.frames), Text)
    for word in words:
        if not searchable(word):
            made.append(_like(session, Panic.title, Pattern(word, Match.CONTAINS)))
        for piece in letters_of(word):
            pattern = Pattern(piece, Match.CONTAINS)
            made.append(or_(_like(session, Panic.title, pattern), _like(session, frames, pattern)))
    return made


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


def _of_values(session: Session, column: Any, patterns: Sequence[Pattern]) -> Part:
    found = values_matching(session, column.key, patterns)
    return Part(_any_of(session, column, patterns)) if found is None else _one_of(column, found)


def _of_hosts(session: Session, patterns: Sequence[Pattern]) -> Part:
    hosts = (
        sa_select(panic_place.c.value)
        .where(
            panic_place.c.cut == Cut.HOST.value,
            _any_of(session, panic_place.c.value, patterns),
        )
        .limit(_FEW_HOSTS + 1)
    )
    found = session.execute(hosts).scalars().all()
    if len(found) > _FEW_HOSTS:
        return Part(_any_of(session, Panic.host, patterns))
    return _one_of(Panic.host, found)


def _of_signatures(session: Session, filters: Filters, *, near: bool) -> Part:
    keys: list[str] = []
    wanted: list[ColumnElement[bool]] = []
    if filters.signature:
        found = None if near else values_matching(session, "signature_key", filters.signature)
        if found is not None and len(found) <= _FEW:
            keys += found
        else:
            wanted.append(_any_of(session, Panic.signature_key, filters.signature))
    if filters.same_as:
        # Causes nobody could read share a key and nothing else: of those only the panic itself is meant.
        same = session.execute(
            sa_select(col(Panic.id), col(Panic.kind), col(Panic.signature_key)).where(
                col(Panic.id).in_(filters.same_as)
            )
        ).all()
        keys += [key for _id, kind, key in same if kind != "unknown"]
        alone = [i for i, kind, _key in same if kind == "unknown"]
        if alone:
            wanted.append(col(Panic.id).in_(alone))
    its = _one_of(Panic.signature_key, sorted(set(keys)))
    return Part(or_(its.condition, *wanted)) if wanted else its


def _in_states(session: Session, states: Sequence[str]) -> Part:
    """By the incidents' ids where they are few, else by a look at each panic's incident."""
    wanted: list[ColumnElement[bool]] = []
    few = True
    named = [IncidentState(s) for s in states if s != "none"]
    if named:
        of_them = sa_select(col(Incident.id)).where(col(Incident.state).in_(named))
        found = session.execute(of_them.limit(_FEW + 1)).scalars().all()
        few = len(found) <= _FEW
        if few:
            wanted.append(col(Panic.incident_id).in_(found))
        else:
            wanted.append(of_them.where(col(Incident.id) == col(Panic.incident_id)).exists())
    if "none" in states:
        wanted.append(col(Panic.incident_id).is_(None))
    return Part(or_(*wanted), few=few)


def _of_changes(session: Session, patterns: Sequence[Pattern]) -> Part:
    """Linked to the panic, or likely for its incident and not taken off the panic by a person."""
    keys = _held_against(col(ChangeLink.key), patterns)
    linked = sa_select(col(ChangeLink.panic_id)).where(keys, col(ChangeLink.state) != "removed")
    removed = sa_select(col(ChangeLink.panic_id)).where(keys, col(ChangeLink.state) == "removed")
    likely = sa_select(change_suspect.c.incident_id).where(_held_against(change_suspect.c.key, patterns))
    of_it, off_it, incidents = (_told(session, query) for query in (linked, removed, likely))
    condition = or_(
        col(Panic.id).in_(of_it), and_(col(Panic.incident_id).in_(incidents), col(Panic.id).not_in(off_it))
    )
    return Part(condition, few=all(isinstance(told, list) for told in (of_it, incidents)))


def _told(session: Session, query: Any) -> Any:
    """The ids, where they are few: with them both databases use their indexes on either side of an `or`."""
    found = session.execute(query.limit(_FEW_HOSTS + 1)).scalars().all()
    return list(found) if len(found) <= _FEW_HOSTS else query


def _held_against(key: Any, patterns: Sequence[Pattern]) -> ColumnElement[bool]:
    """Keys stand as the tracker has them, mostly in capitals: what was typed is tried in each case by the index."""
    exact = [p.text for p in patterns if p.how is Match.EXACT]
    typed = {form for word in exact for form in (word, word.upper(), word.lower())}
    globs = [key.ilike(p.like, escape="\\") for p in patterns if p.how is not Match.EXACT]
    return or_(key.in_(sorted(typed)), *globs)


def _like(session: Session, column: Any, pattern: Pattern) -> ColumnElement[bool]:
    """Without regard to case: SQLite's LIKE is so (of ASCII) by itself, and as a call of lower() it is slow."""
    held = column if isinstance(column, ColumnElement) else col(column)
    if dialect(session) == "sqlite":
        return held.like(pattern.like, escape="\\")
    return held.ilike(pattern.like, escape="\\")


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
