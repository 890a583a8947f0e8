"""Changes in our own memory: what a feed told, what a tracker answered, what was read on a host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func
from sqlmodel import Session, col, select

from commands.changes.fleet import Fleet, Place
from integrations.changes import Change, Scope
from integrations.changes.feed import FeedChange
from storage import ChangeRecord, ChangeTouch

NEW, UPDATED, UNCHANGED = "new", "updated", "unchanged"
OPEN_FOR = timedelta(
    days=30
)  # how long before the window a change may have begun that ended in it, or has not
_TOUCHED_MOST = 500  # struck hosts that are looked up by name


def take(session: Session, told: FeedChange, now: datetime) -> str:
    """Keeps one change of a feed: NEW, UPDATED or UNCHANGED. A change that does not say when it began begins `now`.

    An update keeps what it does not say. One that says an end before the beginning we know moves the beginning there.
    """
    record = _find(session, told.source, told.key)
    said = {name: value for name in _COLUMNS if (value := getattr(told, name)) is not None}
    scope = told.scope
    if record is None:
        started = said.pop("started", None) or min(now, said.get("ended") or now)
        record = ChangeRecord(
            source=told.source, key=told.key, started=started, first_told=now, last_told=now
        )
        record.summary = said.pop("summary", told.key)
        record.scope = scope_json(scope or Scope())
        return _write(session, record, said, NEW, now)
    if scope is not None:
        said["scope"] = scope_json(scope)
    ended = said.get("ended")
    if "started" not in said and ended is not None and ended < record.started:
        said["started"] = ended
    changed = {name: value for name, value in said.items() if getattr(record, name) != value}
    if not changed:
        return UNCHANGED
    if changed.get("started", record.started) > (changed.get("ended", record.ended) or _never(now)):
        changed["ended"] = None  # begun anew
    return _write(session, record, changed, UPDATED, now)


_COLUMNS = ("summary", "kind", "status", "started", "ended", "url", "text")


def keep(session: Session, change: Change, now: datetime) -> str:
    """Keeps what a tracker or a host told of a change; its scope grows with what was known of it before."""
    record = _find(session, change.source, change.key)
    facts: dict[str, Any] = {
        "summary": change.summary[:1000],
        "kind": change.kind.lower()[:40],
        "status": change.status[:100],
        "started": change.started or change.updated or now,
        "ended": change.ended,
        "url": change.url[:2000],
        "text": change.text[:20_000],
    }
    if record is None:
        record = ChangeRecord(
            source=change.source,
            key=change.key[:200],
            started=facts["started"],
            first_told=now,
            last_told=now,
        )
        facts["scope"] = scope_json(change.scope)
        return _write(session, record, facts, NEW, now)
    facts["scope"] = scope_json(_joined(scope_of(record), change.scope))
    changed = {name: value for name, value in facts.items() if getattr(record, name) != value}
    return _write(session, record, changed, UPDATED, now) if changed else UNCHANGED


def stored(session: Session, struck: Sequence[Place], *, since: datetime, until: datetime) -> list[Change]:
    """Changes under way between the two moments that may touch one of the places, and those that do not say where.

    Whether a glob covers a host, and whether ring and hardware both fit, is for the caller's fleet to tell.
    """
    ids: set[int] = set()
    for what, names in _looked_up(struck).items():
        wanted: list[ColumnElement[bool]] = [col(ChangeTouch.what) == what]
        if names is not None:
            wanted.append(col(ChangeTouch.name).in_(names))
        ids.update(
            session.exec(
                select(ChangeTouch.change_id).where(
                    *wanted,
                    col(ChangeTouch.started) >= since - OPEN_FOR,
                    col(ChangeTouch.started) <= until,
                    col(ChangeTouch.ended) >= since,
                )
            )
        )
    found: list[Change] = []
    numbers = sorted(ids)
    for at in range(0, len(numbers), 500):
        rows = session.execute(select(*_READ).where(col(ChangeRecord.id).in_(numbers[at : at + 500])))
        found += [_read(row) for row in rows]
    return found


def count_begun(session: Session, since: datetime, until: datetime) -> int:
    """Changes of the whole fleet that began between the two moments."""
    began = (col(ChangeRecord.started) >= since, col(ChangeRecord.started) <= until)
    return int(session.exec(select(func.count()).select_from(ChangeRecord).where(*began)).one())


def any_fed(session: Session) -> bool:
    """Whether a feed has ever told of a change."""
    fed = (col(ChangeRecord.source) != "jira", col(ChangeRecord.source).not_like("host:%"))
    return session.exec(select(ChangeRecord.id).where(*fed).limit(1)).first() is not None


_READ = tuple(
    getattr(ChangeRecord, name)
    for name in (
        "key", "summary", "status", "kind", "started", "ended", "last_told", "url", "source", "scope", "text",
    )
)  # fmt: skip


def _read(row: Any) -> Change:
    """A change of the columns in `_READ`: a row of the mapper for each of hundreds would take four times as long."""
    key, summary, status, kind, started, ended, told, url, source, scope, text = row
    return Change(
        key, summary, status, kind, None, started, ended, told, url, source, (), _scope(scope), text
    )


def scope_json(scope: Scope) -> dict[str, Any]:
    """As it is stored: what is empty is left out."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(scope).items() if v}


def scope_of(record: ChangeRecord) -> Scope:
    return _scope(record.scope)


def _scope(kept: dict[str, Any]) -> Scope:
    def names(what: str) -> tuple[str, ...]:
        return tuple(str(name) for name in kept.get(what, ()))

    return Scope(
        names("hosts"), names("rings"), names("hardware"), names("services"), bool(kept.get("everywhere"))
    )


def ticket_scope(change: Change, fleet: Fleet, place: Place) -> Change:
    """The change with the scope that its own text names, and that the tracker found it by."""
    said = fleet.mentioned(f"{change.summary}\n{change.text}")
    found = Scope(
        (place.name,) if "host" in change.names else (),
        (place.ring,) if "ring" in change.names and place.ring else (),
        (place.hardware,) if "hardware" in change.names and place.hardware else (),
        (place.service,) if "service" in change.names and place.service else (),
    )
    return replace(change, scope=_joined(_joined(change.scope, said), found))


def _joined(one: Scope, other: Scope) -> Scope:
    def both(a: Iterable[str], b: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*a, *b)))

    return Scope(
        both(one.hosts, other.hosts),
        both(one.rings, other.rings),
        both(one.hardware, other.hardware),
        both(one.services, other.services),
        one.everywhere or other.everywhere,
    )


def _looked_up(struck: Sequence[Place]) -> dict[str, list[str] | None]:
    """What is looked up in the index; None: all of that sort."""
    places = struck[:_TOUCHED_MOST]
    names = {n for p in places for n in (p.name, p.name.split(".", 1)[0])}
    return {
        "host": sorted(names),
        "ring": sorted({p.ring for p in places if p.ring}),
        "hardware": sorted({p.hardware for p in places if p.hardware}),
        "service": sorted({p.service for p in places if p.service}),
        "glob": None,
        "everywhere": None,
        "unsaid": None,
    }


def _find(session: Session, source: str, key: str) -> ChangeRecord | None:
    return session.exec(
        select(ChangeRecord).where(ChangeRecord.source == source, ChangeRecord.key == key[:200])
    ).first()


def _write(session: Session, record: ChangeRecord, facts: dict[str, Any], outcome: str, now: datetime) -> str:
    for name, value in facts.items():
        setattr(record, name, value)
    record.last_told = now
    session.add(record)
    session.flush()
    if outcome == NEW or facts.keys() & {"scope", "started", "ended"}:
        session.execute(delete(ChangeTouch).where(col(ChangeTouch.change_id) == record.id))
        session.add_all(touches(record))
    return outcome


def touches(record: ChangeRecord) -> list[ChangeTouch]:
    """The rows that a stored change is looked up by."""
    scope = scope_of(record)
    pairs = [("glob" if any(sign in n for sign in "*?[") else "host", n) for n in scope.hosts]
    pairs += [("host", n.split(".", 1)[0]) for n in scope.hosts if "." in n]
    pairs += [("ring", n) for n in scope.rings]
    pairs += [("hardware", n) for n in scope.hardware]
    pairs += [("service", n) for n in scope.services]
    if scope.everywhere:
        pairs.append(("everywhere", ""))
    if not pairs:
        pairs.append(("unsaid", ""))
    ended = record.ended or (record.started + OPEN_FOR if record.source == "jira" else record.started)
    return [
        ChangeTouch(change_id=record.id or 0, what=what, name=name[:255], started=record.started, ended=ended)
        for what, name in dict.fromkeys(pairs)
    ]


def _never(now: datetime) -> datetime:
    return now + timedelta(days=36500)
