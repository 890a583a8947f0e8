"""The workspace against slack_bolt's AsyncApp, in HTTP mode and in Socket Mode."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.demo.workspace import Shortcut, SlackApp
from bot.demo.workspace.testing import Refused, RunningWorkspace, running_workspace, visible_text
from tests.workspace.bolt_app import SmallApp, over_http, over_sockets

APP = SlackApp(
    shortcuts=(Shortcut(name="Link to a panic", callback_id="file_panic"),),
    events=frozenset({"app_mention", "app_home_opened"}),
)


@pytest.fixture(params=["http", "socket"])
async def running(request: pytest.FixtureRequest) -> AsyncIterator[tuple[RunningWorkspace, SmallApp]]:
    connect = over_http if request.param == "http" else over_sockets
    async with running_workspace(app=APP, event_retry_delays=(0.0, 0.05)) as ws, connect(ws) as small:
        yield ws, small


async def test_a_command_is_answered_at_once_and_later(running: tuple[RunningWorkspace, SmallApp]) -> None:
    ws, small = running
    on_call = ws.person()
    assert (await on_call.command("/panic quick"))["acknowledged"]
    assert "at once" in visible_text(await on_call.ephemeral("at once"))
    assert (await on_call.command("/panic list host:web-*"))["acknowledged"]
    await on_call.ephemeral("later: list host:web-*")
    body = await small.got("command", count=2)
    assert body["user_id"] == "U0ONCALL"
    assert body["channel_name"] == "incidents"
    kernel = ws.person("U0KERNEL")
    answer = await ws.get("history", channel="C0INCIDENTS", user=kernel.id)
    assert answer["ephemerals"] == []


async def test_a_click_reaches_the_app_and_its_reply_the_thread(
    running: tuple[RunningWorkspace, SmallApp],
) -> None:
    ws, small = running
    on_call = ws.person()
    await on_call.command("/panic post")
    parent = await ws.message("web-17")
    assert (await on_call.click(parent, "Run triage"))["acknowledged"]
    reply = await ws.reply(parent, "triage started")
    assert reply["bot_id"] == "B0PANICROOM"
    body = await small.got("triage")
    assert body["actions"][0]["value"] == "P-1"
    assert body["container"] == {
        "type": "message",
        "message_ts": parent["ts"],
        "channel_id": "C0INCIDENTS",
        "is_ephemeral": False,
    }
    parent = await ws.changed(parent, lambda m: m.get("reply_count") == 1)
    assert parent["latest_reply"] == reply["ts"]


async def test_a_modal_is_opened_refused_submitted_and_closed(
    running: tuple[RunningWorkspace, SmallApp],
) -> None:
    ws, small = running
    on_call = ws.person()
    await on_call.command("/panic post")
    parent = await ws.message("web-17")
    await on_call.choose(parent, "more", "Resolve")
    form = await on_call.modal("Resolve P-1")
    assert await on_call.submit(form) == {"errors": {"cause": "Please complete this required field."}}
    assert await on_call.submit(form, {"Cause": "unknown"}) == {"errors": {"cause": "Say what it was."}}
    assert await on_call.submit(form, {"Cause": "bad DIMM", "Fixed by": "Hardware swap"}) == {}
    body = await small.got("resolve", count=2)
    values = body["view"]["state"]["values"]
    assert values["fixed_by"]["how"]["selected_option"]["value"] == "hardware"
    with pytest.raises(Refused, match="view_not_found"):
        await on_call.submit(form, {"Cause": "again"})

    await on_call.command("/panic form")
    form = await on_call.modal(lambda view: view["id"] != form["id"])
    assert await on_call.submit(form, {"Cause": "next"}) == {}
    second = await on_call.modal(lambda view: view["callback_id"] == "second")
    assert second["previous_view_id"] == form["id"]
    await on_call.close(second)
    await on_call.modal(lambda view: view["id"] == form["id"])
    await on_call.close(form)
    assert (await small.got("closed"))["is_cleared"] is False


async def test_mentions_home_and_shortcuts(running: tuple[RunningWorkspace, SmallApp]) -> None:
    ws, small = running
    on_call = ws.person()
    said = (await on_call.say("@panicroom what is up on web-17.example.com?"))["message"]
    await ws.reply(said, "heard U0ONCALL")
    event = (await small.got("app_mention"))["event"]
    assert event["text"] == "<@U0PANICROOM> what is up on <http://web-17.example.com|web-17.example.com>?"
    await on_call.open_home()
    await on_call.home("Open panics")
    assert (await on_call.shortcut("file_panic", said))["acknowledged"]
    assert (await small.got("shortcut"))["message"]["ts"] == said["ts"]


async def test_a_command_that_is_not_answered_says_so(running: tuple[RunningWorkspace, SmallApp]) -> None:
    ws, _ = running
    ws.workspace.delivery.ack_timeout = 0.1
    answer = await ws.person().command("/panic slow")
    assert answer["acknowledged"] is False
    await ws.person().ephemeral('/panic failed with the error "operation_timeout"')
