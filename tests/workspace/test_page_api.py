"""The page's API: who sees what, what is refused, response URLs, the event stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.demo.workspace.testing import Refused, RunningWorkspace, running_workspace, visible_text
from tests.workspace.bolt_app import over_sockets

INCIDENTS = "C0INCIDENTS"


class Hosts:
    """Two hosts that panic when asked."""

    def __init__(self) -> None:
        self.panics = {"web-17": 0, "db-2": 0}

    def hosts(self) -> list[dict[str, Any]]:
        return [{"name": name, "state": "up", "panics": count} for name, count in self.panics.items()]

    async def panic(self, host: str | None, case: str | None) -> dict[str, Any]:
        name = host or "db-2"
        self.panics[name] += 1
        return {"host": name, "case": case or "null-deref"}


@pytest.fixture
async def ws() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace(hosts=Hosts()) as running:
        yield running


@pytest.fixture
def client(ws: RunningWorkspace) -> AsyncWebClient:
    return AsyncWebClient(token=ws.bot_token, base_url=ws.api_url, retry_handlers=[])


async def test_state(ws: RunningWorkspace) -> None:
    state = await ws.get("state", user="U0VIEWER")
    assert state["me"] == "U0VIEWER"
    assert [channel["id"] for channel in state["channels"]] == [INCIDENTS, "C0ADMINS", "C0KERNEL"]
    assert state["commands"][0]["command"] == "/panic"
    assert state["bot"]["user_id"] == "U0PANICROOM"
    assert state["usergroups"][0]["users"] == ["U0ONCALL", "U0KERNEL"]


async def test_hosts_panic_on_demand(ws: RunningWorkspace) -> None:
    with ws.events() as events:
        answer = await ws.post("hosts/panic", {"host": "web-17"})
        assert (answer["host"], answer["case"]) == ("web-17", "null-deref")
        async with asyncio.timeout(45):
            while (event := await events.get())["type"] != "hosts":
                pass
    assert event["hosts"] == (await ws.get("hosts"))["hosts"]
    assert event["hosts"][0]["panics"] == 1


async def test_without_hosts() -> None:
    async with running_workspace() as ws:
        assert (await ws.get("hosts"))["hosts"] == []
        with pytest.raises(Refused, match="no_hosts"):
            await ws.post("hosts/panic", {})


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("message", {"user": "U0NOBODY", "channel": INCIDENTS, "text": "x"}, "user_not_found"),
        ("message", {"user": "U0PANICROOM", "channel": INCIDENTS, "text": "x"}, "user_not_found"),
        ("message", {"user": "U0ONCALL", "channel": "C0NOWHERE", "text": "x"}, "channel_not_found"),
        ("message", {"user": "U0ONCALL", "channel": INCIDENTS, "text": "  "}, "no_text"),
        ("message", {"user": "U0ONCALL"}, "invalid_arguments"),
        (
            "action",
            {"user": "U0ONCALL", "channel": INCIDENTS, "message_ts": "1.000001", "action": {}},
            "message_not_found",
        ),
        ("view_submit", {"user": "U0ONCALL", "view_id": "V0"}, "view_not_found"),
        ("shortcut", {"user": "U0ONCALL", "callback_id": "nothing"}, "unknown_shortcut"),
    ],
)
async def test_what_is_refused(ws: RunningWorkspace, path: str, body: dict[str, Any], error: str) -> None:
    with pytest.raises(Refused) as caught:
        await ws.post(path, body)
    assert caught.value.error == error


@pytest.mark.parametrize("path", ["message", "action", "view_submit", "view_close", "suggestion", "shortcut"])
@pytest.mark.parametrize("wrong", [7, [], {"a": 1}, None, True])
async def test_wrong_types_are_told_not_raised(ws: RunningWorkspace, path: str, wrong: Any) -> None:
    fields = ("channel", "text", "action", "view_id", "state", "action_id", "block_id", "callback_id")
    async with aiohttp.ClientSession() as session:
        for field in fields:
            body = {"user": "U0ONCALL", "channel": INCIDENTS, "text": "x", field: wrong}
            async with session.post(f"{ws.url}/page/api/{path}", json=body) as answer:
                assert answer.status in (200, 400), (field, await answer.text())
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{ws.url}/page/api/history", params={"channel": INCIDENTS, "limit": "many"}) as answer,
    ):
        assert (await answer.json())["error"] == "invalid_arguments"


async def test_only_what_is_there_can_be_used(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    menu = {
        "type": "static_select",
        "action_id": "severity",
        "options": [{"text": {"type": "plain_text", "text": "High"}, "value": "high"}],
    }
    await client.chat_postMessage(
        channel=INCIDENTS, text="x", blocks=[{"type": "actions", "block_id": "b", "elements": [menu]}]
    )
    message = await ws.message("x")
    place = {"user": "U0ONCALL", "channel": INCIDENTS, "message_ts": message["ts"]}
    with pytest.raises(Refused, match="action_not_found"):
        await ws.post("action", {**place, "action": {"action_id": "resolve", "block_id": "b"}})
    made_up = {"action_id": "severity", "selected_option": {"value": "none"}}
    with pytest.raises(Refused, match="option_not_found"):
        await ws.post("action", {**place, "action": made_up})


async def test_another_site_may_not_act(ws: RunningWorkspace) -> None:
    body = {"user": "U0ONCALL", "channel": INCIDENTS, "text": "x"}
    stranger = {"Origin": "http://example.com"}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{ws.url}/page/api/message", json=body, headers=stranger) as answer:
            assert answer.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{ws.url}/page/ws?user=U0ONCALL", headers=stranger)
        own = {"Origin": ws.url}
        async with session.post(f"{ws.url}/page/api/message", json=body, headers=own) as answer:
            assert answer.status == 200
        async with session.post(f"{ws.url}/page/api/message", data=b"{") as answer:
            assert (await answer.json())["error"] == "invalid_json"


async def test_each_watcher_sees_their_own(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    async with aiohttp.ClientSession() as session:

        async def until_message(user: str, ready: asyncio.Event) -> list[str]:
            seen = []
            async with session.ws_connect(f"{ws.url}/page/ws", params={"user": user}) as socket:
                assert (await socket.receive_json())["type"] == "bot"
                ready.set()
                while True:
                    event = await socket.receive_json()
                    seen.append(event["type"])
                    if event["type"] == "message":
                        return seen

        watching = []
        for user in ("U0ONCALL", "U0VIEWER"):
            ready = asyncio.Event()
            watching.append(asyncio.create_task(until_message(user, ready)))
            await ready.wait()
        await client.chat_postEphemeral(channel=INCIDENTS, user="U0VIEWER", text="psst")
        await client.chat_postMessage(channel=INCIDENTS, text="all")
        assert await asyncio.gather(*watching) == [["message"], ["ephemeral", "message"]]


async def test_events_show_a_message_as_it_was(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    with ws.events() as events:
        ts = (await client.chat_postMessage(channel=INCIDENTS, text="first"))["ts"]
        await client.chat_update(channel=INCIDENTS, ts=ts, text="second")
        shown: list[tuple[str, str]] = []
        async with asyncio.timeout(45):
            while len(shown) < 2:
                event = await events.get()
                if "message" in event:
                    shown.append((event["type"], event["message"]["text"]))
    assert shown == [("message", "first"), ("message_changed", "second")]


async def test_response_urls(ws: RunningWorkspace) -> None:
    async with over_sockets(ws) as app:
        person = ws.person()
        await person.command("/panic form")
        body = await app.got("command")
        url = body["response_url"]
        webhook = AsyncWebhookClient(url)
        assert (await webhook.send(text="only you")).status_code == 200
        assert (await webhook.send(text="for all", response_type="in_channel")).status_code == 200
        bad = await webhook.send(blocks=[{"type": "popup"}])
        assert bad.status_code == 400
        assert json.loads(bad.body)["error"] == "invalid_blocks"
        await person.ephemeral("only you")
        await ws.message("for all")
        for _ in range(2):
            await webhook.send(text="x")
        used = await webhook.send(text="sixth")
        assert (used.status_code, json.loads(used.body)["error"]) == (404, "used_url")
        unknown = await AsyncWebhookClient(url[:-4]).send(text="x")
        assert json.loads(unknown.body)["error"] == "expired_url"


async def test_a_response_replaces_or_deletes_what_was_clicked(ws: RunningWorkspace) -> None:
    async with over_sockets(ws) as app:
        person = ws.person()
        changes: list[dict[str, Any]] = [
            {"replace_original": True, "text": "replaced"},
            {"delete_original": True},
        ]
        for n, change in enumerate(changes, 1):
            await person.command("/panic post")
            message = await ws.message("web-17")
            await person.click(message, "Run triage")
            url = (await app.got("triage", count=n))["response_url"]
            await ws.reply(message, "triage started")
            assert (await AsyncWebhookClient(url).send_dict(change)).status_code == 200
            if "text" in change:
                assert visible_text(await ws.changed(message, "replaced")) == "replaced"
            else:
                await ws.changed(message, lambda m: m.get("subtype") == "tombstone")


async def test_a_click_in_a_thread_is_answered_there(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    press = {"type": "button", "action_id": "triage", "text": {"type": "plain_text", "text": "Press"}}
    blocks = [{"type": "actions", "elements": [press]}]
    parent = (await client.chat_postMessage(channel=INCIDENTS, text="parent", blocks=blocks))["ts"]
    reply = (await client.chat_postMessage(channel=INCIDENTS, text="reply", blocks=blocks, thread_ts=parent))[
        "ts"
    ]
    async with over_sockets(ws) as app:
        person = ws.person()
        for count, (ts, thread_ts) in enumerate(((parent, None), (reply, parent)), 1):
            message = ws.workspace.messages.find(INCIDENTS, ts)
            assert message is not None
            await person.click(message, "Press")
            url = (await app.got("triage", count=count))["response_url"]
            answer = {"text": f"answer {count}", "response_type": "ephemeral", "replace_original": False}
            await AsyncWebhookClient(url).send_dict(answer)
            told = await person.ephemeral(f"answer {count}")
            assert told.get("thread_ts") == thread_ts


async def test_response_urls_fail_on_demand(ws: RunningWorkspace) -> None:
    url = ws.workspace.tickets.response_url(
        "commands", base=ws.url, channel=INCIDENTS, user="U0ONCALL", message_ts=None, thread_ts=None
    )
    await ws.rate_limit("response_url", retry_after=3)
    limited = await AsyncWebhookClient(url, retry_handlers=[]).send(text="x")
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "3")
    await ws.fail("response_url", "500")
    assert (await AsyncWebhookClient(url, retry_handlers=[]).send(text="x")).status_code == 500


async def test_response_urls_expire() -> None:
    now = [1_700_000_000.0]
    async with running_workspace(clock=lambda: now[0]) as ws:
        url = ws.workspace.tickets.response_url(
            "commands", base=ws.url, channel=INCIDENTS, user="U0ONCALL", message_ts=None, thread_ts=None
        )
        now[0] += 30 * 60 + 1
        late = await AsyncWebhookClient(url).send(text="late")
    assert (late.status_code, json.loads(late.body)["error"]) == (404, "expired_url")


async def test_external_selects_ask_the_app(ws: RunningWorkspace, client: AsyncWebClient) -> None:
    menu = {"type": "external_select", "action_id": "host", "min_query_length": 1}
    async with over_sockets(ws):
        await client.chat_postMessage(
            channel=INCIDENTS, text="which host?", blocks=[{"type": "actions", "elements": [menu]}]
        )
        message = await ws.message("which host?")
        offered = await ws.person().suggestions(message, "host", "web")
    assert [entry["value"] for entry in offered] == ["web-17"]


async def test_the_page_is_served(ws: RunningWorkspace) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/", f"/archives/{INCIDENTS}/p1700000000000100?thread_ts=1.2"):
            async with session.get(ws.url + path) as answer:
                assert answer.content_type == "text/html"
        async with session.get(f"{ws.url}/static/../../server.py") as answer:
            assert answer.status == 404


async def test_slackbot_announces(ws: RunningWorkspace) -> None:
    ws.workspace.announce(INCIDENTS, "Press *Run triage*.")
    assert (await ws.message("Run triage"))["user"] == "USLACKBOT"
