"""The asynchronous face: connect to a host, run commands on it, never in the event loop.

Those who want the same host at the same time share one connection; at most `hosts_at_once` hosts are connected,
whoever wants them: the bot has one client.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from integrations.ssh.config import SshConfig, SshHost
from integrations.ssh.connection import Connection, open_connection
from integrations.ssh.errors import ConnectionLost
from integrations.ssh.exchange import CommandResult, Keep, Request, run_command
from integrations.ssh.places import Places
from integrations.ssh.runner import BatchRefused, Runners
from integrations.ssh.streaming import StreamEnd, stream_command

_SIDE_BY_SIDE = 4  # commands in sessions of their own, where they do not go in one
_FOREVER = 86400.0
T = TypeVar("T")


class _Shared:
    """A host's connection, and how many hold it."""

    def __init__(self, host: SshHost) -> None:
        self.host = host
        self.lock = asyncio.Lock()
        self.connection: Connection | None = None
        self.runners: Runners | None = None
        self.holders = 0
        self.idle: asyncio.TimerHandle | None = None
        self.aside = True  # nobody but those who can wait has held it yet


class SshSession:
    """A hold on a host's connection. Commands of one `run_many` run one after the other, those of several side by
    side."""

    def __init__(self, client: SshClient, shared: _Shared, connection: Connection, runners: Runners) -> None:
        self._client = client
        self._shared = shared
        self._connection = connection
        self._runners = runners
        self._stop = threading.Event()
        self._at_work: set[threading.Event] = set()

    @property
    def host(self) -> SshHost:
        return self._connection.host

    @property
    def is_open(self) -> bool:
        return not self._stop.is_set() and self._connection.is_open

    def request(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        cap: int | None = None,
        keep: Keep = "start",
    ) -> Request:
        """A command for `run_many`; what is not given is the configuration's."""
        config = self._client.config
        return Request(
            tuple(argv),
            config.command_timeout if timeout is None else timeout,
            config.output_cap if cap is None else cap,
            keep,
        )

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        cap: int | None = None,
        keep: Keep = "start",
    ) -> CommandResult:
        """Run a command given as a list of words; no shell gets to interpret any of them.

        `timeout` in seconds, `cap` in bytes of standard output, of which the `keep` end is kept. A time-out and an exit
        status other than 0 are results, not exceptions. Raises ConnectionLost.
        """
        (done,) = await self.run_many([self.request(argv, timeout=timeout, cap=cap, keep=keep)])
        return done

    async def run_many(
        self, requests: Sequence[Request], *, limit: float | None = None
    ) -> list[CommandResult]:
        """Run commands in one go, and answer in their order. `limit`: seconds for all of them together; what has not
        ended by then timed out. Raises ConnectionLost."""
        if not requests:
            return []
        until = time.monotonic() + (_FOREVER if limit is None else limit)
        if self._client.config.batch and not self._runners.refused:
            patience = max(requests[0].timeout, self._client.config.connect_timeout)
            try:
                return await self._in_thread(
                    lambda stop: self._runners.run(requests, stop, until, min(patience, limit or patience))
                )
            except BatchRefused:
                pass  # it is remembered with the connection, and nothing has run yet
        places = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def one(request: Request) -> CommandResult:
            async with places:
                left = max(until - time.monotonic(), 0.1)
                cut = Request(request.argv, min(request.timeout, left), request.cap, request.keep)
                return await self._in_thread(lambda stop: run_command(self._connection.transport, cut, stop))

        # All of them end before a lost connection is told.
        ended = await asyncio.gather(*(one(r) for r in requests), return_exceptions=True)
        found: list[CommandResult] = []
        for outcome in ended:
            if isinstance(outcome, BaseException):
                raise outcome
            found.append(outcome)
        return found

    async def give(self, argv: Sequence[str], given: bytes, *, timeout: float) -> CommandResult:
        """Run a command once, in a channel of its own, with `given` on its standard input: nothing of it is in the
        command's words. Raises ConnectionLost: then nobody knows whether it ran."""
        request = self.request(argv, timeout=timeout)
        return await self._in_thread(
            lambda stop: run_command(self._connection.transport, request, stop, given)
        )

    async def help(self, *words: str, timeout: float | None = None, cap: int | None = None) -> CommandResult:
        """Run the root-owned helper with one of its fixed verbs: `list`, `read`, `head`, `tail`, `bytes`."""
        return await self.run((*self._client.config.helper, *words), timeout=timeout, cap=cap)

    def stream(
        self,
        argv: Sequence[str],
        take: Callable[[bytes], None],
        *,
        idle: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> StreamEnd:
        """Hand a command's output to `take` piece by piece; see `streaming.stream_command`. Blocking."""
        ours = self._stop
        return stream_command(
            self._connection.transport, argv, take, idle=idle, stop=lambda: ours.is_set() or stop()
        )

    def close(self) -> None:
        """Let go: what is under way for this holder ends, others on the same connection are not disturbed."""
        if self._stop.is_set():
            return
        self._stop.set()
        for stop in tuple(self._at_work):
            stop.set()
        self._client._let_go(self._shared, self._connection)

    async def _in_thread(self, work: Callable[[threading.Event], T]) -> T:
        """The work's answer. Its event is set when nobody waits for it any more: it ends by itself then."""
        if self._stop.is_set():
            raise ConnectionLost("it was closed here.")
        stop = threading.Event()
        self._at_work.add(stop)
        running = asyncio.get_running_loop().run_in_executor(self._client._threads, work, stop)
        running.add_done_callback(lambda _: self._at_work.discard(stop))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.set()
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise


class SshClient:
    """Opens sessions. Belongs to one event loop."""

    def __init__(self, config: SshConfig) -> None:
        self.config = config
        self._threads = ThreadPoolExecutor(_SIDE_BY_SIDE * config.hosts_at_once + 4, thread_name_prefix="ssh")
        self._places = Places(config.hosts_at_once)
        self._hosts: dict[SshHost, _Shared] = {}
        self.most_connected = 0  # hosts at the same time, so far

    @property
    def connected(self) -> int:
        """Hosts that are connected now."""
        return sum(shared.connection is not None for shared in self._hosts.values())

    async def open(
        self, host: SshHost, *, aside: bool = False, on_turn: Callable[[], None] = lambda: None
    ) -> SshSession:
        """A session to be closed by the caller. Raises an SshError.

        `aside`: nobody waits for it, so others have their turn before it and its connection is not kept. `on_turn` is
        called when there is a place for the host, before it is connected to.
        """
        shared = self._hosts.setdefault(host, _Shared(host))
        shared.holders += 1
        if not aside:
            shared.aside = False
            self._places.hurry(shared)
        try:
            async with shared.lock:
                if shared.idle is not None:
                    shared.idle.cancel()
                    shared.idle = None
                connection, runners = shared.connection, shared.runners
                if connection is not None and runners is not None and await self._usable(shared):
                    on_turn()
                    return SshSession(self, shared, connection, runners)
                self._drop(shared)
                connection = await self._connect(shared, on_turn)
                shared.connection, shared.runners = connection, Runners(connection)
                self.most_connected = max(self.most_connected, self.connected)
                return SshSession(self, shared, connection, shared.runners)
        except BaseException:
            self._let_go(shared, shared.connection)
            raise

    @asynccontextmanager
    async def connect(self, host: SshHost) -> AsyncIterator[SshSession]:
        """`async with client.connect(host) as session`. Raises an SshError."""
        session = await self.open(host)
        try:
            yield session
        finally:
            session.close()

    def close(self) -> None:
        """Close every connection. What is under way fails."""
        for shared in tuple(self._hosts.values()):
            if shared.connection is not None:
                shared.connection.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _connect(self, shared: _Shared, on_turn: Callable[[], None]) -> Connection:
        """A new connection, when it is its turn."""
        self._make_room()
        await self._places.take(shared, aside=shared.aside)
        on_turn()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, open_connection, shared.host, self.config)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # Its place is free when it has ended, not before.
            late = object()
            self._places.rename(shared, late)
            work.add_done_callback(lambda done: self._close_late(done, late))
            raise
        except BaseException:
            self._places.give(shared)
            raise

    async def _usable(self, shared: _Shared) -> bool:
        """Whether a connection that is there can be shared. One that nobody uses is asked: its host may have died."""
        connection, runners = shared.connection, shared.runners
        if connection is None or runners is None or not connection.is_open:
            return False
        if shared.holders > 1:
            return True
        return await asyncio.get_running_loop().run_in_executor(self._threads, runners.is_alive)

    def _let_go(self, shared: _Shared, connection: Connection | None) -> None:
        shared.holders -= 1
        if connection is not shared.connection or shared.holders > 0:
            return
        gone = connection is None or not connection.is_open
        kept = self.config.idle_seconds and self.config.batch and not shared.aside
        if gone or self._places.crowded or not kept:
            self._drop(shared)
        elif shared.idle is None:
            loop = asyncio.get_running_loop()
            shared.idle = loop.call_later(self.config.idle_seconds, self._drop_idle, shared)

    def _make_room(self) -> None:
        """Somebody wants a place: a connection that nobody uses gives up its own."""
        if self._places.all_taken:
            for shared in tuple(self._hosts.values()):
                if self._drop_idle(shared):
                    return

    def _drop_idle(self, shared: _Shared) -> bool:
        if shared.holders or shared.connection is None or shared.lock.locked():
            return False
        self._drop(shared)
        return True

    def _drop(self, shared: _Shared) -> None:
        """Close what is there, and give its place to the next."""
        if shared.idle is not None:
            shared.idle.cancel()
            shared.idle = None
        connection, shared.connection, shared.runners = shared.connection, None, None
        if connection is not None:
            connection.close()
            self._places.give(shared)
        if not shared.holders and self._hosts.get(shared.host) is shared:
            del self._hosts[shared.host]

    def _close_late(self, work: asyncio.Future[Connection], place: object) -> None:
        """The connection that nobody waits for any more."""
        self._places.give(place)
        if not work.cancelled() and work.exception() is None:
            work.result().close()
