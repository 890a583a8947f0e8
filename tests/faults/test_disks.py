"""No room left: for the database, and for the store."""

from __future__ import annotations

from pathlib import Path

from tests.faults import model
from tests.faults.disks import MIB, fill, small_disk
from tests.faults.world import faulty_world, until


async def test_the_databases_disk_is_full(tmp_path: Path) -> None:
    """What was accepted is kept, what cannot be kept is refused with 503, and the host sends it again."""
    with small_disk(tmp_path / "small", 24 * MIB) as disk:
        async with faulty_world(tmp_path, database=disk / "bot.db") as world:
            await world.bot.start()
            await world.report("web-0", "boot-0")
            parent = await world.parent()
            filler = fill(disk)
            text = "".join(f"[    1.{n:06}] filler: driver initialised\n" for n in range(5000))
            refused = None
            for n in range(1, 200):
                if await world.send(f"web-{n}", f"boot-{n}", text=text) == 503:
                    refused = n
                    break
            assert refused is not None, "a full disk was not told"
            async with world.http.get(f"{world.bot.address}/readyz") as answer:
                assert answer.status == 503
                assert "database" in await answer.text()
            said = await world.slack.person().command("/panic note P-1 nowhere to keep it")
            assert said["acknowledged"]
            whispered = await world.slack.person().ephemeral("more to do than it can take", timeout=60)
            assert "Nothing was done; try again in a minute." in whispered["text"]

            filler.unlink()
            await world.report(f"web-{refused}", f"boot-{refused}", text=text)
            await world.slack.person().command("/panic note P-1 there is room again")
            await world.slack.reply(parent, "there is room again", timeout=60)
            await until(lambda: world.bot.rows("SELECT count(*) FROM report WHERE state = 'new'") == [(0,)])
            await world.quiet()
            assert model.wrong(world) == []
            assert world.bot.rows("SELECT count(*) FROM timeline_entry WHERE verb = 'note'") == [(1,)]


async def test_the_databases_disk_is_full_at_a_restart(tmp_path: Path) -> None:
    """The bot does not start on a full disk in silence, and goes on when there is room."""
    with small_disk(tmp_path / "small", 24 * MIB) as disk:
        async with faulty_world(tmp_path, database=disk / "bot.db") as world:
            await world.bot.start()
            assert await world.send("web-1", "boot-1") == 202
            await world.bot.kill()
            filler = fill(disk)
            filler.unlink()
            await world.bot.start()
            await world.parent("web-1 panicked")
            await world.quiet()
            assert model.wrong(world) == []


async def test_the_stores_disk_is_full(tmp_path: Path) -> None:
    """A panic is told without its text's file; the thread says that the file is missing, and why."""
    with small_disk(tmp_path / "small", 2 * MIB) as disk:
        async with faulty_world(tmp_path, store=disk / "store") as world:
            await world.bot.start()
            filler = fill(disk)
            await world.report("web-1", "boot-1")
            parent = await world.parent("web-1 panicked")
            await until(
                lambda: (
                    len(world.slack.workspace.messages.log("C0INCIDENTS").threads.get(parent["ts"], ())) > 0
                )
            )
            filler.unlink()
            await world.report("web-2", "boot-2")
            await world.slack.changed(parent, "2 hosts panicked", timeout=60)
            await world.quiet()
            assert model.reports_lost(world) == []
            assert model.doubles(world) == []
            print([m["text"][:200] for m in world.said()], model.unsaid(world), world.bot.log()[-3000:])
