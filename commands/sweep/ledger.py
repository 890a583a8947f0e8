"""The books of sweeps: begun once, joined, taken up after a restart, ended. All inside the caller's transaction."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select as sa_select
from sqlmodel import Session, col, func, select

from commands.sweep.found import SOURCE, archive_name, report_id
from commands.sweep.look import Findings
from storage import PlaceState, Report, ReportState, SweepPlace, SweepRun, SweepState

OPEN = (PlaceState.WAITING, PlaceState.LOOKING)
HOST, DIRECTORY = "host", "directory"
_IMPORTED = "import"
_SHOWN = 100  # of each list that a sweep's result keeps


@dataclass(frozen=True)
class Place:
    """Where to look: `kind` is "host" or "directory"."""

    kind: str
    name: str


def active(session: Session) -> SweepRun | None:
    return session.exec(select(SweepRun).where(col(SweepRun.slot).is_not(None))).first()


def last(session: Session, *, scheduled: bool = False) -> SweepRun | None:
    """The newest sweep, or the newest that the clock began."""
    query = select(SweepRun).order_by(col(SweepRun.id).desc())
    if scheduled:
        query = query.where(SweepRun.scheduled == True)  # noqa: E712 - SQL
    return session.exec(query.limit(1)).first()


def begin(
    session: Session,
    places: Sequence[Place],
    *,
    asked_by: str,
    now: datetime,
    words: str = "",
    scheduled: bool = False,
    window: timedelta = timedelta(0),
) -> SweepRun:
    """A new sweep of these places; the caller made sure that none runs. `window`: how long they are spread over."""
    newest = session.exec(select(func.max(Report.id))).one() or 0
    run = SweepRun(
        slot=1, scheduled=scheduled, asked_by=asked_by, words=words[:2000], asked_at=now, since_report=newest
    )
    session.add(run)
    session.flush()
    add_places(session, run, places, now, window=window)
    return run


def add_places(
    session: Session,
    run: SweepRun,
    places: Sequence[Place],
    now: datetime,
    *,
    window: timedelta = timedelta(0),
) -> None:
    """These places wait for this sweep to look at them; what it found at them before stays."""
    known = {(row.kind, row.name): row for row in session.exec(select(SweepPlace))}
    for place in places:
        row = known.get((place.kind, place.name))
        if row is None:
            row = SweepPlace(kind=place.kind, name=place.name, run_id=run.id or 0)
        elif row.run_id != run.id:
            row.findings = {}
        row.run_id, row.state, row.note = run.id or 0, PlaceState.WAITING, ""
        row.due_at = now + window * _share(run.id or 0, place.name)
        session.add(row)
    session.flush()


def _share(run_id: int, name: str) -> float:
    """From 0 to 1: each place has a moment of its own in each sweep, the same after a restart."""
    digest = hashlib.sha256(f"{run_id}:{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def join(session: Session, run: SweepRun, places: Sequence[Place], now: datetime, *, again: bool) -> int:
    """Somebody asks for these places while a sweep runs: what waits is looked at now, what it lacks is added.
    `again`: what it has looked at already, too. Returns how many are looked at on that account."""
    rows = {(r.kind, r.name): r for r in places_of(session, run.id or 0)}
    wanted: list[Place] = []
    for place in places:
        row = rows.get((place.kind, place.name))
        if row is None or row.state is PlaceState.WAITING or (again and row.state not in OPEN):
            wanted.append(place)
    add_places(session, run, wanted, now)
    return len(wanted)


def places_of(session: Session, run_id: int) -> list[SweepPlace]:
    return list(
        session.exec(select(SweepPlace).where(SweepPlace.run_id == run_id).order_by(col(SweepPlace.name)))
    )


def claim(session: Session, run_id: int, now: datetime, most: int) -> list[SweepPlace]:
    """The next places that are due, marked as being looked at."""
    rows = session.exec(
        select(SweepPlace)
        .where(SweepPlace.run_id == run_id, SweepPlace.state == PlaceState.WAITING, SweepPlace.due_at <= now)
        .order_by(col(SweepPlace.due_at), col(SweepPlace.id))
        .limit(most)
    ).all()
    for row in rows:
        row.state = PlaceState.LOOKING
        session.add(row)
    return list(rows)


def next_due(session: Session, run_id: int) -> datetime | None:
    """When the next waiting place is due; None when none waits."""
    query = select(SweepPlace.due_at).where(
        SweepPlace.run_id == run_id, SweepPlace.state == PlaceState.WAITING
    )
    return session.exec(query.order_by(col(SweepPlace.due_at)).limit(1)).first()


def take_up(session: Session, run: SweepRun) -> int:
    """After a restart: what was being looked at is looked at again. Returns how many places that is."""
    rows = [row for row in places_of(session, run.id or 0) if row.state is PlaceState.LOOKING]
    for row in rows:
        row.state = PlaceState.WAITING
        session.add(row)
    return len(rows)


def looked(
    session: Session,
    run: SweepRun,
    place: SweepPlace,
    state: PlaceState,
    findings: Findings,
    note: str,
    now: datetime,
) -> None:
    """What came of a look. What this very sweep told before it was interrupted is counted as its find."""
    row = session.get_one(SweepPlace, place.id)
    findings.found = (
        found_by(session, run, findings.seen) if findings.seen else list(row.findings.get("found", []))
    )
    row.findings = dict(findings.as_json())
    row.state, row.note = state, note[:1000]
    if state in (PlaceState.SWEPT, PlaceState.FAILED):
        row.looked_at = now
    session.add(row)


def found_by(session: Session, run: SweepRun, seen: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """What this sweep made known of these crashes: its reports, and what it kept as history."""
    names = {(host, report_id(host, name)): name for host, name in seen}
    old = {(host, archive_name(name)): name for host, name in seen}
    made: list[dict[str, Any]] = []
    rows = session.execute(
        sa_select(
            col(Report.id),
            col(Report.host),
            col(Report.source),
            col(Report.external_id),
            col(Report.body)["directory"].as_string(),
        ).where(
            col(Report.id) > run.since_report,
            col(Report.source).in_((SOURCE, _IMPORTED)),
            col(Report.host).in_({host for host, _ in seen}),
        )
    )
    for report_row, host, source, external_id, directory in rows:
        name = names.get((host, external_id)) if source == SOURCE else old.get((host, directory or ""))
        if name is not None:
            made.append({"host": host, "name": name, "report": report_row, "history": source == _IMPORTED})
    return made


def unread_reports(session: Session, run: SweepRun) -> int:
    """How many of this sweep's reports the intake has not read yet."""
    query = (
        select(func.count())
        .select_from(Report)
        .where(col(Report.id) > run.since_report, Report.source == SOURCE, Report.state == ReportState.NEW)
    )
    return session.exec(query).one()


def finish(session: Session, run_id: int, state: SweepState, note: str, now: datetime) -> SweepRun | None:
    """Ends a sweep with what it brought; None when it had ended before. Places that still wait are counted so."""
    run = session.get_one(SweepRun, run_id)
    if run.slot is None:
        return None
    run.result = dict(tally(session, run))
    run.slot, run.state, run.note, run.finished_at = None, state, note, now
    session.add(run)
    return run


def tally(session: Session, run: SweepRun) -> Mapping[str, Any]:
    """What a sweep brought so far; when it has ended, what it had brought then."""
    if run.slot is None:
        return run.result
    places: dict[str, Counter[str]] = {HOST: Counter(), DIRECTORY: Counter()}
    counts: Counter[str] = Counter()
    lists: dict[str, list[Any]] = {
        k: [] for k in ("in_progress", "unread", "empty", "unplaced", "found", "missed")
    }
    remarks: list[list[str]] = []
    for row in places_of(session, run.id or 0):
        places[row.kind][row.state.value] += 1
        for key in ("known", "tests", "later"):
            counts[key] += int(row.findings.get(key, 0))
        for key in ("in_progress", "unread", "empty"):
            lists[key] += [[row.name, name] for name in row.findings.get(key, ())]
        lists["unplaced"] += [[row.name, *entry] for entry in row.findings.get("unplaced", ())]
        lists["found"] += [
            entry | {"at": row.name, "kind": row.kind} for entry in row.findings.get("found", ())
        ]
        if row.state in (PlaceState.UNREACHABLE, PlaceState.REFUSED, PlaceState.FAILED):
            lists["missed"].append([row.name, row.state.value, row.note[:200]])
        elif row.note and row.state is PlaceState.SWEPT:
            remarks.append([row.name, row.note[:200]])
    return {
        "places": {kind: dict(counted) for kind, counted in places.items()},
        **counts,
        **{key: found[:_SHOWN] for key, found in lists.items()},
        "totals": {key: len(found) for key, found in lists.items()},
        "remarks": remarks[:_SHOWN],
    }


def last_finished(session: Session) -> SweepRun | None:
    query = select(SweepRun).where(SweepRun.state == SweepState.DONE).order_by(col(SweepRun.id).desc())
    return session.exec(query.limit(1)).first()


def looked_at_since(session: Session, moment: datetime) -> set[Place]:
    """The places that were reached after this moment, by whatever sweep."""
    rows = session.exec(
        select(SweepPlace.kind, SweepPlace.name).where(
            col(SweepPlace.looked_at) > moment, SweepPlace.state == PlaceState.SWEPT
        )
    )
    return {Place(kind, name) for kind, name in rows}
