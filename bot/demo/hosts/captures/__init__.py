"""What real Debian 12 hosts left behind after real panics, one `<case>.json.gz` a case (see README.md)."""

from __future__ import annotations

import base64
import functools
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

from bot.demo.hosts.errors import UnknownCase

CASES: Mapping[str, str] = MappingProxyType(
    {
        "null-deref": "NULL pointer dereference in a module, dump saved",
        "oom": "out of memory with panic_on_oom, dump saved",
        "nmi": "unknown NMI, dump saved",
        "sysrq-c": "crash made on purpose with sysrq, dump saved",
        "no-kdump-pstore": "crash without kdump: only pstore kept the text",
        "disk-full-yet-dump-saved": "crash on a disk at 100 %, dump saved all the same",
        "dump-fails-disk-full": "crash on a full disk: a dump of 0 bytes, the text cut before the crash",
    }
)


@dataclass(frozen=True)
class Entry:
    """One line of the crash directory's listing; `mtime` in seconds since the epoch, as captured."""

    path: str
    type: str
    size: int
    mtime: float


@dataclass(frozen=True)
class Boot:
    """One boot of the captured journal: `index` 0 is the boot that answered, times in microseconds."""

    index: int
    boot_id: str
    first_entry: int
    last_entry: int


@dataclass(frozen=True)
class DumpEnds:
    """The first 64 KiB and the last 4 KiB of a dump, which is all that a capture keeps of one."""

    head: bytes
    tail: bytes


@dataclass(frozen=True)
class Capture:
    """One captured host after one panic. Times are seconds since the epoch in the captured host's clock."""

    case: str
    title: str
    hostname: str
    machine_id: str
    crash: float
    booted: float
    end: float
    crashed_boot: int
    stamp: str | None
    boots: tuple[Boot, ...]
    files: Mapping[str, str]
    crash_files: Mapping[str, str]
    listing: tuple[Entry, ...]
    dumps: Mapping[str, DumpEnds]
    pstore: str | None


@functools.cache
def load(case: str) -> Capture:
    """Read a packaged capture; `UnknownCase` when there is none of that name."""
    if case not in CASES:
        raise UnknownCase(case)
    packed = resources.files(__name__).joinpath(f"{case}.json.gz").read_bytes()
    raw = json.loads(gzip.decompress(packed))
    return Capture(
        case=case,
        title=CASES[case],
        hostname=raw["hostname"],
        machine_id=raw["machine_id"],
        crash=raw["crash"],
        booted=raw["booted"],
        end=raw["end"],
        crashed_boot=raw["crashed_boot"],
        stamp=raw["stamp"],
        boots=tuple(Boot(**boot) for boot in raw["boots"]),
        files=MappingProxyType(raw["files"]),
        crash_files=MappingProxyType(raw["crash_files"]),
        listing=tuple(Entry(**entry) for entry in raw["listing"]),
        dumps=MappingProxyType(
            {
                path: DumpEnds(base64.b64decode(ends["head"]), base64.b64decode(ends["tail"]))
                for path, ends in raw["dumps"].items()
            }
        ),
        pstore=raw["pstore"],
    )
