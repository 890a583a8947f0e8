"""One replayed host at one time of its life: a capture under another name, at another moment, with own boot ids."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from bot.demo.hosts.captures import Boot, Capture, DumpEnds, Entry
from bot.demo.hosts.timeline import Timeline, utc

_NAMESPACE = uuid.UUID("6f0d0c5e-6f6b-5c0c-9a53-0e5f4a0f5d1b")


@dataclass(frozen=True)
class Instance:
    """What a replayed host can tell of itself.

    `crashed_at` (seconds since the epoch) is None for a host that has not panicked yet: it then knows of one boot only,
    and its crash directory holds no dump. `back_at` is when its present boot began to answer.
    """

    host: str
    capture: Capture
    crashed_at: float | None
    back_at: float

    @cached_property
    def timeline(self) -> Timeline:
        capture = self.capture
        if self.crashed_at is None:
            return Timeline(capture.end, self.back_at)
        return Timeline.of_crash(
            crash=capture.crash, end=capture.end, crashed_at=self.crashed_at, back_at=self.back_at
        )

    @cached_property
    def booted_at(self) -> float:
        """When the present boot began, in seconds since the epoch."""
        return self.timeline.at(self.capture.booted)

    @cached_property
    def stamp(self) -> str | None:
        """The name of the crash directory's entry (`YYYYMMDDHHMM`, UTC); None when nothing was saved there."""
        if self.crashed_at is None or self.capture.stamp is None:
            return None
        saved = [e.mtime for e in self.capture.listing if e.path.startswith(f"{self.capture.stamp}/dmesg")]
        return f"{utc(self.timeline.at(min(saved))):%Y%m%d%H%M}"

    @cached_property
    def boots(self) -> tuple[Boot, ...]:
        """The boots that the journal lists, oldest first, with this panic's ids and times (microseconds)."""
        listed = [b for b in self.capture.boots if self.crashed_at is not None or b.index == 0]
        return tuple(
            Boot(
                boot.index,
                self.own_id(boot.boot_id),
                int(self.timeline.at(boot.first_entry / 1e6) * 1e6),
                int(self.timeline.at(boot.last_entry / 1e6) * 1e6),
            )
            for boot in listed
        )

    def boot_id(self, index: int = 0) -> str | None:
        """A listed boot's id as /proc writes it (with dashes); None when the journal lists no such boot."""
        found = [boot.boot_id for boot in self.boots if boot.index == index]
        return str(uuid.UUID(found[0])) if found else None

    @property
    def crashed_boot_id(self) -> str | None:
        """The id of the boot that crashed, as /proc writes it."""
        return self.boot_id(self.capture.crashed_boot) if self.crashed_at is not None else None

    @property
    def crash_time(self) -> datetime | None:
        """When it crashed, UTC."""
        return utc(self.crashed_at) if self.crashed_at is not None else None

    def own_id(self, captured: str) -> str:
        """This panic's own id (32 hex digits) in place of a captured boot id: the same whenever it is asked for."""
        moment = "" if self.crashed_at is None else f"{self.crashed_at:.6f}"
        return uuid.uuid5(_NAMESPACE, f"{self.host}|{moment}|{self.capture.case}|{captured}").hex

    def tell(self, captured: str) -> str:
        """Captured text as this host would have written it: its name, its ids, its times."""
        return self._names[0].sub(lambda m: self._names[1][m[0]], self.timeline.rewrite(captured))

    def file(self, name: str) -> str | None:
        """A captured command's output by its name in the package, told as this host's; None where it is not kept."""
        captured = self.capture.files.get(name)
        return None if captured is None else self.tell(captured)

    @cached_property
    def crash_files(self) -> dict[str, bytes]:
        """The crash directory's files whose whole content is kept, by path under it."""
        return {
            self._path(path): self.tell(text).encode("utf-8", "surrogateescape")
            for path, text in self.capture.crash_files.items()
            if self.crashed_at is not None or "/" not in path
        }

    @cached_property
    def dumps(self) -> dict[str, DumpEnds]:
        """Both ends of the dumps that are kept in part, by path under the crash directory."""
        if self.crashed_at is None:
            return {}
        return {
            self._path(path): DumpEnds(self._dump_head(ends.head), ends.tail)
            for path, ends in self.capture.dumps.items()
        }

    @cached_property
    def listing(self) -> tuple[Entry, ...]:
        """The crash directory as find sees it (depth 2); mtime in seconds since the epoch."""
        shown = []
        for entry in self.capture.listing:
            path = self._path(entry.path)
            if self.crashed_at is None and (entry.type == "d" or "/" in path):
                continue
            size = len(self.crash_files[path]) if path in self.crash_files else entry.size
            shown.append(Entry(path, entry.type, size, self.timeline.at(entry.mtime)))
        return tuple(shown)

    def crash_text(self) -> str:
        """What the host found of its own end: the saved dmesg, else pstore's text; "" for a host that never crashed."""
        if self.crashed_at is None:
            return ""
        saved = [
            data for path, data in self.crash_files.items() if path.rsplit("/", 1)[-1].startswith("dmesg.")
        ]
        if saved:
            return saved[0].decode("utf-8", "replace")
        return self.tell(self.capture.pstore or "").encode("utf-8", "replace").decode()

    def _path(self, captured: str) -> str:
        if self.stamp is None or self.capture.stamp is None:
            return captured
        return captured.replace(self.capture.stamp, self.stamp)

    def _dump_head(self, head: bytes) -> bytes:
        """The dump's head with this crash's time and host name; no length in it changes."""
        when = int(self.crashed_at or 0)
        name = self.host.encode()[:64]
        head = re.sub(rb"(?m)^CRASHTIME=\d{10}$", b"CRASHTIME=%d" % when, head)
        captured = self.capture.hostname.encode()
        field = re.compile(re.escape(captured) + b"\0" * (65 - len(captured)))
        head = field.sub(name.ljust(65, b"\0"), head, count=1)
        # disk_dump_header: utsname (6 * 65 bytes) ends at 402; struct timeval timestamp at 408
        start = head.find(b"KDUMP   ")
        if start < 0:
            return head
        saved = int(self.timeline.at(int.from_bytes(head[start + 408 : start + 416], "little")))
        return head[: start + 408] + saved.to_bytes(8, "little") + head[start + 416 :]

    @cached_property
    def _names(self) -> tuple[re.Pattern[str], dict[str, str]]:
        own: dict[str, str] = {self.capture.hostname: self.host}
        for boot in self.capture.boots:
            own[boot.boot_id] = self.own_id(boot.boot_id)
            own[str(uuid.UUID(boot.boot_id))] = str(uuid.UUID(own[boot.boot_id]))
        if self.capture.machine_id:
            own[self.capture.machine_id] = uuid.uuid5(_NAMESPACE, self.host).hex
        if self.capture.stamp and self.stamp:
            own[self.capture.stamp] = self.stamp
        return re.compile("|".join(re.escape(text) for text in own)), own
