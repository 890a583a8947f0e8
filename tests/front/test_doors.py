"""Both doors, with slack_sdk's own client on one side: the same request has the same one effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.demo.workspace.testing import RunningWorkspace
from bot.slack_socket import SocketDoor
from commands.access import AccessConfig
from tests.incident.floor import Floor, floor, until
from tests.incident.texts import oops


async def started(bot: Floor, ws: RunningWorkspace) -> dict[str, object]:
    await bot.report("web-17", oops())
    bot.printer.wake()
    parent = await ws.message("web-17 panicked")
    await ws.reply(parent, "P-1")
    return parent


@pytest.mark.parametrize("doors", ["http", "socket"])
async def test_commands_clicks_forms_and_mentions_come_through(
    tmp_path: Path, ws: RunningWorkspace, doors: str
) -> None:
    async with floor(tmp_path, ws, doors=doors) as bot:
        parent = await started(bot, ws)
        on_call = ws.person("U0ONCALL")
        assert (await on_call.command("/panic assign I-1 me"))["acknowledged"]
        await on_call.ephemeral("I-1 is assigned to")
        await on_call.click(parent, "Acknowledge")
        await ws.reply(parent, "acknowledged this")
        await on_call.mention("note heard in the thread", thread=parent)
        await ws.reply(parent, ":memo: <@U0ONCALL>: heard in the thread")
        await on_call.choose(parent, "incident.more", "Resolve")
        form = await on_call.modal("Resolve I-1")
        assert (await on_call.submit(form, {"Cause": " "}))["errors"]
        assert await on_call.submit(form, {"Cause": "bad DIMM"}) == {}
        await ws.reply(parent, "bad DIMM")
        await on_call.command("/panic frobnicate")
        await on_call.ephemeral("I do not know")
        await on_call.open_home()

        async def home() -> bool:
            return bot.homes == ["U0ONCALL"]

        await until(home)
        stored = sorted(r.kind for r in await bot.requests_stored())
        assert stored == ["block_actions", "command", "event", "view_submission"]


@pytest.mark.parametrize("doors", ["http", "socket"])
async def test_an_event_that_slack_sends_twice_or_again_is_heard_once(
    tmp_path: Path, ws: RunningWorkspace, doors: str
) -> None:
    ws.workspace.delivery._retry_delays = (0.05, 0.1, 0.1)
    async with floor(tmp_path, ws, doors=doors) as bot:
        second = SocketDoor(bot.front, bot.config) if doors == "socket" else None
        if second is not None:
            await second.start()

            async def both() -> bool:
                return ws.workspace.sockets.connected == 2

            await until(both)
        parent = await started(bot, ws)
        await ws.control(duplicate_events=1)
        await ws.person().mention("note sent twice", thread=parent)
        await ws.reply(parent, ":memo: <@U0ONCALL>: sent twice")  # the bot's; the mention says it, too
        await ws.control(lost_acks=1)
        await ws.person().mention("note sent again", thread=parent)
        await ws.reply(parent, ":memo: <@U0ONCALL>: sent again")
        await ws.person().mention("note the last", thread=parent)
        await ws.reply(parent, ":memo: <@U0ONCALL>: the last")
        replies = [r["text"] for r in await ws.replies(parent)]
        for said in ("sent twice", "sent again", "the last"):
            assert sum(f":memo: <@U0ONCALL>: {said}" in r for r in replies) == 1, replies
        if second is not None:
            await second.stop()


async def test_a_cut_socket_is_opened_again(tmp_path: Path, ws: RunningWorkspace) -> None:
    async with floor(tmp_path, ws, doors="socket") as bot:
        await started(bot, ws)
        await ws.disconnect_sockets()

        async def heard() -> bool:
            return bool((await ws.person().command("/panic silences"))["acknowledged"])

        await until(heard)
        await ws.person().ephemeral("No host is silenced")


@pytest.mark.parametrize("way", ["command", "click", "mention"])
async def test_a_refusal_is_for_one_person_names_the_role_and_is_audited(
    tmp_path: Path, ws: RunningWorkspace, way: str
) -> None:
    access = AccessConfig(everyone="viewer", responders=("S0SREONCALL",), admins=("U0ADMIN",))
    async with floor(tmp_path, ws, doors="http", access=access) as bot:
        parent = await started(bot, ws)
        viewer = ws.person("U0VIEWER")
        if way == "command":
            await viewer.command("/panic ack I-1")
        elif way == "click":
            await viewer.click(parent, "Acknowledge")
        else:
            await viewer.mention("ack I-1", thread=parent)
        refusal = await viewer.ephemeral("needs the role *responder*; yours is *viewer*")
        assert refusal is not None
        assert (await bot.incident(1)).acknowledged_by is None
        assert not any("role" in m["text"] for m in [*await ws.history(), *await ws.replies(parent)])

        async def audited() -> bool:
            return ("U0VIEWER", "refused") in {(a[0], a[3]) for a in await bot.audits()}

        await until(audited)
        on_call = ws.person("U0ONCALL")  # by the user group
        await on_call.click(parent, "Acknowledge")
        await on_call.ephemeral("I-1 is yours")
        await on_call.command("/panic merge I-1 I-1")
        await on_call.ephemeral("needs the role *admin*; yours is *responder*")
