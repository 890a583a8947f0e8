"""Copies of dumps as durable workflows: one a panic, a few at a time, resumed at a part, paused and cancelled.

A turn is one try to carry a copy to its end. What it has achieved stands in rows (`DumpCopy`, `DumpPart`) and in the
store; so a turn that a crash broke off is simply taken again, and goes on at the first part that is missing.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

import structlog
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID
from dbos._error import DBOSException
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from commands.copies import rows
from commands.copies.carrier import Carrier, Halted, Later, Lost
from commands.copies.config import CentralConfig
from commands.copies.progress import TELL_EVERY, Progress
from commands.copies.room import Room
from commands.copies.slots import Slots
from commands.copies.transfer import Flow
from commands.errors import Impossible
from commands.hosts import runs
from commands.hosts.visits import Visit, Visits
from integrations.ssh import AuthRefused, SshError
from integrations.stores import CentralStore, Pace, StoreError
from storage import CopyState, DumpCopy, Panic, panic_ref
from storage.copies import UNDER_WAY
from storage.requests import once

if TYPE_CHECKING:
    from commands.context import Context

log = structlog.get_logger(__name__)

BOT = "panicroom"  # who asks where nobody did
_LOOK_BACK, _SETTLE = timedelta(days=1), 3.0
_OVER = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


class NoStore(Impossible):
    """No central store is set up, so no dump can be copied. An admin of Panicroom can set one (`[central] url`)."""


class Turn(TypedDict):
    """What came of a turn: `again` after `seconds`, or `stop`."""

    said: str
    seconds: float


@DBOS.dbos_class("CopyDesk")
class CopyDesk(DBOSConfiguredInstance):
    """Copies dumps to the central store. `name` is what its workflows are recovered by: the same at every start.

    `collect` begins an evidence bundle `(panic_id, asked_by, request_key)`: critical hosts get one with their copy.
    """

    def __init__(
        self,
        context: Context,
        visits: Visits,
        store: CentralStore | None,
        config: CentralConfig | None = None,
        *,
        collect: Callable[[int, str, str], Awaitable[Any]] | None = None,
        settle: float = _SETTLE,
        tell_every: float = TELL_EVERY,
        name: str = "copies",
    ) -> None:
        super().__init__(name)
        self.context = context
        self.visits = visits
        self.store = store
        self.config = config or CentralConfig()
        self.room = Room(context, self.config)
        self.collect = collect
        self.settle = settle
        self.tell_every = tell_every
        self.on_verified: list[Callable[[int], Awaitable[None]]] = []  # `await hook(panic_id)`
        self._pace = Pace(self.config.bandwidth)
        # Each copy at work holds a thread for its stream or its reading back.
        self._threads = ThreadPoolExecutor(self.config.concurrency * 2 + 2, thread_name_prefix="copy")
        self._slots = Slots(self.config.concurrency)
        self._background: set[asyncio.Task[Any]] = set()

    # -- asking -------------------------------------------------------------------------------------------

    async def begin(self, panic_id: int, asked_by: str, request_key: str) -> DumpCopy:
        """Begin a copy. The same request finds its own.

        Raises NoStore, UnderWayAlready, CopiedAlready, InCentralDirectory.
        """
        if self.store is None:
            raise NoStore
        now = self.context.clock()

        def write(session: Session) -> tuple[DumpCopy | rows.UnderWayAlready, bool]:
            try:
                return rows.begin(
                    session,
                    panic=session.get_one(Panic, panic_id),
                    asked_by=asked_by,
                    request_key=request_key,
                    patience=self.config.patience,
                    now=now,
                )
            except rows.UnderWayAlready as already:
                return already, False  # not raised in here: who asked, too, is to be committed

        try:
            copy, start = await self.context.db.write(write)
        except IntegrityError:
            # Another replica began one between our look and our commit.
            copy, start = await self.context.db.write(write)
        self.context.wake()
        if isinstance(copy, rows.UnderWayAlready):
            raise copy
        if start:
            await self._start(copy)
        return copy

    async def pause(self, panic_id: int, by: str, request_id: str = "") -> DumpCopy:
        """Raises NotFound, Impossible. What is on its way of the present part is sent again later."""
        copy = await self._act(request_id, panic_id, lambda s, now: rows.pause(s, panic_id, by, now))
        self._slots.halt(copy.id or 0)
        return copy

    async def unpause(self, panic_id: int, by: str, request_id: str = "") -> DumpCopy:
        """Raises NotFound, Impossible."""
        patience = self.config.patience
        copy = await self._act(
            request_id, panic_id, lambda s, now: rows.unpause(s, panic_id, by, patience, now)
        )
        if copy.state in UNDER_WAY and not copy.paused:
            await self._start(copy)
        return copy

    async def cancel(self, panic_id: int, by: str, request_id: str = "") -> DumpCopy:
        """Raises NotFound. The parts that had come are removed from the store."""
        copy = await self._act(request_id, panic_id, lambda s, now: rows.cancel(s, panic_id, by, now))
        self._slots.halt(copy.id or 0)
        if copy.place is not None:
            self._in_background(self._discard(copy.id or 0))
        return copy

    async def on_panic(self, panic_id: int) -> None:
        """Hook for `Context.on_panic`: a critical host's dump is copied without anybody asking."""
        if self.store is None or not self.config.critical:
            return
        panic = await self.context.db.read(lambda s: s.get(Panic, panic_id))
        if panic is None or panic.criticality != "critical" or panic.incident_id is None:
            return
        try:
            await self.begin(panic_id, BOT, f"critical:{panic_id}")
        except (rows.UnderWayAlready, rows.CopiedAlready) as already:
            log.info("copy.not_needed", panic=panic_ref(panic_id), reason=str(already))
        except rows.InCentralDirectory as there:
            log.info("copy.not_needed", panic=panic_ref(panic_id), reason=str(there))
            if self.collect is not None:  # its bundle is wanted all the same
                self._in_background(self._collect(self.collect, panic_id))

    async def resume(self) -> int:
        """At start: what is under way has its workflow, and no critical host of the last day was forgotten.

        Returns how many copies are under way. For rows that were committed just before a crash.
        """
        if self.store is None:
            return 0
        active = [c for c in await self.context.db.read(rows.under_way) if not c.paused]
        for copy in active:
            handle = await self._start(copy)
            status = (await handle.get_status()).status
            if status == "SUCCESS":  # it had ended for a pause that is over
                following, copy_id = rows.next_workflow(copy), copy.id or 0
                fresh = await self.context.db.write(
                    partial(rows.change, copy_id=copy_id, workflow_id=following)
                )
                await self._start(fresh)
            elif status in _OVER:
                log.error("copy.orphaned", copy=copy.id, workflow=copy.workflow_id, status=status)
                await self._fail(copy.id or 0, "it broke off inside Panicroom; see the log")
        since = self.context.clock() - _LOOK_BACK
        for panic_id in await self.context.db.read(lambda s: rows.worth_a_copy(s, since)):
            await self.on_panic(panic_id)
        return len(active)

    async def close(self) -> None:
        """At the bot's end, after the workflows: nothing writes to the store any more."""
        self._slots.halt_all()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- the workflow -------------------------------------------------------------------------------------

    @DBOS.workflow(name="copies.run")
    async def run(self, copy_id: int, workflow_id: str) -> str:
        try:
            while True:
                turn: Turn = await DBOS.run_step_async(
                    {"name": "copies.turn"}, self._turn, copy_id, workflow_id
                )
                if turn["said"] != "again":
                    return turn["said"]
                await DBOS.sleep_async(turn["seconds"])
        except DBOSException:
            raise
        except Exception as error:
            log.exception("copy.failed", copy=copy_id)
            await self._fail(
                copy_id, f"it failed inside Panicroom ({type(error).__name__}); it is in the log"
            )
            raise

    async def _turn(self, copy_id: int, workflow_id: str) -> Turn:
        """One try. Its outcome is in the copy's row before it is told to the workflow."""
        try:
            async with self._slots.take(
                copy_id,
                lambda: self._still_wanted(copy_id, workflow_id),
                lambda ahead: self._note(copy_id, f"waits for its turn: {ahead} before it"),
            ) as flow:
                await self._carry(copy_id, flow)
            await self._tell_verified(copy_id)
        except Halted:
            return {"said": "stop", "seconds": 0}
        except Lost as lost:
            await self._fail(copy_id, str(lost))
        except Later as later:
            return await self._again(copy_id, later)
        except (SshError, StoreError) as error:
            # A host that has just booted refuses everyone but root for a while.
            booting = isinstance(error, AuthRefused) and await self._may_be_booting(copy_id)
            if error.permanent and not booting:
                await self._fail(copy_id, str(error))
            else:
                return await self._again(copy_id, Later(str(error), 0))
        return {"said": "stop", "seconds": 0}

    async def _carry(self, copy_id: int, flow: Flow) -> None:
        copy, panic = await self.context.db.read(
            lambda s: ((c := s.get_one(DumpCopy, copy_id)), s.get_one(Panic, c.panic_id))
        )
        assert self.store is not None
        store, host = self.store, self.visits.host_of(panic)
        session = await self.visits.ssh.open(host)
        visit = Visit(0, copy.panic_id, "copy", copy.asked_by, host, session, self.visits)
        carrier = Carrier(
            self.context, self.config, self._threads, self._pace, copy_id, flow, visit, self.room, self.settle
        )
        watch = asyncio.create_task(Progress(self.context, copy_id, flow, self.tell_every).run())
        try:
            source, stamp = await carrier.locate(panic)
            self._bundle_too(copy)
            shelves = store.open(rows.folder_of(copy))
            shelf = await asyncio.get_running_loop().run_in_executor(self._threads, shelves.__enter__)
            try:
                stamp = await carrier.send(source, stamp, shelf)
                await carrier.check(source, stamp, shelf, panic)
            finally:
                shelf.close()
        except (SshError, StoreError, Later) as error:
            if flow.stopped:
                raise Halted from error
            raise
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            session.close()

    async def _still_wanted(self, copy_id: int, workflow_id: str) -> None:
        copy = await self.context.db.read(lambda s: s.get_one(DumpCopy, copy_id))
        if copy.state not in UNDER_WAY or copy.paused or copy.workflow_id != workflow_id:
            raise Halted

    async def _may_be_booting(self, copy_id: int) -> bool:
        copy = await self.context.db.read(lambda s: s.get_one(DumpCopy, copy_id))
        return copy.attempts < self.config.patience.refusals

    async def _again(self, copy_id: int, later: Later) -> Turn:
        """Come again later, or give up where nothing was achieved for too long."""
        now, patience, waited = self.context.clock(), self.config.patience, later.waited

        def write(session: Session) -> tuple[str, float]:
            copy = session.get_one(DumpCopy, copy_id)
            if copy.state not in UNDER_WAY or copy.paused:
                return "stop", 0
            attempts = copy.attempts + (not waited)
            wait = max(later.seconds, 0 if waited else patience.wait_after(attempts))
            give_up_at = copy.give_up_at or now
            if waited and copy.state is not CopyState.WAITING:
                give_up_at = now + timedelta(seconds=patience.give_up_after)
            if now >= give_up_at or (later.tries is not None and attempts >= later.tries):
                return "lost", 0
            wait = min(wait, max((give_up_at - now).total_seconds(), 0.01))
            rows.change(
                session, copy_id, state=CopyState.WAITING, note=str(later)[:1000], attempts=attempts, rate=None,
                next_try_at=now + timedelta(seconds=wait), give_up_at=give_up_at,
            )  # fmt: skip
            rows.touch(session, copy)
            return "again", wait

        said, wait = await self.context.db.write(write)
        self.context.wake()
        if said == "lost":
            await self._fail(copy_id, f"given up: {later}")
            return {"said": "stop", "seconds": 0}
        return {"said": said, "seconds": wait}

    # -- below --------------------------------------------------------------------------------------------

    def _bundle_too(self, copy: DumpCopy) -> None:
        """A critical host is back: its bundle is collected beside the copy, once."""
        if copy.asked_by == BOT and self.collect is not None and copy.started_at is None:
            self._in_background(self._collect(self.collect, copy.panic_id))

    async def _collect(self, collect: Callable[[int, str, str], Awaitable[Any]], panic_id: int) -> None:
        try:
            await collect(panic_id, BOT, f"critical:{panic_id}")
        except runs.AlreadyRunning as already:
            log.info("copy.bundle_not_needed", panic=panic_ref(panic_id), reason=str(already))

    async def _tell_verified(self, copy_id: int) -> None:
        copy = await self.context.db.read(lambda s: s.get_one(DumpCopy, copy_id))
        for hook in self.on_verified:
            self._in_background(hook(copy.panic_id))

    async def _discard(self, copy_id: int) -> None:
        """What came of a cancelled copy is removed, as far as the store lets us."""
        await self._slots.left(copy_id)
        copy = await self.context.db.read(lambda s: s.get_one(DumpCopy, copy_id))
        assert self.store is not None
        store = self.store
        if copy.state is not CopyState.CANCELLED:
            return

        def remove() -> None:
            with store.open(rows.folder_of(copy)) as shelf:
                shelf.remove()

        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, remove)
        except StoreError as error:
            log.warning("copy.not_removed", copy=copy_id, place=copy.place, error=str(error))
            await self._note(copy_id, f"its parts could not be removed from {copy.place}: {error}")
            return
        await self.context.db.write(lambda s: rows.forget_parts(s, copy_id))

    def _in_background(self, work: Awaitable[Any]) -> None:
        """Outside of the workflow that it is asked for in: DBOS would take it for a part of that."""

        async def call() -> None:
            try:
                await work
            except Exception:
                log.exception("copy.beside_failed")

        task = asyncio.get_running_loop().create_task(call(), context=contextvars.Context())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _act(self, request_id: str, panic_id: int, act: Callable[[Session, Any], DumpCopy]) -> DumpCopy:
        """A request that is worked on again changes nothing more: it finds the copy as it is."""
        now = self.context.clock()

        def write(session: Session) -> DumpCopy:
            if not once(session, request_id):
                known = rows.latest(session, panic_id)
                if known is not None:
                    return known
            return act(session, now)

        copy = await self.context.db.write(write)
        self.context.wake()
        return copy

    async def _start(self, copy: DumpCopy) -> Any:
        with SetWorkflowID(copy.workflow_id):
            return await DBOS.start_workflow_async(self.run, copy.id or 0, copy.workflow_id)

    async def _note(self, copy_id: int, note: str) -> None:
        await self.context.db.write(lambda s: rows.change(s, copy_id, note=note[:1000]))
        self.context.wake()

    async def _fail(self, copy_id: int, reason: str) -> None:
        now = self.context.clock()
        await self.context.db.write(
            lambda s: rows.end(s, copy_id, CopyState.FAILED, now, error=reason[:1000], note="")
        )
        self.context.wake()
