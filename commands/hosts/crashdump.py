"""The dump of a panic on its host: found among the crash directory's, looked into, never copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from commands.hosts.visits import Visit, kept_output
from integrations.kernel.completeness import Completeness, Read, plan, verdict
from integrations.kernel.crashdirs import CrashDump, read_listing
from integrations.kernel.vmcoreinfo import VmcoreInfo, read_vmcoreinfo
from integrations.ssh import CommandResult
from storage import DumpState, Panic

_ROUNDS = 4  # of reads that a look into a dump may take
_MOST = 1024 * 1024  # of one part of a dump
_LISTING_CAP = 1024 * 1024
# A dump is saved within minutes of its panic, on a big host within hours; clocks differ a little.
_BEFORE = timedelta(minutes=10)
_AFTER = timedelta(hours=12)


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

    @property
    def state(self) -> DumpState:
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


def pick(dumps: Sequence[CrashDump], panic: Panic) -> tuple[CrashDump | None, bool]:
    """The dump that belongs to a panic, and whether that is sure by its place in time.

    Tests of kdump are no panics. A path that the host itself reported comes first; then the first dump
    saved after the panic. A dump of another time is not this panic's.
    """
    real = [d for d in dumps if not d.test]
    if panic.dump_path:
        directory = panic.dump_path.strip("/").split("/")
        for dump in real:
            if dump.directory and dump.directory in directory:
                return dump, True
    near = [d for d in real if -_BEFORE <= saved_at(d) - panic.occurred_at <= _AFTER]
    near.sort(key=lambda d: abs(saved_at(d) - panic.occurred_at))
    return (near[0], True) if near else (None, False)


async def examine(visit: Visit, panic: Panic) -> DumpReport:
    """List the crash directory, choose the panic's dump and look into it by content. Raises ConnectionLost."""
    listing = await visit.help("list", cap=_LISTING_CAP)
    outputs = [kept_output(listing)]
    if not listing.ok:
        said = " ".join(listing.stderr.decode("utf-8", "replace").split())[:200]
        problem = (
            f"the helper could not list the crash directory ({listing.outcome}{': ' + said if said else ''})"
        )
        return DumpReport(problem=problem, outputs=tuple(outputs))
    dumps = tuple(read_listing(listing.text))
    chosen, sure = pick(dumps, panic)
    if chosen is None or chosen.dump is None:
        return DumpReport(dumps, chosen, sure, outputs=tuple(outputs))
    name, size = chosen.dump.path, chosen.dump.size
    known: dict[Read, bytes] = {}
    failed = False
    for _ in range(_ROUNDS):
        wanted = plan(name, size, known)
        if not wanted or failed:
            break
        for read in wanted:
            done = await read_part(visit, name, size, read.offset, read.length)
            outputs.append(kept_output(done, binary=True))
            failed = failed or not done.ok
            known[read] = done.stdout
    completeness = None if failed else verdict(name, size, known)
    head = next((data for read, data in known.items() if read.offset == 0), b"")
    info = read_vmcoreinfo(head) if head else None
    if info is not None and info.crash_time is not None:
        sure = abs(info.crash_time - panic.occurred_at) <= _BEFORE
    return DumpReport(dumps, chosen, sure, completeness, info, None, tuple(outputs))


async def read_part(visit: Visit, name: str, size: int, offset: int, length: int) -> CommandResult:
    """Part of a file in the crash directory, by the helper's verb for that part."""
    length = min(length, _MOST)
    if offset == 0:
        return await visit.help("head", name, str(length), cap=length)
    if offset + length >= size:
        return await visit.help("tail", name, str(size - offset), cap=length)
    return await visit.help("bytes", name, str(offset), str(length), cap=length)


def panic_columns(report: DumpReport) -> dict[str, Any]:
    """What a report changes in its Panic; nothing when nothing was learned."""
    if report.problem is not None:
        return {}
    columns: dict[str, Any] = {"dump_state": report.state}
    dump = report.chosen.dump if report.chosen is not None else None
    if dump is None:
        return columns | {"dump_path": None, "dump_size": None, "dump_note": "none in the crash directory"}
    note = report.completeness.reason if report.completeness is not None else "its content could not be read"
    return columns | {"dump_path": dump.path, "dump_size": dump.size, "dump_note": note[:300]}


def size_words(size: float) -> str:
    """Bytes as people say them, decimal: `41.9 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
