"""The readiness desk: asks hosts by the clock, when told to, and after an incident, a few at a time.

The rows are the queue: a look that was interrupted is made again by the next process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlmodel import Session

from commands.context import Context
from commands.inventory import HostEntry
from commands.ready import ledger, telling
from commands.ready.config import ReadyConfig
from commands.ready.fleet import chosen, fleet_of, heard_of
from commands.ready.visitor import Visitor
from integrations.readiness import State
from storage import HostReadiness
from storage.requests import once

log = structlog.get_logger(__name__)

BY_CLOCK = "panicroom"
_FIRST_AFTER = timedelta(minutes=10)  # from the bot's start to its first look by the clock
_TICK = 30.0  # seconds between two looks at the clock


@dataclass(frozen=True)
class Board:
    """How the hosts that were asked for stand: `rows` worst first, `waiting` of them are still to be asked."""

    hosts: int
    rows: tuple[HostReadiness, ...]

    @property
    def waiting(self) -> int:
        return sum(row.wanted_at is not None for row in self.rows)


class ReadyDesk:
    """`run` for the process's life; `ask` and `board` for a person. The hooks are for counting."""

    def __init__(
        self,
        context: Context,
        visitor: Visitor,
        config: ReadyConfig,
        *,
        channel: str,
        by_clock: bool = True,
        tick: float = _TICK,
        first_after: timedelta = _FIRST_AFTER,
    ) -> None:
        self.context = context
        self.visitor = visitor
        self.config = config
        self.channel = channel  # the fleet's
        self.by_clock = by_clock
        self.tick = tick
        self._first_at = context.clock() + first_after
        self.on_look: Callable[[str], None] = lambda _state: None
        self.on_counts: Callable[[dict[str, int]], None] = lambda _counts: None
        self._event = asyncio.Event()

    # -- asking -----------------------------------------------------------------------------------------

    async def ask(self, words: Sequence[str], by: str, request_id: str) -> Board:
        """Have these hosts (all, without a word) asked, once a request. Raises BadArguments, NotFound."""
        hosts = await self._fleet()
        names = chosen(words, hosts)
        now = self.context.clock()

        def write(session: Session) -> Board:
            if once(session, request_id):
                ledger.want(session, hosts, names, now, by)
                session.flush()
            return Board(len(names), tuple(ledger.rows_of(session, names)))

        board = await self.context.db.write(write)
        self._event.set()
        return board

    async def board(self, words: Sequence[str]) -> Board:
        """How they stand; nobody is asked."""
        names = chosen(words, await self._fleet())
        return await self.context.db.read(lambda s: Board(len(names), tuple(ledger.rows_of(s, names))))

    async def counts(self) -> dict[str, int]:
        return await self.context.db.read(ledger.counts)

    async def _fleet(self) -> dict[str, HostEntry]:
        return fleet_of(self.context.inventory, await self.context.db.read(heard_of))

    # -- the clock --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        self.on_counts(await self.counts())
        while True:
            self._event.clear()
            await self._want_what_is_due()
            if await self._look_at_all():
                continue
            await self._tell()
            try:
                async with asyncio.timeout(self.tick):
                    await self._event.wait()
            except TimeoutError:
                continue

    async def _want_what_is_due(self) -> None:
        now = self.context.clock()
        if not self.config.enabled or not self.by_clock or now < self._first_at:
            return
        hosts = await self._fleet()

        def find(session: Session) -> set[str]:
            after = [host for host in ledger.resolved(session, now) if host in hosts]
            return {*ledger.due(session, hosts, now, self.config.every), *after}

        wanted = await self.context.db.read(find)
        if wanted:
            await self.context.db.write(lambda s: ledger.want(s, hosts, sorted(wanted), now, BY_CLOCK))
            log.info("ready.wanted", hosts=len(wanted))

    async def _look_at_all(self) -> int:
        """Every host that waits, at most `parallelism` at a time. Returns how many were asked."""
        hosts = await self._fleet()
        tasks: dict[str, asyncio.Task[None]] = {}
        asked = 0
        try:
            while True:
                for row in await self._next(self.config.parallelism - len(tasks), tuple(tasks)):
                    tasks[row.host] = asyncio.create_task(self._look(row, hosts.get(row.host)))
                    asked += 1
                if not tasks:
                    return asked
                await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
                for host in [host for host, task in tasks.items() if task.done()]:
                    tasks.pop(host).result()
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    async def _next(self, free: int, at_work: Sequence[str]) -> list[HostReadiness]:
        return await self.context.db.read(lambda s: ledger.waiting(s, free, at_work)) if free else []

    async def _look(self, row: HostReadiness, entry: HostEntry | None) -> None:
        what = await self.visitor.visit(row, entry)
        now = self.context.clock()
        state = await self.visitor.together.write(lambda s: ledger.looked(s, row.host, what, now))
        self.on_look("answered" if what.verdict is not None else "unanswered")
        if state != State.READY.value:
            log.debug("ready.looked", host=row.host, state=state, note=what.note)

    async def _tell(self) -> None:
        """When nobody waits any more: what became worse, in one message."""
        now = self.context.clock()
        if await self.context.db.read(ledger.untold):
            told = await self.context.db.write(lambda s: telling.tell(s, self.channel, now))
            self.context.wake()
            log.info("ready.told", hosts=told)
        self.on_counts(await self.counts())
