"""The panics that may be like one: of its signature, and the latest of its kind and of all, for a closer look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from storage.known import KnownCause, known_causes, panics_of
from storage.queries import threads_of
from storage.recurrence import is_readable
from storage.tables import Panic

CANDIDATES = 2000  # the latest of its kind, and as many of all kinds


@dataclass(frozen=True)
class Candidate:
    """A panic as it is compared: what killed it, where. `frames` innermost first."""

    id: int
    host: str
    occurred_at: datetime
    signature_key: str
    title: str
    kind: str
    function: str | None
    module: str | None
    frames: tuple[str, ...]


@dataclass(frozen=True)
class Lookalikes:
    """`same`: the latest others of its signature, of `same_total`. `others`: of other signatures, newest first, at most
    twice CANDIDATES; neither deliberate crashes nor such that nobody could read."""

    panic: Candidate
    readable: bool
    same: tuple[Candidate, ...]
    same_total: int
    others: tuple[Candidate, ...]


@dataclass(frozen=True)
class Beside:
    """What is shown beside panics: {panic id: address of its thread}, {signature: panics}, {signature: its cause}."""

    threads: Mapping[int, str]
    counts: Mapping[str, int]
    known: Mapping[str, KnownCause]


_COLUMNS = (
    col(Panic.id), col(Panic.host), col(Panic.occurred_at), col(Panic.signature_key), col(Panic.title), col(Panic.kind),
    col(Panic.function), col(Panic.module), col(Panic.frames),
)  # fmt: skip
_NEWEST = (col(Panic.occurred_at).desc(), col(Panic.id).desc())


def lookalikes(session: Session, panic: Panic, *, same: int = 5) -> Lookalikes:
    """Four queries, each by index and with a limit; the panics' texts are not read."""
    readable = is_readable(panic.kind, panic.signature_key)
    of_it = (col(Panic.signature_key) == panic.signature_key, col(Panic.id) != panic.id)
    latest: list[Candidate] = []
    total = 0
    if readable:
        total = session.exec(select(func.count()).select_from(Panic).where(*of_it)).one()
        latest = _read(session, of_it, same)
    other = (col(Panic.signature_key) != panic.signature_key, col(Panic.deliberate).is_(False))
    found = {c.id: c for c in _read(session, (col(Panic.kind) == panic.kind, *other), CANDIDATES)}
    found |= {c.id: c for c in _read(session, other, CANDIDATES)}
    others = [c for c in found.values() if c.id != panic.id and is_readable(c.kind, c.signature_key)]
    others.sort(key=lambda c: (c.occurred_at, c.id), reverse=True)
    return Lookalikes(_compared(panic), readable, tuple(latest), total, tuple(others))


def beside(session: Session, panics: Sequence[Candidate]) -> Beside:
    """What is known of these panics' threads and signatures."""
    keys = list(dict.fromkeys(p.signature_key for p in panics))
    return Beside(
        threads_of(session, [p.id for p in panics]), panics_of(session, keys), known_causes(session, keys)
    )


def _read(session: Session, conditions: tuple[ColumnElement[bool], ...], limit: int) -> list[Candidate]:
    rows = session.execute(sa_select(*_COLUMNS).where(*conditions).order_by(*_NEWEST).limit(limit))
    return [
        Candidate(number, host, at, signature, title, kind, function, module, _names(frames))
        for number, host, at, signature, title, kind, function, module, frames in rows
    ]


def _compared(panic: Panic) -> Candidate:
    assert panic.id is not None
    return Candidate(
        panic.id, panic.host, panic.occurred_at, panic.signature_key, panic.title, panic.kind, panic.function,
        panic.module, _names(panic.frames),
    )  # fmt: skip


def _names(frames: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(str(name) for name in frames or ())
