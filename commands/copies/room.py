"""Whether the store has room for one more dump: by the bytes it says are free, and by its budget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from commands.context import Context
from commands.copies import rows
from commands.copies.config import CentralConfig
from commands.errors import Impossible
from commands.hosts.crashdump import size_words
from integrations.stores import StoreFull
from storage import DumpCopy, Panic, panic_ref
from storage.copies import UNDER_WAY

# `await ask(copy_id, size)`: why a copy of so many bytes has no room in the budget; None where it has. `copy_id` is 0
# for one that is not begun. Whoever answers may make room meanwhile.
AskRoom = Callable[[int, int], Awaitable[str | None]]


class NoRoom(Impossible):
    """The store's budget is reached and nothing in it may go: the dump stays on its host."""


class Room:
    """`ask` is another's to set: who knows what may go can say more than a sum of bytes does."""

    def __init__(self, context: Context, config: CentralConfig) -> None:
        self.context = context
        self.config = config
        self.ask: AskRoom = self._by_sum

    async def free(self, free: int | None, wanted: int) -> None:
        """Raises StoreFull before a byte is sent that the disk would not hold."""
        if free is not None and free - self.config.keep_free < wanted:
            raise StoreFull(
                f"{size_words(wanted)} are to come, {size_words(free)} are free and "
                f"{size_words(self.config.keep_free)} of them must stay so."
            )

    async def within_budget(self, copy_id: int) -> None:
        """Raises StoreFull where a copy under way would exceed the budget."""
        copy = await self.context.db.read(lambda s: s.get_one(DumpCopy, copy_id))
        why = await self.ask(copy_id, copy.size or 0)
        if why is not None:
            raise StoreFull(why)

    async def refuse(self, panic: Panic) -> None:
        """Raises NoRoom where a person asks for a copy that cannot be had now; one that is begun goes on."""
        last = await self.context.db.read(lambda s: rows.latest(s, panic.id or 0))
        if last is not None and last.state in (*UNDER_WAY, rows.ENDED[0]):
            return
        why = await self.ask(0, panic.dump_size or 0)
        if why is not None:
            raise NoRoom(
                f"{why} The dump of {panic_ref(panic.id)} stays on its host and is not copied. `/panic retention` says "
                "what keeps the store full."
            )

    async def _by_sum(self, copy_id: int, size: int) -> str | None:
        if self.config.budget is None:
            return None
        would = size + await self.context.db.read(lambda s: rows.stored_bytes(s, but=copy_id))
        if would <= self.config.budget:
            return None
        return (
            f"with this dump of {size_words(size)} the store would hold {size_words(would)}; "
            f"its budget is {size_words(self.config.budget)}."
        )
