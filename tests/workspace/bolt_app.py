"""A small Bolt app, as a stranger would write it, to drive the workspace with clients that are not ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bot.demo.workspace.testing import RunningWorkspace

Json = dict[str, Any]

FORM: Json = {
    "type": "modal",
    "callback_id": "resolve",
    "title": {"type": "plain_text", "text": "Resolve P-1"},
    "submit": {"type": "plain_text", "text": "Resolve"},
    "notify_on_close": True,
    "private_metadata": "P-1",
    "blocks": [
        {
            "type": "input",
            "block_id": "cause",
            "label": {"type": "plain_text", "text": "Cause"},
            "element": {"type": "plain_text_input", "action_id": "text", "multiline": True},
        },
        {
            "type": "input",
            "block_id": "fixed_by",
            "optional": True,
            "label": {"type": "plain_text", "text": "Fixed by"},
            "element": {
                "type": "static_select",
                "action_id": "how",
                "options": [
                    {"text": {"type": "plain_text", "text": "Hardware swap"}, "value": "hardware"},
                    {"text": {"type": "plain_text", "text": "Kernel update"}, "value": "kernel"},
                ],
            },
        },
    ],
}


class SmallApp:
    """Answers /panic, a button, a modal, a menu, a mention, a shortcut and the App Home; remembers what it got."""

    def __init__(self, workspace: RunningWorkspace) -> None:
        self.received: list[tuple[str, Json]] = []
        self.arrived = asyncio.Condition()
        self.client = AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url)
        self.app = AsyncApp(
            client=self.client, signing_secret=workspace.signing_secret, process_before_response=True
        )
        self._listen()

    async def note(self, kind: str, body: Json) -> None:
        async with self.arrived:
            self.received.append((kind, body))
            self.arrived.notify_all()

    async def got(self, kind: str, *, count: int = 1, timeout: float = 45.0) -> Json:
        """The last payload of `kind`, once there are `count` of them."""

        def bodies() -> list[Json]:
            return [body for name, body in self.received if name == kind]

        async with asyncio.timeout(timeout), self.arrived:
            await self.arrived.wait_for(lambda: len(bodies()) >= count)
            return bodies()[-1]

    def _listen(self) -> None:
        app, note = self.app, self.note

        @app.command("/panic")
        async def command(ack: Any, body: Json, respond: Any, client: AsyncWebClient) -> None:
            if body["text"] == "quick":
                await ack("at once")
            elif body["text"] == "slow":
                await note("command", body)
                await asyncio.sleep(5)
                return
            elif body["text"] == "form":
                await ack()
                await client.views_open(trigger_id=body["trigger_id"], view=FORM)
            elif body["text"].startswith("post"):
                await ack()
                await client.chat_postMessage(
                    channel=body["channel_id"],
                    text="posted",
                    blocks=[
                        {"type": "section", "text": {"type": "mrkdwn", "text": "*web-17* panicked"}},
                        {
                            "type": "actions",
                            "block_id": "buttons",
                            "elements": [
                                {
                                    "type": "button",
                                    "action_id": "triage",
                                    "value": "P-1",
                                    "text": {"type": "plain_text", "text": "Run triage"},
                                },
                                {
                                    "type": "overflow",
                                    "action_id": "more",
                                    "options": [
                                        {
                                            "text": {"type": "plain_text", "text": "Resolve"},
                                            "value": "resolve",
                                        },
                                        {"text": {"type": "plain_text", "text": "Note"}, "value": "note"},
                                    ],
                                },
                            ],
                        },
                    ],
                )
            else:
                await ack()
                await respond(f"later: {body['text']}")
            await note("command", body)

        @app.action("triage")
        async def triage(ack: Any, body: Json, client: AsyncWebClient) -> None:
            await ack()
            await client.chat_postMessage(
                channel=body["channel"]["id"], thread_ts=body["message"]["ts"], text="triage started"
            )
            await note("triage", body)

        @app.action("more")
        async def more(ack: Any, body: Json, client: AsyncWebClient) -> None:
            await ack()
            await client.views_open(trigger_id=body["trigger_id"], view=FORM)
            await note("more", body)

        @app.view("resolve")
        async def resolve(ack: Any, body: Json) -> None:
            cause = body["view"]["state"]["values"]["cause"]["text"]["value"]
            if cause == "unknown":
                await ack(response_action="errors", errors={"cause": "Say what it was."})
            elif cause == "next":
                await ack(response_action="push", view={**FORM, "callback_id": "second"})
            else:
                await ack()
            await note("resolve", body)

        @app.view_closed("resolve")
        async def closed(ack: Any, body: Json) -> None:
            await ack()
            await note("closed", body)

        @app.event("app_mention")
        async def mention(body: Json, say: Any) -> None:
            event = body["event"]
            await note("app_mention", body)
            await say(f"heard {event['user']}", thread_ts=event.get("thread_ts", event["ts"]))

        @app.event("app_home_opened")
        async def home(body: Json, client: AsyncWebClient) -> None:
            view = {
                "type": "home",
                "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "Open panics"}}],
            }
            await client.views_publish(user_id=body["event"]["user"], view=view)
            await note("home", body)

        @app.shortcut("file_panic")
        async def shortcut(ack: Any, body: Json) -> None:
            await ack()
            await note("shortcut", body)

        @app.options("host")
        async def options(ack: Any, body: Json) -> None:
            typed = body["value"]
            await ack(
                options=[{"text": {"type": "plain_text", "text": f"{typed}-17"}, "value": f"{typed}-17"}]
            )


@asynccontextmanager
async def over_http(workspace: RunningWorkspace) -> AsyncIterator[SmallApp]:
    """The app in HTTP mode on a free port; the workspace sends there until the block ends."""
    small = SmallApp(workspace)

    async def endpoint(request: web.Request) -> web.Response:
        return await to_aiohttp_response(await small.app.async_dispatch(await to_bolt_request(request)))

    server = web.Application()
    server.router.add_post("/slack/events", endpoint)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        workspace.request_url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
        await workspace.until_connected()
        yield small
    finally:
        await runner.cleanup()
        workspace.request_url = None


@asynccontextmanager
async def over_sockets(workspace: RunningWorkspace, *, sockets: int = 1) -> AsyncIterator[SmallApp]:
    """The app in Socket Mode, with so many open sockets."""
    small = SmallApp(workspace)
    handlers = [
        AsyncSocketModeHandler(small.app, workspace.app_token, web_client=small.client, ping_interval=0.2)
        for _ in range(sockets)
    ]
    try:
        for handler in handlers:
            await handler.connect_async()  # type: ignore[no-untyped-call]
        async with asyncio.timeout(45):
            while workspace.workspace.sockets.connected < sockets:
                await asyncio.sleep(0.01)
        yield small
    finally:
        for handler in handlers:
            await handler.close_async()  # type: ignore[no-untyped-call]
