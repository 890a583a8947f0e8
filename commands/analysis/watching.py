"""A run that works for long looks whether it was cancelled, and ends what it does then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

_LOOK = 1.0  # seconds between looks


class Cancelled(Exception):
    """The run was cancelled while it worked."""


class Watched:
    """`stop` is set once `active()` says no. Used as a context manager around the work."""

    def __init__(self, active: Callable[[], Awaitable[bool]], *, every: float = _LOOK) -> None:
        self._active = active
        self._every = every
        self.stop = asyncio.Event()

    async def __aenter__(self) -> Watched:
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        while await self._active():  # noqa: ASYNC110 - another process may write the row
            await asyncio.sleep(self._every)
        self.stop.set()

    def check(self) -> None:
        """Raises Cancelled."""
        if self.stop.is_set():
            raise Cancelled

    async def until(self, work: Coroutine[Any, Any, None]) -> None:
        """Do that, unless the run is cancelled first: then the work is cancelled, and Cancelled is raised."""
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Cancelled
            await task
        finally:
            stopping.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
