"""What a crash found in an archive of crash directories becomes: a panic like any other, without a thread.

An imported panic is history: nobody is mentioned, no incident is opened, nothing is said in a thread; of a panic
that has one, the headline is redrawn when more is known of its dump. It counts in recurrence, `/panic list` and
`/panic show`. Each crash leaves a report of source `import` in state `done`, in the transaction that makes its
panic: its id, made of the crash directory's name and the digest of its dmesg, keeps a second import from doubling
it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import tuple_
from sqlalchemy.orm import defer
from sqlmodel import Session, col, select

from commands.incident import thread
from commands.intake.correlation import (
    BOOT_START_TOLERANCE,
    add_facts,
    is_witness,
    new_panic,
    remember_host,
    remember_signature,
)
from commands.intake.reading import Reading, read_report
from commands.inventory import Inventory
from storage import DumpState, Panic, Report, ReportState
from storage.inbox import insert_once

SOURCE = "import"
SAVED_AT = "when it died is not known, the time is when it was saved"
FILE_TIME = "when it died is not known, the time is that of the file"
_AROUND = timedelta(days=2)  # how far from a crash in time its panic is looked for
_NEAREST = 25  # panics on either side that are looked at
_LAG = timedelta(hours=15)  # a directory's stamp may be in any zone: so much may it lie before the death
_MICROSECOND = 1.5e-6
_SAME_UPTIME = 0.1  # seconds
_STAMP = re.compile(r"(?:\A|-)(\d{12}|\d{4}-\d\d-\d\d-\d\d[:-]\d\d(?::\d\d)?)\Z")
_RANK = (DumpState.UNKNOWN, DumpState.NONE, DumpState.UNVERIFIED, DumpState.EMPTY, DumpState.INCOMPLETE)


@dataclass(frozen=True)
class ArchivedCrash:
    """One crash as it lies in an archive. `directory` is its name alone, so that a moved archive is the same.

    `crash_time` is the dead kernel's own word (VMCOREINFO), None where there is none; `saved_at` is the stamp of
    the directory, or the time of the file where `stamped` is false. `digest` is the sha256 of the dmesg.
    """

    host: str
    directory: str
    layout: str  # debian, rhel, suse, pstore, dmesg
    text: str
    digest: str
    saved_at: datetime
    stamped: bool = True
    crash_time: datetime | None = None
    release: str | None = None
    dump_state: DumpState = DumpState.UNKNOWN
    dump_path: str | None = None
    dump_size: int | None = None
    dump_note: str | None = None

    @property
    def external_id(self) -> str:
        return "import:" + hashlib.sha256(f"{self.directory}\0{self.digest}".encode()).hexdigest()


@dataclass(frozen=True)
class Imported:
    """What became of a crash. `how`: new, known (imported before), told (a panic that was there), updated."""

    how: str
    panic_id: int
    occurred_at: datetime
    kind: str
    title: str
    dump_state: DumpState


def read_archived(crash: ArchivedCrash, now: datetime) -> Reading:
    """The crash as a report would have told it. What says no time of death died, as far as is known, when its dump
    was saved; a time of death that cannot be (a dead clock) is not believed."""
    died = crash.crash_time
    if died is not None and died > min(now + timedelta(minutes=5), crash.saved_at + _LAG):
        died = None
    body: dict[str, Any] = {"text": crash.text, "crashed_kernel": crash.release}
    if died is not None:
        body["occurred_at"] = died
    arrived = max(crash.saved_at, died) if died is not None else crash.saved_at
    reading = read_report(body, host=crash.host, received_at=arrived)
    return replace(reading, dump_state=crash.dump_state, dump_path=crash.dump_path, dump_size=crash.dump_size)


def known_of(session: Session, crashes: Iterable[ArchivedCrash]) -> dict[tuple[str, str], DumpState]:
    """(host, external id) of those that were imported before: what is known of their panics' dumps."""
    keys = [(crash.host, crash.external_id) for crash in crashes]
    rows = session.exec(
        select(Report.host, Report.external_id, Panic.dump_state)
        .join(Panic, col(Panic.id) == Report.panic_id)
        .where(tuple_(col(Report.host), col(Report.external_id)).in_(keys))
    ).all()
    return {(host, external_id): DumpState(state) for host, external_id, state in rows}


def renews(crash: ArchivedCrash, known: DumpState) -> bool:
    """Whether the archive knows more of a panic's dump than is known."""
    return _rank(crash.dump_state) > _rank(known)


def take(
    session: Session,
    crash: ArchivedCrash,
    reading: Reading | None,
    inventory: Inventory,
    now: datetime,
    same_boot: timedelta = BOOT_START_TOLERANCE,
) -> Imported:
    """Makes a crash a panic, or another witness of one, inside the caller's transaction.

    `reading` may be None for a crash that is known already (`known_of`); of such a one only the state of its dump
    is brought up to date, where it is better known now.
    """
    stored = insert_once(session, Report, [_report_row(crash, now)], ("host", "external_id"))[0]
    report = session.get_one(Report, stored.id)
    if stored.duplicate and report.panic_id is not None:
        panic = session.get_one(Panic, report.panic_id, options=_LIGHT)
        better = renews(crash, panic.dump_state)
        if better:
            panic.dump_state, panic.dump_note = crash.dump_state, crash.dump_note
            panic.dump_path, panic.dump_size = crash.dump_path, crash.dump_size
            session.add(panic)
        return _imported("updated" if better else "known", panic)
    if reading is None:
        reading = read_archived(crash, now)
    entry = inventory.find(crash.host)
    found = _find(session, crash, reading, same_boot)
    panic = found or new_panic(reading, entry, now=now)
    dump_was = None if found is None else found.dump_state
    if found is not None:
        _add_facts(panic, reading)
    if panic.dump_state is not dump_was:
        panic.dump_note = crash.dump_note
        if panic.incident_id is not None:
            thread.touch(session, panic.incident_id)  # its headline tells of the dump
    if found is None and not reading.occurred_at_certain:
        panic.dump_note = "; ".join(filter(None, (crash.dump_note, SAVED_AT if crash.stamped else FILE_TIME)))
    session.add(panic)
    session.flush()
    remember_signature(session, panic, panic.title)
    remember_host(session, crash.host, entry, panic)
    report.panic_id = panic.id
    session.add(report)
    session.flush()
    return _imported("new" if found is None else "told", panic)


def _add_facts(panic: Panic, reading: Reading) -> None:
    """What the archive knows more. A panic that stands in a thread keeps its cause: to move it is for a live report
    or a person, and both say so in the thread."""
    if panic.incident_id is not None:
        reading = replace(reading, crash=replace(reading.crash, crash=False), running_kernel=None)
    add_facts(panic, reading)


def _report_row(crash: ArchivedCrash, now: datetime) -> dict[str, Any]:
    """The text is not kept a second time: it is the panic's, and the archive's."""
    body = {
        "directory": crash.directory,
        "layout": crash.layout,
        "dmesg_sha256": crash.digest,
        "saved_at": crash.saved_at.isoformat(),
        "crash_time": crash.crash_time.isoformat() if crash.crash_time else None,
        "dump": {"path": crash.dump_path, "size": crash.dump_size, "state": crash.dump_state.value},
    }
    row = Report(
        host=crash.host,
        external_id=crash.external_id,
        source=SOURCE,
        body=body,
        received_at=now,
        next_at=now,
        state=ReportState.DONE,
    )
    return row.model_dump(exclude={"id"})


# Of a candidate only its facts are read; its text comes when it is looked at.
_LIGHT = (defer(Panic.text), defer(Panic.crash_lines))  # type: ignore[arg-type]


def _find(session: Session, crash: ArchivedCrash, reading: Reading, same_boot: timedelta) -> Panic | None:
    """The panic that was told of already: by its dump's directory, its boot, its words or its printk time."""
    near = _near(session, reading)
    stamp = _stamp(crash.directory)
    for panic in near if stamp else ():
        told = {_stamp(name) for name in (panic.dump_path or "").split("/")}
        if stamp in told and not _another_crash(panic, reading):
            return panic
    for panic in near:
        if not _another_death(panic, reading) and is_witness(panic, reading, same_boot):
            return panic
    if not reading.crash.crash or reading.crash.uptime is None:
        return None
    if not crash.stamped and not reading.occurred_at_certain:
        near = _of_any_time(session, reading)
    return next((panic for panic in near if _same_moment(panic, reading)), None)


def _stamp(directory: str) -> str | None:
    """The date that a crash directory's name bears, without the host before it: a dump keeps it when it is copied
    to the central directory, and two of one host do not bear the same one."""
    found = _STAMP.search(directory)
    return found[1] if found is not None else None


def _near(session: Session, reading: Reading) -> list[Panic]:
    """The host's panics around that time, the nearest first."""
    at, moment = col(Panic.occurred_at), reading.occurred_at
    mine = select(Panic).where(Panic.host == reading.host).options(*_LIGHT)
    before = mine.where(at <= moment, at > moment - _AROUND).order_by(at.desc()).limit(_NEAREST)
    after = mine.where(at > moment, at < moment + _AROUND).order_by(at).limit(_NEAREST)
    rows = [*session.exec(before).all(), *session.exec(after).all()]
    return sorted(rows, key=lambda panic: abs(panic.occurred_at - moment))


def _of_any_time(session: Session, reading: Reading) -> list[Panic]:
    """For a text whose time is only its file's: a copied file is as young as the copy."""
    uptime = reading.crash.uptime or 0.0
    return list(
        session.exec(
            select(Panic)
            .where(
                Panic.host == reading.host,
                Panic.signature_key == reading.crash.signature.key[:300],
                col(Panic.uptime_seconds).between(uptime - _MICROSECOND, uptime + _MICROSECOND),
            )
            .options(*_LIGHT)
            .limit(_NEAREST)
        ).all()
    )


def _same_moment(panic: Panic, reading: Reading) -> bool:
    """The same signature at the same microsecond of printk: netconsole, pstore and dmesg frame the lines
    differently, the time they bear is one."""
    if panic.boot_started_at is not None and reading.boot_started_at is not None:
        return False  # both know their boot, and `is_witness` has compared them
    crash = reading.crash
    return (
        panic.uptime_seconds is not None
        and crash.uptime is not None
        and abs(panic.uptime_seconds - crash.uptime) <= _MICROSECOND
        and panic.signature_key == crash.signature.key[:300]
        and panic.kernel in (None, reading.kernel)
    )


def _another_death(panic: Panic, reading: Reading) -> bool:
    """A host that dies again within two minutes, in the same way: the uptime at death tells them apart."""
    crash = reading.crash
    if panic.boot_started_at is not None and reading.boot_started_at is not None:
        return False
    return (
        crash.crash
        and panic.signature_key == crash.signature.key[:300]
        and not (panic.head_lost or crash.head_lost)
        and panic.uptime_seconds is not None
        and crash.uptime is not None
        and abs(panic.uptime_seconds - crash.uptime) > _SAME_UPTIME
    )


def _another_crash(panic: Panic, reading: Reading) -> bool:
    read = panic.kind != "unknown" and reading.crash.crash
    return _another_death(panic, reading) or (
        read and panic.signature_key != reading.crash.signature.key[:300]
    )


def _rank(state: DumpState) -> int:
    return _RANK.index(state) if state in _RANK else len(_RANK)


def _imported(how: str, panic: Panic) -> Imported:
    return Imported(how, panic.id or 0, panic.occurred_at, panic.kind, panic.title, panic.dump_state)
