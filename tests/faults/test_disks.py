"""No room left for the store."""

from __future__ import annotations

from pathlib import Path

from tests.faults import model
from tests.faults.disks import MIB, fill, small_disk
from tests.faults.world import faulty_world


async def test_the_stores_disk_is_full(tmp_path: Path) -> None:
    """A panic is told without its text's file; the thread says that the file is missing, and why."""
    with small_disk(tmp_path / "small", 2 * MIB) as disk:
        async with faulty_world(tmp_path, store=disk / "store") as world:
            await world.bot.start()
            filler = fill(disk)
            await world.report("web-1", "boot-1")
            parent = await world.parent("web-1 panicked")
            await world.slack.reply(parent, "its whole text is not here as a file", timeout=60)
            filler.unlink()
            await world.report("web-2", "boot-2")
            await world.slack.changed(parent, "2 hosts panicked", timeout=60)
            await world.quiet()
            assert model.wrong(world) == []
