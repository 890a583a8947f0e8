"""This process's part among its likes: it leads, or it follows and takes in for the one that does."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable

import structlog
from sqlalchemy import Engine

from bot.metrics import Metrics
from bot.replicas.bell import Bell
from bot.replicas.config import ReplicasConfig
from bot.replicas.leadership import Leadership, end_process
from bot.version import VERSION
from storage import Database
from storage.lease import Fence, LeaseTable, is_replicated, session_name

log = structlog.get_logger(__name__)

_LOOKED_FOR = (
    "requests",
)  # nobody else looks for them; reports and messages are looked for by their own desks


class Replica:
    """On SQLite it leads from the start, without a lease: a file serves one process.

    `start(lead)` awaits `lead()` where the lease can be had at once; else it is awaited as soon as it can.
    """

    def __init__(
        self, url: str, config: ReplicasConfig, *, port: int, end: Callable[[str], None] = end_process
    ) -> None:
        self.url = url
        self.holder = secrets.token_hex(8)
        self.called = config.name or f"{socket.gethostname()}:{port}"
        self.leadership: Leadership | None = None
        self.bell: Bell | None = None
        self._end = end
        self._ears: dict[str, Callable[[], None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = False  # the work was taken up
        if not is_replicated(url):
            return
        self._fence = Fence(self.holder, lambda: end("another replica leads"))
        self.leadership = Leadership(
            LeaseTable(url, self.holder),
            self._fence,
            term=config.term.total_seconds(),
            called=self.called,
            version=VERSION,
            end=end,
        )

    @property
    def leads(self) -> bool:
        return self.leadership is None or self.leadership.leads

    @property
    def works(self) -> bool:
        """It leads, and has taken up what was to be done."""
        return self._ready

    @property
    def epoch(self) -> int:
        """0 where it does not lead, or needs no lease."""
        return (self.leadership.epoch or 0) if self.leadership is not None else 0

    @property
    def session(self) -> str | None:
        """The name of all its sessions at the server."""
        return session_name(self.holder) if self.leadership is not None else None

    def make_database(self) -> Database:
        db = Database(self.url, called=self.session)
        if self.leadership is not None:
            self._fence.guard(db.engine)
            self.bell = Bell(db)
        return db

    def guard_all(self, engine: Engine) -> None:
        """An engine of which every transaction may write."""
        if self.leadership is not None:
            self._fence.guard(engine, all_transactions=True)

    def prove(self) -> None:
        """Before an effect outside of the database; ends the process where it may be another's turn."""
        if self.leadership is not None:
            self.leadership.prove()

    def rung(self, what: str, wake: Callable[[], None]) -> Callable[[], None]:
        """A `wake` for followers, too: they ring, and the leader's own is called."""
        self._ears[what] = wake

        def call() -> None:
            if self.leads:
                wake()
            elif self.bell is not None:
                self.bell.ring(what)

        return call

    def ringing(
        self, what: str, wake: Callable[[], None], act: Callable[[Iterable[str]], Awaitable[int]]
    ) -> Callable[[Iterable[str]], Awaitable[int]]:
        """`act`, and then the leader is woken."""
        call = self.rung(what, wake)

        async def acted(given: Iterable[str]) -> int:
            count = await act(given)
            call()
            return count

        return acted

    def show(self, metrics: Metrics) -> None:
        metrics.leads.set_function(lambda: float(self.leads))
        metrics.lease_epoch.set_function(lambda: float(self.epoch))

    async def start(self, lead: Callable[[], Awaitable[None]]) -> None:
        if self.leadership is None:
            await lead()
            self._ready = True
            return
        assert self.bell is not None
        signal.signal(
            signal.SIGCONT, lambda _number, _frame: self.prove()
        )  # after a SIGSTOP, before anything else
        if await self.leadership.try_once() is not None:
            await self._take_up(lead)
            return
        log.info("lease.followed", called=self.called)
        self._run(self.bell.run(), "bell")
        listening = self._run(self.bell.listen({"lease": self.leadership.woken.set}), "bell-lease")
        self._run(self._seek(lead, listening), "lease-seeking")

    async def stop(self) -> None:
        """First of all: it seeks no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def resign(self) -> None:
        """Last of all."""
        if self.leadership is not None:
            await self.leadership.resign()

    async def _seek(self, lead: Callable[[], Awaitable[None]], listening: asyncio.Task[None]) -> None:
        assert self.leadership is not None
        try:
            await self.leadership.seek()
            listening.cancel()
            await self._take_up(lead)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # half of it runs: another one, or this one started anew, does it whole
            log.exception("lease.not_taken_up")
            self._end(f"the work could not be taken up: {type(error).__name__}")

    async def _take_up(self, lead: Callable[[], Awaitable[None]]) -> None:
        assert self.bell is not None
        await lead()
        self._run(self.bell.listen(self._ears, looking=_LOOKED_FOR), "bell-listening")
        self._ready = True

    def _run(self, work: Awaitable[None], name: str) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        task.set_name(name)
        self._tasks.append(task)
        return task
