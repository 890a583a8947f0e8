"""kill -9 at each durable boundary; the next process goes on."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults import model
from tests.faults.world import World, until


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 4, 8, 16, 32])
async def test_killed_around_the_commit_of_a_report(world: World, milliseconds: int) -> None:
    """The host hears nothing, and sends again what it has: that may be in the inbox already."""
    sending = asyncio.create_task(world.send("web-1", "boot-1"))
    await asyncio.sleep(milliseconds / 1000)
    await world.bot.kill()
    await sending
    await world.bot.start()
    await world.report("web-1", "boot-1")
    await world.quiet()
    assert model.wrong(world) == []
    assert world.bot.rows("SELECT count(*) FROM panic") == [(1,)]


async def test_killed_upon_the_answer_to_a_report(world: World) -> None:
    assert await world.send("web-1", "boot-1") == 202
    await world.bot.kill()
    await world.bot.start()
    parent = await world.parent()
    assert "web-1 panicked: NULL pointer dereference" in parent["text"]
    await world.quiet()
    assert model.wrong(world) == []


@pytest.mark.parametrize("when", ["before", "after", "answered"])
@pytest.mark.parametrize("nth", [1, 2])
async def test_killed_at_a_post(world: World, when: str, nth: int) -> None:
    """The first is the thread's parent, the second a reply to it."""
    if nth == 2:
        first = world.strike("/api/chat.postMessage", "answered", _nothing)
        await world.report("web-1", "boot-1")
        await world.struck(first)
        point = world.strike("/api/chat.postMessage", when)
    else:
        point = world.strike("/api/chat.postMessage", when)
        await world.report("web-1", "boot-1")
    await world.struck(point)
    await world.bot.start()
    await world.quiet()
    assert model.wrong(world) == []
    assert len(world.keyed()["incident:1"]) == 1


@pytest.mark.parametrize("when", ["before", "after", "answered"])
async def test_killed_at_an_edit(world: World, when: str) -> None:
    await world.report("web-1", "boot-1")
    parent = await world.parent()
    await world.quiet()
    point = world.strike("/api/chat.update", when)
    await world.slack.person().command("/panic ack P-1")
    await world.struck(point)
    await world.bot.start()
    await world.slack.changed(parent, "Acknowledged by", timeout=60)
    await world.quiet()
    assert model.wrong(world) == []
    assert (
        len([m for m in world.said() if "acknowledged" in m["text"].lower() and m["ts"] != parent["ts"]]) == 1
    )


_UPLOAD = ["/api/files.getUploadURLExternal", "/upload/", "/api/files.completeUploadExternal"]


@pytest.mark.parametrize("path", _UPLOAD)
@pytest.mark.parametrize("when", ["before", "after", "answered"])
async def test_killed_at_each_call_of_an_upload(world: World, path: str, when: str) -> None:
    """The kernel's whole text is kept as a file in the thread."""
    point = world.strike(path, when)
    await world.report("web-1", "boot-1")
    await world.struck(point)
    await world.bot.start()
    await world.quiet()
    assert model.wrong(world) == []
    files = [f["name"] for m in world.said() for f in m.get("files") or ()]
    assert len(files) == len(set(files)) == 1


async def _nothing() -> None:
    """The request is only seen."""


async def test_killed_between_a_commands_acknowledgement_and_its_effect(world: World) -> None:
    await world.report("web-1", "boot-1")
    await world.quiet()
    assert (await world.slack.person().command("/panic note P-1 reseated the DIMM"))["acknowledged"]
    await world.bot.kill()
    await world.bot.start()
    await until(lambda: world.bot.rows("SELECT 1 FROM timeline_entry WHERE verb = 'note'"))
    await world.quiet()
    assert world.bot.rows("SELECT count(*) FROM timeline_entry WHERE verb = 'note'") == [(1,)]
    assert len([m for m in world.said() if "reseated the DIMM" in m["text"]]) == 1
    assert model.wrong(world) == []
