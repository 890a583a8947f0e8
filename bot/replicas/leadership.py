"""Seeking, keeping and proving the lease; and the end of a process that can prove it no longer.

A leader that is cut off from the database, hangs, or was paused (SIGSTOP, a suspended machine) must do nothing more
once another one may have taken over. It therefore ends at once, with status 75, for its supervisor to start it
again: by a watch in a thread of its own, when it is woken (SIGCONT), and before each call to Slack.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storage.lease import Fence, LeaseTable, LeaseTrouble, Standing

log = structlog.get_logger(__name__)
T = TypeVar("T")

END_STATUS = 75  # EX_TEMPFAIL: start it again
_LOOK = 1.0  # seconds at most between two looks of a follower
_AGAIN = 0.5  # seconds until a renewal that failed is tried again
_WATCH = 0.2


def boot_seconds() -> float:
    """Goes on while the process, and the machine, sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def end_process(why: str) -> None:
    """Without a goodbye: what a clean stop would still write is no longer ours to write."""
    log.critical("lease.lost", why=why, status=END_STATUS)
    sys.stderr.flush()
    os._exit(END_STATUS)


class Leadership:
    """`seek()` until this replica leads, then it is kept until `resign()`. One a process."""

    def __init__(
        self,
        table: LeaseTable,
        fence: Fence,
        *,
        term: float,
        called: str,
        version: str,
        clock: Callable[[], float] = boot_seconds,
        end: Callable[[str], None] = end_process,
    ) -> None:
        self.table = table
        self.fence = fence
        self.term = term
        self.called = called
        self.version = version
        self.epoch: int | None = None
        self.woken = asyncio.Event()  # set when the lease may have fallen free
        self._clock = clock
        self._end = end
        self._until = 0.0  # by `clock`: up to when nobody else can lead; a sixth earlier than the server says
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lease")
        self._keeping: asyncio.Task[None] | None = None
        self._resigned = threading.Event()

    @property
    def leads(self) -> bool:
        return self.epoch is not None

    async def seek(self) -> int:
        """Until it leads; the epoch. A database that is away is asked again."""
        while True:
            self.woken.clear()
            epoch = await self.try_once()
            if epoch is not None:
                return epoch
            try:
                async with asyncio.timeout(min(_LOOK, self.term / 6)):
                    await self.woken.wait()
            except TimeoutError:
                continue

    async def try_once(self) -> int | None:
        """The epoch, if the lease could be had at this moment."""
        began = self._clock()
        try:
            epoch = await self._in_thread(lambda: self.table.take(self.term, self.called, self.version))
        except (SQLAlchemyError, LeaseTrouble) as error:
            log.warning("lease.not_asked", error=str(error).splitlines()[0][:300])
            return None
        if epoch is None or self._clock() >= self._limit(began):
            return None  # what came too late has run out, or does so now; it is taken anew
        self._until = self._limit(began)
        self.fence.arm(epoch)
        self.epoch = epoch
        threading.Thread(target=self._watch, name="lease-watch", daemon=True).start()
        self._keeping = asyncio.create_task(self._keep(epoch), name="lease-keeping")
        log.info("lease.taken", epoch=epoch, called=self.called)
        return epoch

    def prove(self) -> None:
        """Returns when nobody else can lead now; else it ends the process. Costs nothing: no database is asked."""
        if self.epoch is not None and not self._resigned.is_set() and self._clock() >= self._until:
            self._end("it could not be renewed in time")

    def deposed(self) -> None:
        """The database said that another one leads."""
        self._end("another replica leads")

    async def resign(self) -> None:
        """Last of all: whoever follows works from this moment on."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._resigned.set()
        if self.epoch is not None:
            epoch = self.epoch
            try:
                await self._in_thread(lambda: self.table.give_back(epoch))
            except SQLAlchemyError as error:
                log.warning("lease.not_given_back", error=str(error).splitlines()[0][:300])
        await self._in_thread(self.table.close)
        self._thread.shutdown(wait=False)

    async def standing(self) -> Standing | None:
        """Who leads, as the server says it."""
        return await self._in_thread(self.table.standing)

    def _limit(self, began: float) -> float:
        return began + self.term * 5 / 6

    async def _keep(self, epoch: int) -> None:
        while True:
            began = self._clock()
            try:
                kept = await self._in_thread(lambda: self.table.renew(epoch, self.term))
            except SQLAlchemyError as error:
                log.warning("lease.not_renewed", error=str(error).splitlines()[0][:300])
                await asyncio.sleep(_AGAIN)
                continue
            if not kept:
                self.deposed()
            self._until = self._limit(began)
            await asyncio.sleep(self.term / 6)

    def _watch(self) -> None:
        """In a thread: an event loop that hangs renews nothing, and could not end itself."""
        while not self._resigned.wait(_WATCH):
            self.prove()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
