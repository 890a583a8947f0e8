"""How many copies are at work at the same time, and in which order: that of asking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from commands.copies.transfer import Flow


class Slots:
    """At most `limit` flows, and one a copy."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._flows: dict[int, Flow] = {}
        self._queue: list[object] = []
        self._waiters: set[asyncio.Event] = set()

    @asynccontextmanager
    async def take(
        self,
        copy_id: int,
        still_wanted: Callable[[], Awaitable[None]],
        on_wait: Callable[[int], Awaitable[None]],
    ) -> AsyncIterator[Flow]:
        """A flow for this copy once it is its turn. `still_wanted` is asked before and after the wait and may raise;
        `on_wait` is told once how many are before it."""
        ticket, changed = object(), asyncio.Event()
        self._queue.append(ticket)
        self._waiters.add(changed)
        said = False
        try:
            while True:
                changed.clear()
                await still_wanted()
                full = len(self._flows) >= self._limit
                if not full and copy_id not in self._flows and self._queue[0] is ticket:
                    break
                if full and not said:
                    said = True
                    await on_wait(len(self._flows) + self._queue.index(ticket))
                else:
                    await changed.wait()
        finally:
            self._queue.remove(ticket)
            self._waiters.discard(changed)
            self._tell()
        flow = self._flows[copy_id] = Flow()
        try:
            # A pause between the look above and the flow would be lost on it.
            await still_wanted()
            yield flow
        finally:
            del self._flows[copy_id]
            self._tell()

    async def left(self, copy_id: int) -> None:
        """Returns once the copy is not at work."""
        changed = asyncio.Event()
        self._waiters.add(changed)
        try:
            while copy_id in self._flows:
                changed.clear()
                await changed.wait()
        finally:
            self._waiters.discard(changed)

    def halt(self, copy_id: int) -> None:
        """What carries the copy stops; a turn of it that waits looks whether it is still wanted."""
        flow = self._flows.get(copy_id)
        if flow is not None:
            flow.halt.set()
        self._tell()

    def halt_all(self) -> None:
        for copy_id in list(self._flows):
            self.halt(copy_id)

    def _tell(self) -> None:
        for waiter in self._waiters:
            waiter.set()
