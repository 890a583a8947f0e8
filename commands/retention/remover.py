"""The hands of a sweep: one copy removed from central, the dumps of one host removed there.

Each item is claimed in a transaction that looks once more at what keeps it; from then on the removal is finished,
by whichever process. What was done is a row and an audit entry with the bytes freed; a crash between the two leaves
something that is done again, and found gone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from sqlmodel import Session, col, delete, select

from commands.context import Context
from commands.hosts.crashdump import size_words
from commands.hosts.visits import Visit, Visits
from commands.incident import thread
from commands.retention import ledger
from commands.retention.items import CENTRAL, Clock, Reason
from commands.retention.kdump import CONFIGS, read_keeps
from commands.retention.scrub import Verdict
from integrations.slack.text import code
from integrations.ssh import SshError
from integrations.stores import CentralStore, StoreError
from storage import (
    AuditEntry,
    CopyCare,
    CopyState,
    DumpCopy,
    DumpPart,
    HostKeeps,
    ItemState,
    Panic,
    RetentionItem,
    RetentionRun,
    panic_ref,
)

log = structlog.get_logger(__name__)
T = TypeVar("T")

_SECONDS = 120.0  # to unlink a file of terabytes
_STAT = re.compile(r"(\d{1,18})\t(\d{1,20})(?:\.\d+)?\t(\d{1,20})\n?")
_ANSWER = re.compile(r"(deleted|gone)\t(\d{1,20})\t([^\t\n]+)\n?")
_NAME = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_@+,=:~%.-]{1,255}"
_PATH = re.compile(f"{_NAME}/{_NAME}")
_NO_SUCH_FILE = 1
_LATELY = timedelta(days=1)
_ENDED = (ItemState.REMOVED, ItemState.GONE)


@dataclass(frozen=True)
class Done:
    """What came of one item."""

    state: ItemState
    freed: int = 0
    note: str = ""


class Remover:
    """`threads` is where the store's blocking work runs."""

    def __init__(
        self, context: Context, visits: Visits, store: CentralStore | None, threads: Executor
    ) -> None:
        self.context = context
        self.visits = visits
        self.store = store
        self.threads = threads
        self.read_back: Callable[[int, str], Awaitable[Verdict | None]] | None = None  # of a copy, whole
        self.clock = Clock(False, "it was not looked at yet")  # as the desk judges it

    # -- central ------------------------------------------------------------------------------------------

    async def central(self, run: RetentionRun, item: RetentionItem) -> Done:
        """One copy: claimed, removed, told. Never raises for what the store does."""
        claimed = await self.context.db.write(lambda s: self._claim(s, item, self.context.clock()))
        if claimed is not None:
            return await self._end(run, item, claimed)
        try:
            freed = await self._blocking(lambda: self._remove(item.path.rstrip("/").rpartition("/")[2]))
        except StoreError as error:
            return await self._end(run, item, Done(ItemState.FAILED, 0, str(error)))
        return await self._end(run, item, Done(ItemState.REMOVED if freed else ItemState.GONE, freed))

    def _remove(self, folder: str) -> int:
        """Bytes of the parts that stood there. Raises a StoreError."""
        assert self.store is not None
        with self.store.open(folder) as shelf:
            freed = sum(shelf.sizes().values())
            shelf.remove()
        return freed

    # -- on a host ------------------------------------------------------------------------------------------

    async def on_host(self, run: RetentionRun, items: Sequence[RetentionItem]) -> list[Done]:
        """The dumps of one host, over one connection; a host that does not answer keeps them all until the next
        sweep."""
        panic = await self.context.db.read(lambda s: s.get_one(Panic, items[0].panic_id))
        host = self.visits.host_of(panic)
        try:
            session = await self.visits.ssh.open(host)
        except SshError as error:
            return [await self._end(run, item, Done(ItemState.FAILED, 0, str(error))) for item in items]
        try:
            made = []
            for item in items:
                visit = Visit(0, item.panic_id, "retention", run.asked_by, host, session, self.visits)
                made.append(await self._one(run, item, visit))
            await self._learn(
                Visit(0, items[0].panic_id, "retention", run.asked_by, host, session, self.visits)
            )
            return made
        finally:
            session.close()

    async def _one(self, run: RetentionRun, item: RetentionItem, visit: Visit) -> Done:
        claimed = await self.context.db.write(lambda s: self._claim(s, item, self.context.clock()))
        if claimed is not None:
            return await self._end(run, item, claimed)
        try:
            missing = await self._lacking(item, run) if item.rests_on is not None else None
            done = missing or await self._delete(item, visit)
        except (SshError, StoreError) as error:
            done = Done(ItemState.FAILED, 0, str(error))
        return await self._end(run, item, done)

    async def _delete(self, item: RetentionItem, visit: Visit) -> Done:
        """The very file that the bot recorded, by the one command that deletes. Raises an SshError."""
        mtime, _, inode = item.stamp.partition("/")
        if _PATH.fullmatch(item.path) is None or not (mtime.isdigit() and inode.isdigit()):
            return Done(ItemState.REFUSED, 0, "its path or its stamp is not as the helper gives them")
        looked = await visit.help("stat", item.path)
        found = _STAT.fullmatch(looked.text)
        if looked.exit_status != _NO_SUCH_FILE:
            if not looked.ok or found is None:
                said = f"{looked.outcome}: {_said(looked.stderr)}"
                return Done(ItemState.FAILED, 0, f"the helper could not look at it ({said})")
            if (int(found[1]), int(found[2]), int(found[3])) != (item.size, int(mtime), int(inode)):
                return Done(ItemState.REFUSED, 0, "another file than the one that was copied is there")
        # Where `stat` finds none it is gone, or a link by now: the command that deletes tells which.
        *prefix, helper = self.visits.ssh.config.helper
        argv = (*prefix, f"{helper}-delete", item.path, str(item.size), mtime, inode)
        done = await visit.run(argv, timeout=_SECONDS, cap=4096)
        answer = _ANSWER.fullmatch(done.text)
        if done.ok and answer is not None and answer[3] == item.path:
            state = ItemState.REMOVED if answer[1] == "deleted" else ItemState.GONE
            return Done(state, int(answer[2]))
        said = _said(done.stderr) or done.outcome
        if done.exit_status in (1, 64, 127):
            return Done(ItemState.REFUSED, 0, f"the host refused: {said}")
        return Done(ItemState.FAILED, 0, f"it could not be deleted: {said}")

    async def _lacking(self, item: RetentionItem, run: RetentionRun) -> Done | None:
        """The copy that a deletion rests on is read back whole first, unless that was done lately; None: it is whole.
        Raises a StoreError."""
        copy, care = await self.context.db.read(
            lambda s: (s.get_one(DumpCopy, item.rests_on), s.get(CopyCare, item.rests_on))
        )
        known = [
            at for at in (copy.verified_at, care.checked_at if care is not None else None) if at is not None
        ]
        if known and abs(self.context.clock() - max(known)) <= _LATELY:
            missing = await self._blocking(lambda: self._lacks(item))
            return (
                None
                if missing is None
                else Done(ItemState.KEPT, 0, f"kept: its copy is not whole: {missing}")
            )
        verdict = await self.read_back(copy.id or 0, run.asked_by) if self.read_back is not None else None
        if verdict is None or verdict.unread is not None:
            why = verdict.unread if verdict is not None else "stopped"
            return Done(ItemState.FAILED, 0, f"its copy could not be read back: {why}")
        return (
            None
            if verdict.problem is None
            else Done(ItemState.KEPT, 0, f"kept: its copy is damaged: {verdict.problem}")
        )

    def _lacks(self, item: RetentionItem) -> str | None:
        """What the copy that a deletion rests on lacks in the store, by the sizes of its parts. Raises a StoreError."""
        copy, sizes = self.context.db.read_now(
            lambda s: (
                s.get_one(DumpCopy, item.rests_on),
                dict(
                    s.exec(
                        select(DumpPart.number, DumpPart.size).where(DumpPart.copy_id == item.rests_on)
                    ).all()
                ),
            )
        )
        assert self.store is not None
        with self.store.open((copy.place or "").rstrip("/").rpartition("/")[2]) as shelf:
            stand = shelf.sizes()
        bad = sorted(number for number, size in sizes.items() if stand.get(number) != size)
        if bad or not sizes:
            return f"part {bad[0]} is not there as it was written" if bad else "it has no parts"
        return None

    async def _learn(self, visit: Visit) -> None:
        """How many dumps the host's own kdump keeps: it may remove what the policy wants kept."""
        try:
            done = await visit.run(("cat", *CONFIGS), timeout=10, cap=65536)
        except SshError as error:
            log.info("retention.kdump_not_read", host=visit.host.name, error=str(error))
            return
        keeps, now = read_keeps(done.text), self.context.clock()

        def write(session: Session) -> None:
            row = session.get(HostKeeps, visit.host.name) or HostKeeps(host=visit.host.name)
            row.setting, row.value, row.read_at = keeps.setting, keeps.value, now
            session.add(row)

        await self.context.db.write(write)

    # -- rows -----------------------------------------------------------------------------------------------

    def _claim(self, session: Session, item: RetentionItem, now: datetime) -> Done | None:
        """None: it is ours to remove. Otherwise why not."""
        session.exec(select(Panic.id).where(Panic.id == item.panic_id).with_for_update()).one()
        row = session.get_one(RetentionItem, item.id)
        if row.state is ItemState.WORKING:
            return None  # a process died over it: done again, it is found gone
        panic = session.get_one(Panic, item.panic_id)
        copy = session.get(DumpCopy, item.key if item.place == CENTRAL else item.copy_id)
        begun = item.place == CENTRAL and copy is not None and copy.state is CopyState.REMOVED
        if not begun:
            guard = ledger.guards_of(session, [panic])[panic.id or 0]
            kept = guard.keeps(now, self.clock) or _rest_missing(session, item, copy)
            if kept is not None:
                return Done(ItemState.KEPT, 0, f"kept: {kept}")
        row.state = ItemState.WORKING
        session.add(row)
        if item.place == CENTRAL and copy is not None and not begun:
            copy.state, copy.error = CopyState.REMOVED, item.why
            care = ledger.care_of(session, copy.id or 0)
            care.begun_at, care.begun_for = now, item.reason
            session.add(copy)
            _redraw(session, panic, copy)
        return None

    async def _end(self, run: RetentionRun, item: RetentionItem, done: Done) -> Done:
        now = self.context.clock()

        def write(session: Session) -> Done:
            row = session.get_one(RetentionItem, item.id)
            if row.state not in (ItemState.WAITING, ItemState.WORKING):
                return Done(row.state, row.freed, row.note)
            row.state, row.freed, row.note, row.done_at = done.state, done.freed, done.note[:1000], now
            session.add(row)
            session.add(
                AuditEntry(
                    at=now,
                    actor=run.asked_by,
                    verb=f"retention.{item.place}",
                    subject=f"{panic_ref(item.panic_id)} {item.host}: {item.path}"[:300],
                    outcome=done.state.value,
                    detail=f"{done.freed} bytes freed; {item.why}" + (f"; {done.note}" if done.note else ""),
                )
            )
            if done.state in _ENDED:
                _mark(session, row, now)
            return done

        ended = await self.context.db.write(write)
        self.context.wake()
        log.info(
            "retention.item",
            place=item.place,
            panic=panic_ref(item.panic_id),
            state=ended.state.value,
            freed=ended.freed,
        )
        return ended

    async def _blocking(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)


def _rest_missing(session: Session, item: RetentionItem, copy: DumpCopy | None) -> str | None:
    """Whether what made the removal right is no longer so."""
    if item.rests_on is not None:
        rest = session.get(DumpCopy, item.rests_on)
        if rest is None or rest.state is not CopyState.VERIFIED:
            return "the copy that it rests on does not count any more"
    elif item.place != CENTRAL:
        care = session.get(CopyCare, item.copy_id) if item.copy_id is not None else None
        if care is None or care.begun_for != Reason.AGE.value:
            return "no verified copy of it is in central"
    if item.place == CENTRAL and (copy is None or (copy.place, copy.state.value) != (item.path, item.stamp)):
        return "the copy is not what it was when the sweep was planned"
    return None


def _mark(session: Session, item: RetentionItem, now: datetime) -> None:
    """The item is gone: its copy's or its panic's rows say so."""
    panic = session.get_one(Panic, item.panic_id)
    copy = session.get(DumpCopy, item.key if item.place == CENTRAL else item.copy_id)
    if copy is not None:
        care = ledger.care_of(session, copy.id or 0)
        if item.place == CENTRAL:
            care.removed_at, care.freed = now, item.freed
            session.exec(delete(DumpPart).where(col(DumpPart.copy_id) == copy.id))
        else:
            care.local_gone_at, care.local_freed = now, item.freed
        _redraw(session, panic, copy)
    where = "central" if item.place == CENTRAL else panic.host
    if item.place != CENTRAL:
        panic.dump_note = "removed from the host by retention: its copy was verified"
        session.add(panic)
    if panic.incident_id is not None:
        said = (
            f"dump of {panic_ref(panic.id)} removed from {code(where)} ({size_words(item.freed)}): {item.why}"
        )
        thread.note(session, panic.incident_id, "retention", said, panic_id=panic.id, at=now)


def _redraw(session: Session, panic: Panic, copy: DumpCopy) -> None:
    thread.redraw(session, f"copy:{copy.id}")
    if panic.incident_id is not None:
        thread.touch(session, panic.incident_id)


def _said(raw: bytes) -> str:
    return " ".join(raw.decode("utf-8", "replace").replace("\x00", "").split())[:300]
