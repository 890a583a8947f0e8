"""What the clock tells the bot to do beside its verbs: forget the books of work that is long done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from storage import Database
from storage.pruning import prune

log = structlog.get_logger(__name__)


class Housekeeping:
    """Every hour, in small transactions with a pause between them, so that nobody waits for it."""

    def __init__(
        self, db: Database, *, clock: Callable[[], datetime], every: float = 3600.0, pause: float = 0.2
    ) -> None:
        self.db = db
        self.clock = clock
        self.every = every
        self.pause = pause

    async def run(self) -> None:
        while True:
            changed = await self.tidy()
            if changed:
                log.info("housekeeping.pruned", rows=changed)
            await asyncio.sleep(self.every)

    async def tidy(self) -> int:
        """Prunes all that is due; returns how many rows were changed or removed."""
        total = 0
        while True:
            changed = await self.db.write(lambda s: prune(s, self.clock()))
            total += changed
            if not changed:
                return total
            await asyncio.sleep(self.pause)
