"""What a follower knows of the fleet: what the leader last took from the inventory's source."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from commands.inventory_desk import KEPT, InventoryDesk

_EVERY = 5.0  # seconds


async def follow_inventory(desk: InventoryDesk, leads: Callable[[], bool]) -> None:
    """Until this process leads: then the desk reads the source itself, and goes on from what was taken last."""
    path = desk.context.store_dir.joinpath(*KEPT)
    seen = 0
    while desk.config.has_source and not leads():
        try:
            stamp = await asyncio.to_thread(lambda: path.stat().st_mtime_ns)
        except FileNotFoundError:
            stamp = 0
        if stamp not in (0, seen):
            seen = stamp
            await desk.take_kept()
        await asyncio.sleep(_EVERY)
