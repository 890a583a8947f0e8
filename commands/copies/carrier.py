"""One copy's way, from the connection to the verified manifest. Each stage raises what keeps it from going on."""

from __future__ import annotations

import asyncio
import json
import posixpath
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from commands.copies import rows
from commands.copies.config import CentralConfig
from commands.copies.room import Room
from commands.copies.source import HostDump, Stamp, Unreadable, Vanished
from commands.copies.transfer import Flow, PartSink, judge, manifest, paced, read_back, standing
from commands.hosts import crashdump
from commands.hosts.crashdump import size_words
from commands.hosts.visits import Visit
from commands.incident import thread
from integrations.kernel.completeness import Completeness
from integrations.stores import Pace, Part, Shelf
from integrations.stores.central import part_name
from storage import CopyState, DumpCopy, DumpState, Panic, panic_ref

if TYPE_CHECKING:
    from commands.context import Context

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Until then a panic's dump may still come: kdump saves it, the host boots, and only then can it be seen.
_STILL_COMING = timedelta(minutes=15)
_LOOK_AGAIN = 20.0  # seconds
_TRIES = 5  # of a dump that its host cannot read


class Later(Exception):
    """Not now: come again after `seconds`. `waited`: it is nobody's failure and counts against no patience; `tries`:
    how often in a row it may be said."""

    def __init__(
        self, reason: str, seconds: float, *, waited: bool = False, tries: int | None = None
    ) -> None:
        super().__init__(reason)
        self.seconds = seconds
        self.waited = waited
        self.tries = tries


class Lost(Exception):
    """There is no copying this dump."""


class Halted(Exception):
    """Paused or cancelled, or the bot is stopping."""


@dataclass
class Carrier:
    """Carries one copy over one connection to one shelf, in the bot's loop; what blocks runs in `threads`."""

    context: Context
    config: CentralConfig
    threads: Executor
    pace: Pace
    copy_id: int
    flow: Flow
    visit: Visit
    room: Room
    settle: float  # seconds after which a dump that is being written would look otherwise

    async def locate(self, panic: Panic) -> tuple[HostDump, Stamp]:
        """The panic's dump on its host, and that it is not being written any more. Raises Later, Lost, SshError."""
        report = await crashdump.examine(self.visit, panic)
        await self._learn(panic, report)
        if report.elsewhere is not None:
            raise Lost(str(rows.InCentralDirectory(panic, report.elsewhere.path)))
        if report.problem is not None:
            raise Lost(f"{report.problem}. `panicroom host-setup --check` says what the host lacks.")
        if report.gone is not None:
            raise Lost(f"{report.gone}.")
        file = report.chosen.dump if report.chosen is not None else None
        now = self.context.clock()
        if file is None:
            known = await self.context.db.read(lambda s: s.get_one(DumpCopy, self.copy_id).source_path)
            if known is not None:
                raise Lost(f"the dump vanished midway: {known} is no longer in the crash directory.")
            if now - panic.occurred_at < _STILL_COMING:
                raise Later("the host is there, its dump is not (yet)", _LOOK_AGAIN, waited=True)
            raise Lost("the crash directory holds no dump of this panic.")
        source = HostDump(self.visit, file.path)
        try:
            before = await source.stat()
            await self._sleep(self.settle)
            stamp = await source.stat()
        except Vanished as error:
            raise Later(f"{error} It may have been renamed", _LOOK_AGAIN) from error
        except Unreadable as error:
            raise Lost(str(error)) from error
        if stamp != before:
            grown = stamp.size - before.size
            how = f"{size_words(grown)} in {self.settle:.0f} s" if grown > 0 else "it changes"
            told = f"the dump is still being written ({size_words(stamp.size)} so far, {how})"
            raise Later(told, _LOOK_AGAIN, waited=True)
        if stamp.size == 0:
            raise Lost("the dump has 0 bytes: kdump could not write it (was its disk full?).")
        return source, stamp

    async def send(self, source: HostDump, stamp: Stamp, shelf: Shelf) -> Stamp:
        """All parts that are missing in the store. Raises Later, Lost, Halted, SshError, StoreError."""
        copy = await self._begin(source, stamp, shelf)
        size, part_size = stamp.size, copy.part_size or self.config.part_size
        await self._blocking(shelf.make)
        parts = await self.context.db.read(lambda s: rows.parts_of(s, self.copy_id))
        count = await self._blocking(lambda: standing(shelf, parts))
        offset = sum(p.size for p in parts[:count])
        now = self.context.clock()
        if count < len(parts):
            await self.context.db.write(lambda s: rows.forget_parts(s, self.copy_id, count))
            log.info("copy.parts_missing", copy=self.copy_id, had=len(parts), stand=count)
        await self.room.free(await self._blocking(shelf.free), size - offset)
        await self.room.within_budget(self.copy_id)
        await self._change(
            state=CopyState.COPYING,
            bytes_done=offset,
            started_at=copy.started_at or now,
            note="",
            next_try_at=None,
        )
        if offset < size:
            await self._stream(source, shelf, offset, size, part_size, count + 1)
        return await self._unchanged(source, stamp)

    async def check(self, source: HostDump, stamp: Stamp, shelf: Shelf, panic: Panic) -> None:
        """Read back, compared with the host, judged, and told in a manifest. Raises as `send` does."""
        copy = await self._change(state=CopyState.CHECKING, bytes_done=0, rate=None)
        part_size = copy.part_size or self.config.part_size
        parts = await self.context.db.read(lambda s: rows.parts_of(s, self.copy_id))
        self.flow.moved = 0
        if stamp.inode == "gone":
            here, there = await self._blocking(lambda: read_back(shelf, parts, self.flow)), None
        else:
            here, there = await self._both_sides(source, shelf, parts)
        if here is None:
            raise Halted
        bad, sha256 = here
        if bad:
            await self.context.db.write(lambda s: rows.forget_parts(s, self.copy_id, bad[0] - 1))
            shown = ", ".join(map(str, bad[:5]))
            raise Later(
                f"part {shown} does not read back from the store as it was sent; it is sent again", 1.0
            )
        if there is not None and there != sha256:
            await self._unchanged(source, stamp)
            await self.context.db.write(lambda s: rows.forget_parts(s, self.copy_id))
            raise Later(
                "the host reads its dump otherwise than it sent it; it is sent again", 5.0, tries=_TRIES
            )
        found = await self._blocking(
            lambda: judge(shelf, posixpath.basename(source.path), stamp.size, part_size)
        )
        if stamp.inode == "gone" and found.state != "complete":
            raise Lost(
                f"the dump was removed from the host before its sha256 could be compared there, and what was copied "
                f"is not known to be whole ({found.reason}). The parts stay in the store."
            )
        about = self._about(panic, source, stamp, found, compared=there is not None)
        name = posixpath.basename(source.path)
        made = manifest(
            name=name, sha256=sha256, size=stamp.size, part_size=part_size, parts=parts, names=part_name, about=about
        )  # fmt: skip
        body = (json.dumps(made, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        await self._blocking(lambda: shelf.write_manifest(body))
        await self._verified(panic, stamp, found, sha256, compared=there is not None)

    # -- stages -------------------------------------------------------------------------------------------

    async def _begin(self, source: HostDump, stamp: Stamp, shelf: Shelf) -> DumpCopy:
        """The row says what is copied; a dump that is another one than it was begins anew."""

        def write(session: Any) -> DumpCopy:
            copy: DumpCopy = session.get_one(DumpCopy, self.copy_id)
            same = (copy.source_path, copy.source_stamp, copy.size) == (source.path, str(stamp), stamp.size)
            if not same or copy.place != shelf.url:
                rows.forget_parts(session, self.copy_id)
                copy.part_size = self.config.part_size
                copy.source_path, copy.source_stamp, copy.size = source.path, str(stamp), stamp.size
                copy.place, copy.bytes_done, copy.started_at = shelf.url, 0, None
                session.add(copy)
            return copy

        return await self.context.db.write(write)

    async def _stream(
        self, source: HostDump, shelf: Shelf, offset: int, size: int, part_size: int, first: int
    ) -> None:
        loop = asyncio.get_running_loop()

        def on_part(part: Part) -> None:
            """In the sink's thread: the row is committed before the next part begins."""
            work = self.context.db.write(lambda s: self._part_stands(s, part))
            asyncio.run_coroutine_threadsafe(work, loop).result(60)

        def audit(command: str, outcome: str, detail: str) -> None:
            work = self.visit.visits.audit(self.visit, command, outcome, detail)
            asyncio.run_coroutine_threadsafe(work, loop).result(60)

        def pump() -> bool:
            sink = PartSink(shelf, part_size, first, on_part, self.flow)
            try:
                take = paced(sink.take, self.pace, self.flow)
                whole = source.stream(
                    offset, size - offset, take, stop=lambda: self.flow.stopped, audit=audit
                )
                if whole:
                    sink.finish()
                return whole
            finally:
                sink.close()

        self.flow.base, self.flow.moved = offset, 0
        try:
            whole = await self._blocking(pump)
        except Vanished as error:
            # dd's own status for a disk that cannot be read is the helper's for a file that is not there.
            if await self._is_there(source):
                raise Later("the host cannot read its dump to the end", _LOOK_AGAIN, tries=_TRIES) from error
            raise Lost(f"the dump vanished midway: {error} {await self._kept(shelf)}") from error
        except Unreadable as error:
            raise Later(str(error), _LOOK_AGAIN, tries=_TRIES) from error
        if not whole or self.flow.stopped:
            raise Halted

    def _part_stands(self, session: Any, part: Part) -> None:
        rows.keep_part(session, self.copy_id, part)
        copy = session.get_one(DumpCopy, self.copy_id)
        copy.attempts = 0
        copy.give_up_at = self.context.clock() + timedelta(seconds=self.config.patience.give_up_after)
        session.add(copy)

    async def _unchanged(self, source: HostDump, stamp: Stamp) -> Stamp:
        """The same file as before. One that is gone only now has given all its bytes."""
        parts = await self.context.db.read(lambda s: rows.parts_of(s, self.copy_id))
        came = sum(p.size for p in parts)
        try:
            now = await source.stat()
        except Vanished as error:
            if came == stamp.size:
                return Stamp(stamp.size, stamp.mtime, "gone")
            raise Lost(f"the dump vanished midway: {error} {came} of {stamp.size} bytes came.") from error
        except Unreadable as error:
            raise Later(str(error), _LOOK_AGAIN, tries=_TRIES) from error
        if now != stamp:
            raise Later("the dump changed on the host while it was copied; it is copied anew", _LOOK_AGAIN)
        if came != stamp.size:
            raise Later(f"{came} of {stamp.size} bytes came; the rest is asked for again", 1.0)
        return now

    async def _both_sides(
        self, source: HostDump, shelf: Shelf, parts: list[Part]
    ) -> tuple[tuple[list[int], str] | None, str | None]:
        """The store reads back while the host hashes. When one fails, the other has ended before that is told."""
        reading = asyncio.create_task(self._blocking(lambda: read_back(shelf, parts, self.flow)))
        hashing = asyncio.create_task(self._remote_sha256(source))
        try:
            return await asyncio.gather(reading, hashing)
        except BaseException:
            self.flow.halt.set()
            hashing.cancel()
            await asyncio.gather(reading, hashing, return_exceptions=True)
            raise

    async def _remote_sha256(self, source: HostDump) -> str | None:
        try:
            return await source.sha256()
        except Vanished:
            log.warning("copy.vanished_at_the_end", copy=self.copy_id, path=source.path)
            return None
        except Unreadable as error:
            raise Later(str(error), _LOOK_AGAIN, tries=_TRIES) from error

    async def _is_there(self, source: HostDump) -> bool:
        try:
            await source.stat()
        except Vanished:
            return False
        except Unreadable as error:
            raise Later(str(error), _LOOK_AGAIN, tries=_TRIES) from error
        return True

    async def _kept(self, shelf: Shelf) -> str:
        parts = await self.context.db.read(lambda s: rows.parts_of(s, self.copy_id))
        return f"{len(parts)} parts that had come stay in {shelf.url}."

    def _about(
        self, panic: Panic, source: HostDump, stamp: Stamp, found: Completeness, *, compared: bool
    ) -> dict[str, object]:
        return {
            "panic": panic_ref(panic.id),
            "host": panic.host,
            "kernel": panic.kernel,
            "occurred_at": panic.occurred_at.isoformat(),
            "source": source.path,
            "source_mtime": stamp.mtime,
            "copied_at": self.context.clock().isoformat(),
            "sha256_compared_on_host": compared,
            "dump": {"state": found.state, "format": found.format, "reason": found.reason},
        }

    async def _verified(
        self, panic: Panic, stamp: Stamp, found: Completeness, sha256: str, *, compared: bool
    ) -> None:
        now = self.context.clock()
        notes = [f"{found.state}: {found.reason}"]
        if stamp.inode == "gone":
            notes.append("removed from the host once all of it had come")
        elif not compared:
            notes.append("its sha256 was not compared on the host, whose helper is an older one")

        def write(session: Any) -> None:
            ended = rows.end(
                session, self.copy_id, CopyState.VERIFIED, now,
                sha256=sha256, verified_at=now, dump_state=DumpState(found.state),
                bytes_done=stamp.size, note="; ".join(notes)[:1000], error=None,
            )  # fmt: skip
            if ended is None:
                raise Halted
            row = session.get_one(Panic, panic.id)
            if row.dump_state is DumpState.UNVERIFIED and found.state != "unverified":
                # The host's own look could not tell; the bytes that were copied do.
                row.dump_state, row.dump_note = (
                    DumpState(found.state),
                    f"{found.reason} (read in its copy)"[:300],
                )
                session.add(row)

        await self.context.db.write(write)
        self.context.wake()

    async def _learn(self, panic: Panic, report: crashdump.DumpReport) -> None:
        """What the look at the host said of the dump stands in the panic, as after triage."""
        columns = crashdump.panic_columns(report)

        def write(session: Any) -> None:
            row = session.get_one(Panic, panic.id)
            for name, value in columns.items():
                setattr(row, name, value)
            session.add(row)
            if row.incident_id is not None and columns:
                thread.touch(session, row.incident_id)

        await self.context.db.write(write)
        self.context.wake()

    # -- below --------------------------------------------------------------------------------------------

    async def _change(self, **values: Any) -> DumpCopy:
        """Raises Halted when the copy was paused or ended meanwhile."""

        def write(session: Any) -> DumpCopy:
            copy = session.get_one(DumpCopy, self.copy_id)
            if copy.state in rows.ENDED or copy.paused:
                raise Halted
            changed = rows.change(session, self.copy_id, **values)
            rows.touch(session, changed)
            return changed

        changed = await self.context.db.write(write)
        self.context.wake()
        return changed

    async def _sleep(self, seconds: float) -> None:
        """Ends at once when halted."""
        await self._blocking(lambda: self.flow.halt.wait(seconds))
        if self.flow.stopped:
            raise Halted

    async def _blocking(self, work: Callable[[], T]) -> T:
        """In a thread. A cancelled caller halts the thread and waits until it is out of the store."""
        future = asyncio.get_running_loop().run_in_executor(self.threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self.flow.halt.set()
            self.visit.session.close()
            await asyncio.wait([future], timeout=10)
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise
