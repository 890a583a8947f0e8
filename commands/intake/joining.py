"""One panic, many witnesses: which panic does this report tell of?

The strongest evidence there is decides: the boot's id; the very dump; the very words at the same printk time; the
boot's start (death minus printk time, ± 120 s); the time of the outage. Evidence of the same strength for two panics
decides nothing: that is told, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from commands.intake.correlation import BOOT_START_TOLERANCE, SAME_DEATH, contradicts, same_words
from commands.intake.reading import Reading
from storage import LiveSighting, LiveState, Panic, Report, ReportState

_LOOK_BACK = timedelta(days=2)
_MICROSECOND = 1.5e-6
_BACK_SOON = timedelta(minutes=15)  # a host reports at its first boot after the crash
_AWAY = timedelta(hours=6)  # so long is a host that was seen dying expected to tell of that crash
_DATED = re.compile(r"\d{8}|\d{4}-\d\d-\d\d")
_FROM_THE_HOST = frozenset({"report", "pstore", "no-dump"})


@dataclass(frozen=True)
class Found:
    """The panic, or, where `between` holds some, none of them for certain; `by` says in words what fits."""

    panic: Panic | None = None
    between: tuple[Panic, ...] = ()
    by: str = ""
    loose: bool = False  # when the panic died is known to minutes only


@dataclass
class _Candidate:
    """A panic with what its witnesses said that is not in its own columns."""

    panic: Panic
    sighting: LiveSighting | None = None
    sources: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    not_before: datetime | None = None

    @property
    def loose(self) -> bool:
        """Only alerts told of it: when it died is known to minutes."""
        return bool(self.sources) and self.sources <= {"alertmanager"}


def find_panic(session: Session, reading: Reading, same_boot: timedelta = BOOT_START_TOLERANCE) -> Found:
    """What this reading is another witness of; nothing for a new one."""
    continued = _continued(session, reading)
    if continued is not None:
        return Found(continued, by="it goes on with an earlier report")
    rows = list(_around(session, reading))
    if reading.boot_id is not None:
        of_boot = session.exec(
            select(Panic).where(Panic.host == reading.host, Panic.boot_id == reading.boot_id)
        ).all()
        rows += [panic for panic in of_boot if panic not in rows]
    candidates = [c for c in _told_of(session, reading, rows) if not _outlived(c, reading)]
    if reading.boot_id is not None:
        known = [c for c in candidates if c.panic.boot_id == reading.boot_id]
        if known:
            nearest = min(known, key=lambda c: abs(c.panic.occurred_at - reading.occurred_at))
            return Found(nearest.panic, by="the same boot id", loose=nearest.loose)
        candidates = [c for c in candidates if c.panic.boot_id is None]
    for by, fits in _evidence(reading, same_boot):
        fitting = [c for c in candidates if fits(c)]
        if len(fitting) == 1:
            return Found(fitting[0].panic, by=by, loose=fitting[0].loose)
        if fitting:
            return Found(
                between=tuple(c.panic for c in sorted(fitting, key=lambda c: c.panic.id or 0)), by=by
            )
    return Found()


def _evidence(reading: Reading, same_boot: timedelta) -> Sequence[tuple[str, Callable[[_Candidate], bool]]]:
    """Strongest first."""
    near = f"a boot that began within {same_boot.total_seconds():.0f} s"
    return (
        ("the same dump", lambda c: _same_dump(c, reading) and not _apart(c.panic, reading, same_boot)),
        (
            "the same words",
            lambda c: _same_moment(c.panic, reading) and not _apart(c.panic, reading, same_boot),
        ),
        (near, lambda c: _boots(c.panic, reading) and not _apart(c.panic, reading, same_boot)),
        ("about the same time", lambda c: not _boots(c.panic, reading) and _overlaps(c, reading)),
    )


def resolved_before(session: Session, report: Report) -> Report | None:
    """The "resolved" of this alert that was delivered before its "firing": it was read, and there was no panic yet."""
    return session.exec(
        select(Report)
        .where(
            Report.host == report.host,
            Report.source == "alertmanager",
            Report.state == ReportState.DONE,
            col(Report.panic_id).is_(None),
            col(Report.body)["continues"].as_string() == report.external_id,
        )
        .order_by(col(Report.id))
        .limit(1)
    ).first()


# -- candidates -----------------------------------------------------------------------------------------------


def _continued(session: Session, reading: Reading) -> Panic | None:
    if reading.continues is None:
        return None
    first = session.exec(
        select(Report.panic_id).where(Report.host == reading.host, Report.external_id == reading.continues)
    ).first()
    return session.get(Panic, first) if first is not None else None


def _around(session: Session, reading: Reading) -> Sequence[Panic]:
    return session.exec(
        select(Panic)
        .where(Panic.host == reading.host, col(Panic.occurred_at) > reading.occurred_at - _LOOK_BACK)
        .order_by(col(Panic.id).desc())
        .limit(50)
    ).all()


def _told_of(session: Session, reading: Reading, rows: Sequence[Panic]) -> list[_Candidate]:
    made = {panic.id or 0: _Candidate(panic) for panic in rows}
    if not made:
        return []
    for sighting in session.exec(select(LiveSighting).where(col(LiveSighting.panic_id).in_(made))).all():
        made[sighting.panic_id].sighting = sighting
    body = col(Report.body)
    told = session.execute(
        select_columns(
            col(Report.panic_id),
            col(Report.source),
            body["crash_dir"].as_string(),
            body[("dump", "path")].as_string(),
            body["not_before"].as_string(),
        ).where(col(Report.host) == reading.host, col(Report.panic_id).in_(made))
    ).all()
    for panic_id, source, crash_dir, dump_path, not_before in told:
        candidate = made[int(panic_id)]
        candidate.sources.add(str(source))
        candidate.places |= places(crash_dir, dump_path)
        if not_before:
            moment = datetime.fromisoformat(not_before)
            candidate.not_before = min(candidate.not_before or moment, moment)
    for candidate in made.values():
        candidate.places |= places(None, candidate.panic.dump_path)
    return list(made.values())


def places(crash_dir: str | None, dump_path: str | None) -> set[str]:
    """What names a dump on its host: its path, and its directory's name where that bears a date. A directory that
    is used again and again (`/var/crash`) names nothing."""
    found = {dump_path} if dump_path else set()
    for directory in (crash_dir, dump_path.rpartition("/")[0] if dump_path else None):
        name = (directory or "").rstrip("/").rpartition("/")[2]
        if _DATED.search(name):
            found.add(f"{name}/")
    return found


def _outlived(candidate: _Candidate, reading: Reading) -> bool:
    """Whether the host was seen alive between that crash and this one: another crash, of the same boot perhaps."""
    sighting = candidate.sighting
    if sighting is None or sighting.lived_until is None:
        return False
    if reading.crash.crash and reading.crash.uptime is not None and sighting.lived_uptime is not None:
        same_boot = not _apart(candidate.panic, reading, BOOT_START_TOLERANCE)
        return same_boot and reading.crash.uptime > sighting.lived_uptime
    return reading.occurred_at_certain and (reading.not_before or reading.occurred_at) > sighting.lived_until


# -- evidence -------------------------------------------------------------------------------------------------


def _boots(panic: Panic, reading: Reading) -> bool:
    return panic.boot_started_at is not None and reading.boot_started_at is not None


def _apart(panic: Panic, reading: Reading, same_boot: timedelta) -> bool:
    """Two boots that are known to be two."""
    if panic.boot_started_at is None or reading.boot_started_at is None:
        return False
    return abs(panic.boot_started_at - reading.boot_started_at) > same_boot


def _same_dump(candidate: _Candidate, reading: Reading) -> bool:
    mine = places(reading.crash_dir, reading.dump_path)
    shared = mine & candidate.places
    if any(_DATED.search(place) for place in shared):
        return True
    # A path without a date (`/var/crash/vmcore`) is written anew by each crash.
    return bool(shared) and abs(candidate.panic.occurred_at - reading.occurred_at) <= timedelta(hours=1)


def _same_moment(panic: Panic, reading: Reading) -> bool:
    """The very words, or the same signature at the same microsecond of printk: netconsole, pstore and dmesg frame
    the lines differently, the time they bear is one."""
    if same_words(panic, reading):
        return True
    crash = reading.crash
    return (
        crash.crash
        and crash.uptime is not None
        and crash.uptime != int(crash.uptime)
        and panic.uptime_seconds is not None
        and abs(panic.uptime_seconds - crash.uptime) <= _MICROSECOND
        and panic.signature_key == crash.signature.key[:300]
    )


def _overlaps(candidate: _Candidate, reading: Reading) -> bool:
    panic = candidate.panic
    if contradicts(panic, reading):
        return False
    if not reading.occurred_at_certain and _comes_back(candidate, reading):
        return True
    if abs(panic.occurred_at - reading.occurred_at) <= SAME_DEATH:
        return True
    mine = _outage(reading.not_before, reading.down_since, reading.occurred_at, reading.back_at)
    theirs = _outage(
        candidate.not_before if candidate.loose else None, panic.down_since, panic.occurred_at, panic.back_at
    )
    return mine[0] <= theirs[1] and theirs[0] <= mine[1]


def _outage(
    not_before: datetime | None, down_since: datetime | None, died: datetime, back: datetime | None
) -> tuple[datetime, datetime]:
    first = min(moment for moment in (not_before, down_since, died) if moment is not None)
    return first, max(died, back or died)


def _comes_back(candidate: _Candidate, reading: Reading) -> bool:
    """A host tells of a crash, not when it was: the one that it was seen dying of and has not come back from."""
    panic, sighting = candidate.panic, candidate.sighting
    if reading.source not in _FROM_THE_HOST or panic.occurred_at > reading.occurred_at:
        return False
    uptimes = (panic.uptime_seconds, reading.crash.uptime if reading.crash.crash else None)
    if uptimes[0] is not None and uptimes[1] is not None and abs(uptimes[0] - uptimes[1]) > 120:
        return False
    if panic.back_at is not None:
        return candidate.loose and reading.occurred_at - panic.back_at <= _BACK_SOON
    dying = sighting is not None and sighting.state in (LiveState.PANICKING, LiveState.SILENT)
    return (dying or candidate.loose) and reading.occurred_at - panic.occurred_at <= _AWAY
