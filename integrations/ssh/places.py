"""How many hosts may be connected at the same time, and whose turn is next."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable

_ASIDE = 3 / 4  # of all places, for what can wait


class Places:
    """`await take(who)`, then `give(who)`. Belongs to one event loop; each `who` has one place at most.

    What is done `aside` (nobody waits for it) has its turn after all that people wait for, and never all places: a
    fleet that is down, looked at by a sweep, keeps no triage waiting for its time-outs.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.aside_at_most = max(1, int(count * _ASIDE))
        self._taken: dict[Hashable, bool] = {}  # whether it is aside
        self._waiting: OrderedDict[Hashable, tuple[bool, asyncio.Future[None]]] = OrderedDict()

    @property
    def all_taken(self) -> bool:
        return len(self._taken) >= self.count

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def crowded(self) -> bool:
        """Somebody waits for a place, and each is taken."""
        return bool(self._waiting) and self.all_taken

    async def take(self, who: Hashable, *, aside: bool = False) -> None:
        """Waits for its turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[who] = (aside, turn)
        self._call()
        try:
            await turn
        except asyncio.CancelledError:
            if self._waiting.pop(who, None) is None:
                self._taken.pop(who, None)  # its turn had just come
            self._call()
            raise

    def give(self, who: Hashable) -> None:
        """The place is free for the next."""
        del self._taken[who]
        self._call()

    def rename(self, who: Hashable, other: Hashable) -> None:
        """The place is another's from now on, who gives it back."""
        self._taken[other] = self._taken.pop(who)

    def hurry(self, who: Hashable) -> None:
        """Somebody waits for it now: it is no longer aside."""
        if who in self._waiting:
            self._waiting[who] = (False, self._waiting[who][1])
        elif who in self._taken:
            self._taken[who] = False
        self._call()

    def _call(self) -> None:
        """Whose turn it is."""
        while not self.all_taken:
            who = next((w for w, (aside, _) in self._waiting.items() if not aside), None)
            if who is None and sum(self._taken.values()) < self.aside_at_most:
                who = next(iter(self._waiting), None)
            if who is None:
                return
            aside, turn = self._waiting.pop(who)
            if not turn.done():
                self._taken[who] = aside
                turn.set_result(None)
