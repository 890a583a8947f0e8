"""The asynchronous face: connect to a host, run commands on it, never in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from integrations.ssh.config import SshConfig, SshHost
from integrations.ssh.connection import Connection, open_connection
from integrations.ssh.exchange import CommandResult, run_command


class SshSession:
    """An open connection. Commands run one after the other or side by side, each in its own channel."""

    def __init__(self, connection: Connection, config: SshConfig, threads: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._config = config
        self._threads = threads

    @property
    def host(self) -> SshHost:
        return self._connection.host

    @property
    def is_open(self) -> bool:
        return self._connection.is_open

    async def run(
        self, argv: Sequence[str], *, timeout: float | None = None, cap: int | None = None
    ) -> CommandResult:
        """Run a command given as a list of words; each word is quoted, so no shell gets to interpret it.

        `timeout` in seconds, `cap` in bytes of standard output; both default to the configuration. A time-out
        and an exit status other than 0 are results, not exceptions. Raises ConnectionLost.
        """
        limit = self._config.command_timeout if timeout is None else timeout
        most = self._config.output_cap if cap is None else cap
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: run_command(self._connection.transport, argv, timeout=limit, cap=most)
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread would wait for the host until its time-out: closing the connection ends it now.
            self.close()
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    async def help(self, *words: str, timeout: float | None = None, cap: int | None = None) -> CommandResult:
        """Run the root-owned helper with one of its fixed verbs: `list`, `read`, `head`, `tail`, `bytes`."""
        return await self.run((*self._config.helper, *words), timeout=timeout, cap=cap)

    def close(self) -> None:
        self._connection.close()


class SshClient:
    """Opens sessions; at most `config.threads` connections and commands are at work at the same time."""

    def __init__(self, config: SshConfig) -> None:
        self.config = config
        self._threads = ThreadPoolExecutor(config.threads, thread_name_prefix="ssh")

    async def open(self, host: SshHost) -> SshSession:
        """A session to be closed by the caller. Raises an SshError."""
        work = asyncio.get_running_loop().run_in_executor(self._threads, open_connection, host, self.config)
        try:
            connection = await asyncio.shield(work)
        except asyncio.CancelledError:
            work.add_done_callback(_close_late)
            raise
        return SshSession(connection, self.config, self._threads)

    @asynccontextmanager
    async def connect(self, host: SshHost) -> AsyncIterator[SshSession]:
        """`async with client.connect(host) as session`. Raises an SshError."""
        session = await self.open(host)
        try:
            yield session
        finally:
            session.close()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _close_late(work: asyncio.Future[Connection]) -> None:
    """The connection that nobody waits for any more."""
    if not work.cancelled() and work.exception() is None:
        work.result().close()
