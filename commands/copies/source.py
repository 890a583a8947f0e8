"""The dump on its host: what it is now, its bytes as a stream, its sha256 there. By the helper's fixed verbs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from commands.errors import CommandError
from commands.hosts.visits import Visit
from integrations.kernel.crashdirs import read_listing
from integrations.ssh import CommandResult, ConnectionLost, StreamEnd

_MIB = 1024 * 1024
_LISTING_CAP = _MIB
_HASH_SECONDS = 6 * 3600.0  # at low priority, of a dump of terabytes
_IDLE = 60.0  # seconds without a byte after which a connection is dead
# The helper's `bytes` gives at most 64 MiB a call and ends after a minute.
_STEP = 32 * _MIB
_BAD_CALL, _NO_SUCH_FILE = 64, 1
_SHA256 = re.compile(r"([0-9a-f]{64})  \S")
_STAT = re.compile(r"(\d{1,18})\t([0-9.]{1,40})\t(\d{1,20})\n?")


class Vanished(CommandError):
    """The dump is no longer on the host."""


class Unreadable(CommandError):
    """The helper on the host does not give the dump."""


@dataclass(frozen=True)
class Stamp:
    """What a file is at a time; equal stamps, same content. `inode` is "" where the helper is an older one."""

    size: int
    mtime: str
    inode: str

    def __str__(self) -> str:
        return f"{self.mtime}/{self.inode}"


@dataclass
class HostDump:
    """One dump on one host, over one connection."""

    visit: Visit
    path: str
    old_helper: bool = False

    async def stat(self) -> Stamp:
        """Raises Vanished, Unreadable, ConnectionLost."""
        done = await self.visit.help("stat", self.path)
        if done.exit_status == _BAD_CALL:
            self.old_helper = True
            return await self._listed()
        found = _STAT.fullmatch(done.text)
        if done.exit_status == _NO_SUCH_FILE:
            raise Vanished(f"{self.path} is no longer in the crash directory.")
        if not done.ok or found is None:
            raise Unreadable(f"the helper could not look at {self.path} ({told(done)}).")
        return Stamp(int(found[1]), found[2], found[3])

    async def _listed(self) -> Stamp:
        done = await self.visit.help("list", cap=_LISTING_CAP)
        if not done.ok:
            raise Unreadable(f"the helper could not list the crash directory ({told(done)}).")
        files = (d.dump for d in read_listing(done.text))
        file = next((f for f in files if f is not None and f.path == self.path), None)
        if file is None:
            raise Vanished(f"{self.path} is no longer in the crash directory.")
        return Stamp(file.size, f"{file.mtime.timestamp():.6f}", "")

    async def sha256(self, offset: int | None = None, length: int | None = None) -> str | None:
        """Of the whole dump, or of a part of it, as the host reads it; None when its helper cannot tell."""
        words = () if offset is None or length is None else (str(offset), str(length))
        done = await self.visit.help("hash", self.path, *words, timeout=_HASH_SECONDS, cap=4096)
        if done.exit_status == _BAD_CALL:
            return None
        if done.exit_status == _NO_SUCH_FILE:
            raise Vanished(f"{self.path} is no longer in the crash directory.")
        found = _SHA256.match(done.text)
        if not done.ok or found is None:
            raise Unreadable(f"the helper could not hash {self.path} ({told(done)}).")
        return found[1]

    def stream(
        self,
        offset: int,
        length: int,
        take: Callable[[bytes], None],
        *,
        stop: Callable[[], bool],
        audit: Callable[[str, str, str], None],
    ) -> bool:
        """Hand `length` bytes from `offset` to `take`; False when stopped. Blocking: it belongs into a thread.

        `audit` is told each command, its outcome and detail. Raises Vanished, Unreadable, ConnectionLost; fewer bytes
        may have come when the file is shorter than it was.
        """
        if not self.old_helper:
            end = self._call("stream", offset, length, take, stop, audit)
            if end is not None:
                return not end.stopped
            self.old_helper = True
        while length > 0:
            step = min(length, _STEP)
            end = self._call("bytes", offset, step, take, stop, audit)
            if end is None:
                raise Unreadable("the helper on the host is too old: it knows neither `stream` nor `bytes`.")
            if end.stopped:
                return False
            offset, length = offset + step, length - step
        return True

    def _call(
        self,
        verb: str,
        offset: int,
        length: int,
        take: Callable[[bytes], None],
        stop: Callable[[], bool],
        audit: Callable[[str, str, str], None],
    ) -> StreamEnd | None:
        """One call of the helper; None when it does not know the verb."""
        argv = (*self.visit.visits.ssh.config.helper, verb, self.path, str(offset), str(length))
        came = 0

        def count(piece: bytes) -> None:
            nonlocal came
            came += len(piece)
            take(piece)

        try:
            end = self.visit.session.stream(argv, count, idle=_IDLE, stop=stop)
        except ConnectionLost as error:
            audit(shlex.join(argv), "lost", f"{came} bytes; {error}")
            raise
        outcome = "done" if end.exit_status == 0 else "stopped" if end.stopped else "failed"
        audit(shlex.join(argv), outcome, f"exit {end.exit_status}, {came} bytes {end.stderr[:200]}".strip())
        if end.stopped or end.exit_status == 0:
            return end
        if end.exit_status == _BAD_CALL and came == 0:
            return None
        if end.exit_status == _NO_SUCH_FILE:
            raise Vanished(f"{self.path} is no longer in the crash directory.")
        raise Unreadable(
            f"the helper stopped with status {end.exit_status} ({end.stderr[:200] or 'no word'})."
        )


def told(done: CommandResult) -> str:
    said = " ".join(done.stderr.decode("utf-8", "replace").replace("\x00", "").split())[:200]
    return f"{done.outcome}: {said}" if said else done.outcome
