"""The dump of a panic on its host: found among the crash directory's, looked into, never copied."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from commands.hosts.visits import Visit, kept_output
from integrations.kernel.completeness import Completeness, Read, plan, verdict
from integrations.kernel.crashdirs import CrashDump, read_listing
from integrations.kernel.vmcoreinfo import VmcoreInfo, read_vmcoreinfo
from storage import DumpState, Panic, Report

_SWEEP = "sweep"  # the source of the reports that a sweep makes
_NO_DIRECTORY = 69  # the helper's exit status where there is no crash directory
_ROUNDS = 4  # of reads that a look into a dump may take
_MOST = 1024 * 1024  # of one part of a dump
_LISTING_CAP = 1024 * 1024
# A dump is saved within minutes of its panic, on a big host within hours; clocks differ a little.
_BEFORE = timedelta(minutes=10)
_AFTER = timedelta(hours=12)
_CLOCKS = timedelta(seconds=30)
_TOLD_TWICE = timedelta(minutes=2)
# Debian and Ubuntu; SUSE. RHEL's kdump keeps everything.
_KEPT = ("cat", "/etc/default/kdump-tools", "/etc/sysconfig/kdump")
_KEEPS = re.compile(r"^\s*(?:KDUMP_NUM_DUMPS|KDUMP_KEEP_OLD_DUMPS)=[\"']?(\d{1,5})\b", re.MULTILINE)


@dataclass(frozen=True)
class CentralPlace:
    """Where kdump wrote a panic's dump over the network, as a sweep found it there: nothing of it is on the host.

    `path` is the dump's in the central directory, else its directory's where only a dmesg lies in it.
    """

    directory: str
    path: str
    size: int | None = None  # None where there is no dump in it
    state: DumpState = DumpState.NONE

    @property
    def told(self) -> str:
        """In plain words, for people who look for it."""
        if self.size is None:
            return f"central directory: {self.path} holds no dump, only its dmesg"
        return f"central directory: {self.state.value}, {self.path}, {size_words(self.size)}"


@dataclass(frozen=True)
class Witnessed:
    """What the reports of a panic and the other panics of its host say about its dump."""

    paths: tuple[str, ...] = ()  # the dump's path or directory, as the host told it
    certain: bool = True  # the time of the panic was told, not only when its report came
    others: tuple[datetime, ...] = ()  # when other panics of the host occurred
    central: CentralPlace | None = None


@dataclass(frozen=True)
class DumpReport:
    """What is known of a panic's dump. `problem` says why nothing is known, when nothing is."""

    dumps: tuple[CrashDump, ...] = ()
    chosen: CrashDump | None = None
    sure: bool = False  # the dump's own crash time, or its place in time, is the panic's
    completeness: Completeness | None = None
    info: VmcoreInfo | None = None
    problem: str | None = None
    outputs: tuple[dict[str, Any], ...] = field(default=())
    gone: str | None = None  # it was there, and is there no longer
    certain: bool = True  # as in Witnessed
    others: tuple[datetime, ...] = ()
    central: CentralPlace | None = None

    @property
    def elsewhere(self) -> CentralPlace | None:
        """Where the dump is when it is not on the host, and no failure."""
        there = self.chosen is not None and self.chosen.dump is not None
        return None if there or self.central is None or self.central.size is None else self.central

    @property
    def state(self) -> DumpState:
        if self.elsewhere is not None:
            return self.elsewhere.state
        if self.problem is not None:
            return DumpState.UNKNOWN
        if self.chosen is None or self.chosen.dump is None:
            return DumpState.NONE
        if self.completeness is None:
            return DumpState.UNVERIFIED
        return DumpState(self.completeness.state)

    @property
    def crash_time(self) -> datetime | None:
        return self.info.crash_time if self.info is not None else None


def saved_at(dump: CrashDump) -> datetime:
    """When a dump was saved: by its files' times, which are UTC; its directory's name is in the host's zone."""
    times = [f.mtime for f in (dump.dump, dump.dmesg) if f is not None]
    if times:
        return max(times)
    stamp = dump.stamp or datetime.fromtimestamp(0, UTC)
    return stamp if stamp.tzinfo is not None else stamp.replace(tzinfo=UTC)


def look_up(session: Session, panic: Panic) -> Witnessed:
    """What the database knows that helps to find a panic's dump."""
    reports = list(session.exec(select(Report).where(Report.panic_id == panic.id).order_by(col(Report.id))))
    bodies = [r.body for r in reports]
    central = next((found for r in reversed(reports) if (found := _central_place(r)) is not None), None)
    told = [panic.dump_path]
    for report in reports:
        if _central_place(report) is None:
            told += [_dump_of(report).get("path"), report.body.get("crash_dir")]
    # Two panics of a host within two minutes are one that was told of twice.
    near = select(Panic.occurred_at).where(
        Panic.host == panic.host,
        col(Panic.id) != panic.id,
        col(Panic.occurred_at) > panic.occurred_at - 2 * _AFTER,
        col(Panic.occurred_at) < panic.occurred_at + 2 * _AFTER,
    )
    return Witnessed(
        tuple(
            dict.fromkeys(
                path
                for path in told
                if isinstance(path, str) and path and not (central and _inside(path, central.directory))
            )
        ),
        not bodies or any(body.get("occurred_at") or body.get("down_since") for body in bodies),
        tuple(at for at in session.exec(near) if abs(at - panic.occurred_at) > _TOLD_TWICE),
        central,
    )


def in_central_directory(session: Session, panic: Panic) -> CentralPlace | None:
    """Where a panic's dump is when kdump wrote it to a central directory; None when it did not, or a host told of one
    of its own, too."""
    known = look_up(session, panic)
    there = known.central is not None and known.central.size is not None
    return known.central if there and not any(_is_a_dumps(path) for path in known.paths) else None


def _central_place(report: Report) -> CentralPlace | None:
    """What a sweep's report says of a central directory; the word of anybody else is none."""
    directory, place = report.body.get("central"), report.body.get("crash_dir")
    if report.source != _SWEEP or not isinstance(directory, str) or not directory:
        return None
    dump = _dump_of(report)
    path, size, complete = dump.get("path"), dump.get("size"), dump.get("complete")
    if not isinstance(path, str) or not isinstance(size, int):
        return CentralPlace(directory, place if isinstance(place, str) and place else directory)
    if size == 0:
        return CentralPlace(directory, path, size, DumpState.EMPTY)
    if not isinstance(complete, bool):
        return CentralPlace(directory, path, size, DumpState.UNVERIFIED)
    return CentralPlace(directory, path, size, DumpState.COMPLETE if complete else DumpState.INCOMPLETE)


def _dump_of(report: Report) -> Mapping[str, Any]:
    dump = report.body.get("dump")
    return dump if isinstance(dump, Mapping) else {}


def _inside(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/")


def pick(
    dumps: Sequence[CrashDump], panic: Panic, known: Witnessed | None = None
) -> tuple[CrashDump | None, bool]:
    """The dump that belongs to a panic, and whether that is sure by its place in time.

    Tests of kdump are no panics. A path that the host itself told comes first, and where its dump is gone,
    there is none. Otherwise a dump is of the last panic of its host before it was saved. A panic of which
    nobody told when it was (only when it was reported) has the newest one that is no other panic's, which is not sure.
    """
    known = known or Witnessed((panic.dump_path,) if panic.dump_path else ())
    real = [d for d in dumps if not d.test]
    for path in known.paths:
        named = next((d for d in real if _names(path, d)), None)
        if named is not None:
            return named, True
    if any(_is_a_dumps(path) for path in known.paths):
        return None, False
    if known.certain:
        near = [
            d for d in real if _owner(saved_at(d), (panic.occurred_at, *known.others)) == panic.occurred_at
        ]
        near.sort(key=lambda d: abs(saved_at(d) - panic.occurred_at))
        return (near[0], True) if near else (None, False)
    taken = set()
    for dump in sorted(real, key=saved_at, reverse=True):
        taken_by = _owner(saved_at(dump), known.others)
        if taken_by is not None:
            taken.add(min((d for d in real if _owner(saved_at(d), known.others) == taken_by), key=saved_at))
    free = [d for d in real if d not in taken and belongs(saved_at(d), panic, known)]
    return (max(free, key=saved_at), False) if free else (None, False)


def belongs(saved: datetime, panic: Panic, known: Witnessed) -> bool:
    """Whether something saved at that time may be of this panic, by the panics of its host."""
    if known.certain:
        return _owner(saved, (panic.occurred_at, *known.others)) == panic.occurred_at
    return -_AFTER <= saved - panic.occurred_at <= _BEFORE


def _owner(saved: datetime, panics: Sequence[datetime]) -> datetime | None:
    """Of several panics of a host, the one that a dump is of: no dump is saved once the host has died again."""
    before = [at for at in panics if saved - _AFTER <= at <= saved + _CLOCKS]
    soon = [at for at in panics if saved + _CLOCKS < at <= saved + _BEFORE]
    return max(before) if before else min(soon, default=None)


def _names(path: str, dump: CrashDump) -> bool:
    """Whether a path that a host told is that dump's, or its directory's."""
    parts = path.strip("/").split("/")
    if dump.directory:
        return dump.directory in parts
    return dump.dump is not None and dump.dump.path == parts[-1]


def _is_a_dumps(path: str) -> bool:
    """Whether a path is of a layout that the listing would have shown."""
    parts = path.strip("/").split("/")
    rows = [f"{p}\td\t0\t0\n" for p in parts] + [f"{p}\tf\t0\t0\n" for p in parts[-1:]]
    return bool(read_listing("".join(rows)))


async def examine(visit: Visit, panic: Panic) -> DumpReport:
    """List the crash directory, choose the panic's dump and look into it by content. Raises ConnectionLost."""
    known_of = await visit.visits.context.db.read(lambda s: look_up(s, panic))
    listing = await visit.help("list", cap=_LISTING_CAP)
    outputs = [kept_output(listing)]
    if listing.exit_status == _NO_DIRECTORY and known_of.central is not None:
        # A host whose kdump writes elsewhere needs no crash directory of its own.
        return DumpReport(outputs=tuple(outputs), central=known_of.central)
    if not listing.ok:
        said = " ".join(listing.stderr.decode("utf-8", "replace").split())[:200]
        problem = (
            f"the helper could not list the crash directory ({listing.outcome}{': ' + said if said else ''})"
        )
        return DumpReport(problem=problem, outputs=tuple(outputs), central=known_of.central)
    dumps = tuple(read_listing(listing.text))
    chosen, sure = pick(dumps, panic, known_of)
    report = DumpReport(
        dumps, chosen, sure, outputs=tuple(outputs), certain=known_of.certain, others=known_of.others,
        central=known_of.central,
    )  # fmt: skip
    if chosen is None:
        return await _missing(visit, panic, known_of, report)
    if chosen.dump is None:
        return report
    report = await _look_into(visit, chosen, report)
    named = any(_names(path, chosen) for path in known_of.paths)
    if report.crash_time is not None:
        apart = abs(report.crash_time - panic.occurred_at)
        nearer = any(abs(report.crash_time - at) < min(apart, _BEFORE) for at in known_of.others)
        later = known_of.certain and report.crash_time > panic.occurred_at + _BEFORE
        if not named and (nearer or later):
            return await _missing(
                visit, panic, known_of, replace(report, chosen=None, completeness=None, info=None)
            )
        report = replace(report, sure=apart <= _BEFORE)
    return report


async def _look_into(visit: Visit, chosen: CrashDump, report: DumpReport) -> DumpReport:
    assert chosen.dump is not None
    name, size = chosen.dump.path, chosen.dump.size
    outputs = list(report.outputs)
    known: dict[Read, bytes] = {}
    failed = False
    for _ in range(_ROUNDS):
        wanted = plan(name, size, known)
        if not wanted or failed:
            break
        asked = [_part(name, size, read.offset, read.length) for read in wanted]
        results = await visit.run_many([visit.helping(*words, cap=cap) for words, cap in asked])
        for read, done in zip(wanted, results, strict=True):
            outputs.append(kept_output(done, binary=True))
            failed = failed or not done.ok
            known[read] = done.stdout
    completeness = None if failed else verdict(name, size, known)
    head = next((data for read, data in known.items() if read.offset == 0), b"")
    info = read_vmcoreinfo(head) if head else None
    return replace(report, completeness=completeness, info=info, outputs=tuple(outputs))


async def _missing(visit: Visit, panic: Panic, known: Witnessed, report: DumpReport) -> DumpReport:
    """No dump of this panic: one that was there is gone, and kdump's own tidying may have done it."""
    if report.elsewhere is not None:
        return report
    there = (DumpState.COMPLETE, DumpState.UNVERIFIED, DumpState.INCOMPLETE, DumpState.EMPTY)
    if panic.dump_state not in there and not any(_is_a_dumps(path) for path in known.paths):
        return report
    done = await visit.run(_KEPT, timeout=10, cap=65536)
    found = _KEEPS.findall(done.text)
    limit = int(found[-1]) if found else 0
    if limit:
        told = f"kdump keeps {limit}"
    elif done.stdout:
        told = "kdump's configuration sets no limit to how many it keeps"
    else:
        told = "how many kdump keeps could not be read"
    left = sum(not d.test for d in report.dumps)
    gone = f"the dump of this panic is gone ({told}; {left} of other panics in the crash directory)"
    return replace(report, gone=gone, outputs=(*report.outputs, kept_output(done)))


def _part(name: str, size: int, offset: int, length: int) -> tuple[tuple[str, ...], int]:
    """The helper's words for part of a file in the crash directory, and the most that comes (bytes)."""
    length = min(length, _MOST)
    if offset == 0:
        return ("head", name, str(length)), length
    if offset + length >= size:
        return ("tail", name, str(size - offset)), length
    return ("bytes", name, str(offset), str(length)), length


def panic_columns(report: DumpReport) -> dict[str, Any]:
    """What a report changes in its Panic; nothing when nothing was learned."""
    if report.elsewhere is not None:
        where = report.elsewhere
        return {
            "dump_state": where.state, "dump_path": where.path, "dump_size": where.size,
            "dump_note": "kdump wrote it to the central directory; none is missing on the host",
        }  # fmt: skip
    if report.problem is not None:
        return {}
    columns: dict[str, Any] = {"dump_state": report.state}
    if report.gone is not None:
        # Where it was stays known: otherwise the next look would take it for a panic that never had one.
        return columns | {"dump_note": report.gone[:300]}
    dump = report.chosen.dump if report.chosen is not None else None
    if dump is None:
        return columns | {"dump_path": None, "dump_size": None, "dump_note": "none in the crash directory"}
    note = report.completeness.reason if report.completeness is not None else "its content could not be read"
    columns |= {"dump_path": dump.path, "dump_size": dump.size, "dump_note": note[:300]}
    if not report.certain and report.crash_time is not None:
        columns["occurred_at"] = report.crash_time
    return columns


def size_words(size: float) -> str:
    """Bytes as people say them, decimal: `41.9 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
