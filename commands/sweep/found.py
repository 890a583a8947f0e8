"""What lies in a crash directory, sorted by what is to be done about it, and the report of a dump nobody told of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from integrations.inbound import Dump, PanicReport
from integrations.kernel.crashdirs import CrashDump

SOURCE = "sweep"
PSTORE = "pstore/"  # before the names of pstore's texts, which lie in a directory of their own
_ID_LIMIT = 200
_SAVED_AFTER = timedelta(minutes=6)  # a directory's stamp lies at most so long before its first file's time
_CLOCKS = timedelta(minutes=5)


@dataclass(frozen=True)
class FoundDump:
    """A crash that nobody told of, as it was read. `directory` is its name in the crash directory (a file's where it
    has none, `pstore/…` for a text of pstore's), `place` where that is. `died` is as near as is known: `crash_time` is
    the dead kernel's own word. `complete` is None when it cannot be told. `central`: the directory that kdump wrote it
    to over the network, in which case `dump_path` is there and not on the host."""

    host: str
    directory: str
    place: str
    layout: str  # debian, rhel, suse, pstore
    text: str
    digest: str  # sha256 of the whole dmesg as it was read
    died: datetime
    saved_at: datetime
    stamped: bool = True
    crash_time: datetime | None = None
    boot_id: str | None = None
    release: str | None = None
    dump_path: str | None = None
    dump_size: int | None = None
    complete: bool | None = None
    reason: str = ""
    central: str | None = None
    back_at: datetime | None = None
    host_clock: datetime | None = None

    @property
    def external_id(self) -> str:
        return report_id(self.host, self.directory)

    @property
    def archive_name(self) -> str:
        return archive_name(self.directory)

    def body(self) -> dict[str, Any]:
        """As stored in `Report.body`; beside a report's own fields, `central` and `saved_at`."""
        dump = None
        if self.dump_path is not None and self.dump_size is not None:
            dump = Dump(path=self.dump_path[:1000], size=self.dump_size, complete=self.complete)
        report = PanicReport.model_validate(
            {
                "id": self.external_id,
                "host": self.host,
                "text": self.text,
                "source": SOURCE,
                "occurred_at": self.died.astimezone(UTC).isoformat(),
                "reported_at": self.host_clock.astimezone(UTC).isoformat() if self.host_clock else None,
                "crashed_boot_id": self.boot_id,
                "back_at": self.back_at.astimezone(UTC).isoformat() if self.back_at else None,
                "crashed_kernel": self.release[:200] if self.release else None,
                "crash_dir": self.place[:1000],
                "dump": dump,
            }
        )
        extra = {"saved_at": self.saved_at.astimezone(UTC).isoformat()}
        return report.as_body() | extra | ({"central": self.central} if self.central else {})


def report_id(host: str, directory: str) -> str:
    """The report's id: the same for one dump whenever it is found."""
    whole = f"{SOURCE}:{host}:{directory}"
    if len(whole) <= _ID_LIMIT:
        return whole
    return f"{SOURCE}:{hashlib.sha256(whole.encode()).hexdigest()}"


def archive_name(directory: str) -> str:
    """The name under which `panicroom import` would know a dump."""
    if directory.startswith(PSTORE):
        return directory.removeprefix(PSTORE).rsplit("/", 1)[0]
    return stamp_of(directory) or directory


def stamp_of(file: str) -> str | None:
    """The stamp in the name of a file without a directory (`dump.202611230532`, as FTP targets have them)."""
    parts = file.split(".")
    stamped = len(parts) > 1 and parts[0] in ("dump", "vmcore", "dmesg") and "/" not in file
    return parts[1] if stamped and len(parts[1]) == 12 and parts[1].isdecimal() else None


def name_of(dump: CrashDump) -> str:
    """What a dump is called in its crash directory."""
    if dump.directory:
        return dump.directory
    files = [file.path for file in (dump.dump, dump.dmesg) if file is not None]
    return files[0] if files else ""


def names_of(dump: CrashDump) -> frozenset[str]:
    """Every name under which somebody may have told of a dump."""
    if dump.directory:
        return frozenset({dump.directory})
    files = {file.path for file in (dump.dump, dump.dmesg) if file is not None}
    return frozenset(files | {stamp for file in files if (stamp := stamp_of(file)) is not None})


def written_at(dump: CrashDump) -> datetime | None:
    """When its files changed last; None for an empty directory."""
    return max((f.mtime for f in (dump.dump, dump.dmesg) if f is not None), default=None)


def begun_at(dump: CrashDump, now: datetime) -> datetime:
    """The earliest sign of a crash: its directory's stamp where that fits its first file, else that file's time."""
    first = min((f.mtime for f in (dump.dump, dump.dmesg) if f is not None), default=None)
    if first is None:
        return min(dump.stamp or now, now)
    if dump.stamp is not None and timedelta(0) <= first - dump.stamp <= _SAVED_AFTER:
        first = dump.stamp
    return first


@dataclass
class Sorted:
    """`fresh` are the dumps to be read and told, the newest first; the others are counted and named."""

    fresh: list[CrashDump] = field(default_factory=list)
    known: int = 0
    tests: int = 0
    in_progress: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    later: int = 0  # more than one look takes


def sort_out(
    dumps: Sequence[CrashDump],
    is_known: Callable[[Iterable[str]], bool],
    *,
    now: datetime,
    settle: timedelta,
    finished_before: datetime | None = None,
    most: int = 20,
) -> Sorted:
    """What each dump is. `finished_before`: what was written before this moment is written for good (the host has
    booted since). An empty directory that has a dump's name is a crash of which nothing was saved, or somebody's own.
    """
    made = Sorted()
    for dump in reversed(dumps):
        written = written_at(dump)
        if dump.test:
            made.tests += 1
        elif is_known(names_of(dump)):
            made.known += 1
        elif _may_be_at_work(written or dump.stamp, now, settle, finished_before):
            made.in_progress.append(name_of(dump))
        elif written is None:
            made.empty.append(name_of(dump))
        elif len(made.fresh) >= most:
            made.later += 1
        else:
            made.fresh.append(dump)
    return made


def _may_be_at_work(
    written: datetime | None, now: datetime, settle: timedelta, finished_before: datetime | None
) -> bool:
    """By the files' own times: kdump-tools leaves its lock file (`kdump_lock`) behind at each boot, so that proves
    nothing. A time far in the future is a clock's fault and no sign of work."""
    if written is None or (finished_before is not None and written < finished_before):
        return False
    return now - settle < written <= now + _CLOCKS + settle
