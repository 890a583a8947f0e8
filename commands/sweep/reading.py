"""A dump that nobody told of, read in small pieces: its dmesg, whether it is whole, when its kernel died."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from commands.hosts.boots import Boot, is_capture_kernel
from commands.sweep.found import begun_at, written_at
from integrations.kernel.completeness import Completeness, Read, plan, verdict
from integrations.kernel.crashdirs import CrashDump, CrashFile
from integrations.kernel.vmcoreinfo import VmcoreInfo, read_vmcoreinfo

TEXT = 1024 * 1024  # bytes of a dmesg: a longer one is read at both ends
_HEAD = 256 * 1024
_ROUNDS = 6
_MOST = 4 * 1024 * 1024  # of one piece of a dump
_LOOKS = 3  # boots whose command line is looked at
_LIVED_ON = timedelta(minutes=2)
_FAR = timedelta(days=2)  # a boot whose journal ended so long before the crash is another one
_AHEAD = timedelta(minutes=5)
_OLDEST = timedelta(days=365)  # a clock without a battery starts in 1970 or 2000


class Unreadable(Exception):
    """A file of the crash directory could not be read."""


class Source(Protocol):
    """Where a crash directory lies: a host, or a mounted directory."""

    async def part(self, path: str, size: int, offset: int, length: int) -> bytes:
        """Bytes of a file of `size` bytes, by its path under the crash directory. Raises Unreadable."""


@dataclass(frozen=True)
class Content:
    """What a dump's files say. `completeness` and `info` are None where there is no dump, or none that can be read."""

    text: str
    digest: str
    completeness: Completeness | None = None
    info: VmcoreInfo | None = None

    @property
    def complete(self) -> bool | None:
        state = self.completeness.state if self.completeness is not None else "unverified"
        return None if state == "unverified" else state == "complete"


async def read_text(source: Source, file: CrashFile) -> tuple[str, str]:
    """(text, sha256 of what was read). Of a long one the beginning and the end, and between them how much is
    missing. Raises Unreadable."""
    if file.size <= TEXT:
        raw = await source.part(file.path, file.size, 0, file.size) if file.size else b""
        return raw.decode("utf-8", "replace"), hashlib.sha256(raw).hexdigest()
    head = await source.part(file.path, file.size, 0, _HEAD)
    rest = TEXT - _HEAD
    tail = await source.part(file.path, file.size, file.size - rest, rest)
    digest = hashlib.sha256(head + tail).hexdigest()
    missing = f"\n[... {file.size - len(head) - len(tail)} bytes of this log were not read ...]\n"
    return head.decode("utf-8", "replace") + missing + tail.decode("utf-8", "replace"), digest


async def read_content(source: Source, dump: CrashDump) -> Content:
    """Raises Unreadable when there is a dmesg and it cannot be read; a dump that cannot be is not verified."""
    text, digest = "", hashlib.sha256(b"").hexdigest()
    if dump.dmesg is not None:
        text, digest = await read_text(source, dump.dmesg)
    if dump.dump is None:
        return Content(text, digest)
    name, size = dump.dump.path, dump.dump.size
    known: dict[Read, bytes] = {}
    try:
        for _ in range(_ROUNDS):
            wanted = plan(name, size, known)
            if not wanted:
                break
            for read in wanted:
                known[read] = await source.part(name, size, read.offset, min(read.length, _MOST))
    except Unreadable:
        return Content(text, digest)
    head = next((data for read, data in known.items() if read.offset == 0), b"")
    found = verdict(name, size, known)
    if found.state == "unverified" and dump.incomplete:
        found = Completeness("incomplete", found.format, "kdump itself calls it incomplete")
    return Content(text, digest, found, read_vmcoreinfo(head))


@dataclass(frozen=True)
class Death:
    """When a kernel died, as near as is known, and in which boot."""

    at: datetime
    crash_time: datetime | None = None
    boot: Boot | None = None


async def time_of_death(
    dump: CrashDump,
    info: VmcoreInfo | None,
    uptime: float | None,
    boots: Sequence[Boot],
    command_line: Callable[[int], Awaitable[str | None]],
    *,
    now: datetime,
) -> Death:
    """The dead kernel's own word (CRASHTIME) comes first; then its boot's start and its uptime, then the boot's last
    journal entry, then the first file that was saved. `uptime` is the crash's printk time; `command_line(index)` asks
    for a boot's, to know the capture kernel's boot from the one that crashed."""
    begun = begun_at(dump, now)
    told = info.crash_time if info is not None else None
    if told is not None and not begun - _OLDEST < told <= begun + _AHEAD:
        told = None  # a clock that stood still or ran wild
    if told is not None:
        return Death(told, told, boot_of(boots, told))
    boot = await _crashed(boots, begun, command_line)
    if boot is None or boot.first is None:
        return Death(begun)
    # Journald begins later than the kernel (by hours, where a passphrase is waited for), and hears nothing of the
    # end: the death lies between its last entry and the first file that was saved.
    at = boot.first + timedelta(seconds=uptime) if uptime is not None else boot.last or begun
    saved = min((f.mtime for f in (dump.dump, dump.dmesg) if f is not None), default=begun)
    return Death(min(max(at, boot.last or at), saved), None, boot)


def boot_of(boots: Sequence[Boot], died: datetime) -> Boot | None:
    """The boot that ended by a crash at that moment; None where it lived on (the clocks do not agree), or is not
    listed."""
    boot = _before(boots, died)
    return None if boot is None or (boot.last is not None and boot.last > died + _LIVED_ON) else boot


def back_at(boots: Sequence[Boot], crashed: Boot | None, dump: CrashDump) -> datetime | None:
    """When the host was back: the start of the boot after the one that crashed; or the one after that, where the dump
    was written during the first, which was the capture kernel's then."""
    if crashed is None:
        return None
    after = {b.index: b for b in boots if b.index > crashed.index}
    following = after.get(crashed.index + 1)
    written = written_at(dump)
    if following is not None and following.first is not None and written is not None:
        saving = following.first <= written and (
            following.last is None or written <= following.last + _LIVED_ON
        )
        following = after.get(crashed.index + 2) if saving else following
    return following.first if following is not None else None


async def _crashed(
    boots: Sequence[Boot], saved: datetime, command_line: Callable[[int], Awaitable[str | None]]
) -> Boot | None:
    """The boot that crashed before something was saved; the capture kernel, which saved it, may have one, too."""
    until = list(boots)
    for _ in range(_LOOKS):
        boot = _before(until, saved)
        if boot is None:
            return None
        line = await command_line(boot.index)
        if line is None:
            return None  # whose boot it was cannot be told
        if not is_capture_kernel(line):
            return boot
        until = [b for b in until if b.index < boot.index]
    return None


def _before(boots: Sequence[Boot], moment: datetime) -> Boot | None:
    """The last earlier boot that had begun by then."""
    begun = [b for b in boots if b.index < 0 and b.first is not None and b.first <= moment]
    found = max(begun, key=lambda b: b.index, default=None)
    if found is None or (found.last is not None and found.last < moment - _FAR):
        return None
    return found
