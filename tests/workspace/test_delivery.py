"""Events on bad days: retries, doubles, lost acknowledgements, sockets that go away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from slack_sdk.signature import SignatureVerifier

from bot.demo.workspace import SlackApp
from bot.demo.workspace.testing import running_workspace
from tests.workspace.bolt_app import over_sockets


async def test_http_events_are_retried_as_slack_does() -> None:
    seen: list[tuple[str | None, str | None, str]] = []
    answers = [500, 500, 200]
    thrice = asyncio.Event()

    async def endpoint(request: web.Request) -> web.Response:
        body = await request.text()
        assert SignatureVerifier("demo-signing-secret").is_valid_request(body, dict(request.headers))
        payload = json.loads(body)
        if payload["type"] == "url_verification":
            return web.Response(text=payload["challenge"])
        headers = request.headers
        seen.append(
            (headers.get("X-Slack-Retry-Num"), headers.get("X-Slack-Retry-Reason"), payload["event_id"])
        )
        if len(seen) == len(answers):
            thrice.set()
        return web.Response(status=answers[len(seen) - 1])

    server = web.Application()
    server.router.add_post("/slack/events", endpoint)
    runner = web.AppRunner(server)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
        async with running_workspace(request_url=url, event_retry_delays=(0.0, 0.01, 0.02)) as ws:
            await ws.until_connected()
            await ws.person().mention("hello")
            async with asyncio.timeout(45):
                await thrice.wait()
    finally:
        await runner.cleanup()
    assert [entry[:2] for entry in seen] == [(None, None), ("1", "http_error"), ("2", "http_error")]
    assert len({entry[2] for entry in seen}) == 1


async def test_an_event_may_come_twice_on_two_sockets() -> None:
    async with running_workspace(event_retry_delays=(0.0,)) as ws, over_sockets(ws, sockets=2) as app:
        await ws.control(duplicate_events=1)
        said = (await ws.person().mention("hello"))["message"]
        await app.got("app_mention", count=2)
        bodies = [body for kind, body in app.received if kind == "app_mention"]
        assert len({body["event_id"] for body in bodies}) == 1
        await ws.changed(said, lambda m: m.get("reply_count") == 2)


async def test_a_lost_acknowledgement_brings_the_event_again() -> None:
    async with running_workspace(event_retry_delays=(0.0,)) as ws, over_sockets(ws) as app:
        await ws.control(lost_acks=1)
        await ws.person().mention("hello")
        await app.got("app_mention", count=2)


@pytest.mark.parametrize("abruptly", [False, True])
async def test_clients_come_back_after_a_disconnect(abruptly: bool) -> None:
    async with running_workspace(event_retry_delays=(0.1, 0.2, 0.4, 0.8, 1.6)) as ws, over_sockets(ws) as app:
        await ws.disconnect_sockets(abruptly=abruptly)
        await ws.until_connected()
        said = (await ws.person().mention("are you back?"))["message"]
        await ws.reply(said, "heard")
        assert len(await ws.calls("apps.connections.open")) >= 2
        assert app.received


async def test_nobody_is_there() -> None:
    async with running_workspace() as ws:
        answer = await ws.person().command("/panic list")
        assert answer == {"ok": True, "acknowledged": False, "error": "not_connected"}
        await ws.person().ephemeral("/panic failed because the app did not respond")
        assert (await ws.get("state", user="U0ONCALL"))["bot"]["connected"] is False


async def test_commands_in_threads_and_unknown_commands() -> None:
    async with running_workspace() as ws:
        person = ws.person()
        parent = (await person.say("a message"))["message"]
        await person.say("/panic list", thread=parent)
        told = await person.ephemeral("/panic is not supported in threads. Sorry!")
        assert told["thread_ts"] == parent["ts"]
        await person.command("/nonsense")
        await person.ephemeral("/nonsense is not a valid command")


async def test_messages_reach_an_app_that_subscribes_to_them() -> None:
    app = SlackApp(events=frozenset({"message.channels"}))
    async with running_workspace(app=app) as ws, over_sockets(ws) as small:

        @small.app.event("message")
        async def message(body: dict[str, Any]) -> None:
            await small.note("message", body)

        await ws.person().say("@panicroom good morning")
        event = (await small.got("message"))["event"]
        assert (event["type"], event["channel_type"]) == ("message", "channel")
        assert [kind for kind, _ in small.received] == ["message"]


def test_an_app_comes_from_its_manifest() -> None:
    manifest = {
        "features": {
            "slash_commands": [{"command": "/panic", "description": "Panics", "should_escape": True}],
            "shortcuts": [
                {"name": "Link", "type": "message", "callback_id": "link", "description": "Link it"}
            ],
        },
        "settings": {"event_subscriptions": {"bot_events": ["app_mention"]}},
    }
    app = SlackApp.from_manifest(manifest, bot_token="xoxb-other")
    assert [command.command for command in app.commands] == ["/panic"]
    assert app.shortcuts[0].callback_id == "link"
    assert app.events == {"app_mention"}
    assert app.bot_token == "xoxb-other"
