"""What Slack does on a bad day, to a bot that runs as a process of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.demo.workspace.faults import Fault
from tests.faults import model
from tests.faults.world import ADMINS, CHANNEL, World, faulty_world, until
from tests.forks import panicroom


async def test_a_storm_of_429_holds_up_posts_and_loses_none(world: World) -> None:
    faults = world.slack.workspace.faults
    faults.arm(Fault(method="chat.postMessage", mode="ratelimited", retry_after=1, count=6))
    faults.arm(Fault(method="chat.update", mode="ratelimited", retry_after=1, count=4))
    for n in range(4):
        assert await world.send(f"web-{n}", f"boot-{n}") == 202, "reports are taken for all that"
    await until(lambda: not faults.armed()["faults"] or _refused(world, "chat.postMessage") >= 6)
    await world.quiet()
    assert model.wrong(world) == []
    assert "4 hosts panicked" in (await world.parent("4 hosts panicked"))["text"]


@pytest.mark.parametrize("mode", ["500", "reset", "reset_after_landing", "timeout_after_landing"])
@pytest.mark.parametrize("method", ["chat.postMessage", "files.completeUploadExternal"])
async def test_an_answer_that_was_lost_is_looked_for_before_it_is_said_again(
    world: World, method: str, mode: str
) -> None:
    world.slack.workspace.faults.arm(Fault.model_validate({"method": method, "mode": mode}))
    await world.report("web-1", "boot-1")
    await until(
        lambda: any(c["method"] in ("conversations.history", "conversations.replies") for c in _calls(world))
    )
    await world.quiet()
    assert model.wrong(world) == []
    landed = mode.endswith("_after_landing")
    made = [c for c in _calls(world) if c["method"] == method and c["ok"]]
    keys = [str(c["arguments"].get("metadata", c["arguments"].get("files"))) for c in made]
    assert len(keys) == len(set(keys)), "what landed is not posted again" if landed else "posted twice"


async def test_a_post_that_lands_late_is_removed(world: World) -> None:
    """Its answer was lost, it was looked for twice and not found, it was posted again, and then it landed."""
    faults = world.slack.workspace.faults
    faults.arm(Fault(method="chat.postMessage", mode="late_landing", delay=600))
    await world.report("web-1", "boot-1")
    await world.parent()
    faults.landing.set()
    await until(lambda: len(world.keyed()["incident:1"]) == 2)
    await until(lambda: len(world.keyed()["incident:1"]) == 1)
    await world.quiet()
    assert model.wrong(world) == []


async def test_slack_is_down_and_reports_are_taken(world: World) -> None:
    """Each call fails for a while; /readyz says it, reports are answered, and all is told when Slack is back."""
    faults = world.slack.workspace.faults
    faults.arm(Fault(method="*", mode="500", count=100_000))
    for n in range(3):
        assert await world.send(f"web-{n}", f"boot-{n}") == 202
    await until(lambda: world.bot.rows("SELECT count(*) FROM panic") == [(3,)])
    assert world.said() == []
    faults.clear()
    await world.parent("3 hosts panicked")
    await world.quiet()
    assert model.wrong(world) == []


async def test_a_revoked_token_is_told_and_nothing_is_lost(world: World) -> None:
    workspace = world.slack.workspace
    right = workspace.app
    workspace.app = right.model_copy(update={"bot_token": "xoxb-of-another-installation"})
    try:
        assert await world.send("web-1", "boot-1") == 202
        await until(lambda: world.bot.rows("SELECT 1 FROM slack_message WHERE error LIKE '%invalid_auth%'"))
        said = await asyncio.to_thread(
            panicroom, "doctor", "--config", str(world.folder / "panicroom.toml"), cwd=world.folder
        )
        assert said.returncode == 1
        assert "invalid_auth. Check [slack] bot_token." in said.stdout
    finally:
        workspace.app = right
    await world.parent("web-1 panicked")
    await world.quiet()
    assert model.wrong(world) == []


@pytest.mark.parametrize("code", ["channel_not_found", "is_archived", "not_in_channel", "token_revoked"])
async def test_a_channel_that_is_gone_waits_for_whoever_mends_it(world: World, code: str) -> None:
    faults = world.slack.workspace.faults
    faults.arm(Fault(method="chat.postMessage", mode="error", error=code, count=100_000))
    assert await world.send("web-1", "boot-1") == 202
    row = await until(
        lambda: world.bot.rows("SELECT error FROM slack_message WHERE error LIKE ?", f"%{code}%")
    )
    assert f"Slack refused chat.postMessage: {code}" in row[0][0]
    await world.bot.kill()  # and it is not forgotten over a restart
    await world.bot.start()
    faults.clear()
    await world.parent("web-1 panicked")
    await world.quiet()
    assert model.wrong(world) == []


async def test_a_channel_archived_under_way_does_not_hold_up_another(world: World) -> None:
    await world.report("web-1", "boot-1")
    parent = await world.parent()
    await world.quiet()
    workspace = world.slack.workspace
    workspace.archive(workspace.directory.channels[CHANNEL])
    assert (await world.slack.person().command("/panic note P-1 said while it was archived", channel=ADMINS))[
        "acknowledged"
    ]
    await world.send("stranger-1", "boot-2", text="no crash text")
    await until(lambda: world.bot.rows("SELECT 1 FROM slack_message WHERE error LIKE '%is_archived%'"))
    workspace.archive(workspace.directory.channels[CHANNEL], archived=False)
    await world.slack.reply(parent, "said while it was archived", timeout=90)
    await world.quiet()
    assert model.wrong(world) == []


async def test_a_deleted_parent_is_posted_again_once(world: World) -> None:
    await world.report("web-1", "boot-1")
    parent = await world.parent()
    await world.quiet()
    world.slack.workspace.messages.delete(CHANNEL, parent["ts"])
    await world.slack.person().command("/panic ack P-1")
    again = await world.slack.message(
        lambda m: "web-1 panicked" in m["text"] and m["ts"] != parent["ts"], timeout=60
    )
    await world.slack.changed(again, "Acknowledged by", timeout=60)
    await world.quiet()
    await world.report("web-2", "boot-2")
    await world.slack.changed(again, "2 hosts panicked", timeout=60)
    await world.slack.reply(again, "web-2", timeout=60)
    await world.quiet()
    assert model.wrong(world) == []


async def test_an_event_that_comes_again_has_one_effect(tmp_path: Path) -> None:
    """Slack did not hear the acknowledgement and sends the event again, with X-Slack-Retry-Num."""
    async with faulty_world(tmp_path, event_retry_delays=(0.0, 0.1, 0.1)) as world:
        await world.bot.start()
        await world.report("web-1", "boot-1")
        await world.quiet()
        world.slack.workspace.faults.lost_acks = 3
        await world.slack.person().mention("note P-1 told three times")
        await until(lambda: world.slack.workspace.faults.lost_acks == 0)
        await until(lambda: world.bot.rows("SELECT 1 FROM timeline_entry WHERE verb = 'note'"))
        await world.quiet()
        assert world.bot.rows("SELECT count(*) FROM timeline_entry WHERE verb = 'note'") == [(1,)]
        assert model.wrong(world) == []


async def test_sockets_drop_and_deliver_one_event_twice(tmp_path: Path) -> None:
    async with faulty_world(tmp_path, mode="socket", event_retry_delays=(0.2,) * 20) as world:
        await world.bot.start()
        await world.slack.until_connected(timeout=60)
        await world.report("web-1", "boot-1")
        await world.quiet()
        person = world.slack.person()
        world.slack.workspace.faults.duplicate_events = 1
        await person.mention("note P-1 delivered twice")
        await until(
            lambda: world.bot.rows("SELECT 1 FROM timeline_entry WHERE text LIKE '%delivered twice%'")
        )
        await world.slack.disconnect_sockets(abruptly=True)
        await person.mention("note P-1 said while no socket was open")
        await until(lambda: world.bot.rows("SELECT 1 FROM timeline_entry WHERE text LIKE '%no socket%'"))
        await world.quiet()
        assert world.bot.rows("SELECT count(*) FROM timeline_entry WHERE verb = 'note'") == [(2,)]
        assert model.wrong(world) == []


def _calls(world: World) -> list[dict[str, object]]:
    return list(world.slack.workspace.calls)


def _refused(world: World, method: str) -> int:
    return sum(c["method"] == method and not c["ok"] for c in _calls(world))
