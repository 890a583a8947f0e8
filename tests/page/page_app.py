"""A Bolt app behind the page: remembers what reaches it; answers with modals, options, words to one person, a home."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bot.demo.workspace.testing import RunningWorkspace
from tests.page.gallery import DETAILS, FORM, HOME, option, section

Json = dict[str, Any]

DEADLINE = 45.0


class PageApp:
    """`received` holds (kind, payload) as they arrive; action, submit, close, command, shortcut, mention."""

    def __init__(self, workspace: RunningWorkspace) -> None:
        self.received: list[tuple[str, Json]] = []
        self.client = AsyncWebClient(token=workspace.bot_token, base_url=workspace.api_url)
        self.bolt = AsyncApp(
            client=self.client, signing_secret=workspace.signing_secret, process_before_response=True
        )
        self._arrived = asyncio.Condition()
        self._listen()

    async def got(self, kind: str, *, count: int = 1) -> Json:
        """The `count`-th payload of `kind`, once it is here."""

        def found() -> list[Json]:
            return [payload for name, payload in self.received if name == kind]

        async with asyncio.timeout(DEADLINE), self._arrived:
            await self._arrived.wait_for(lambda: len(found()) >= count)
        return found()[count - 1]

    async def _note(self, kind: str, payload: Json) -> None:
        async with self._arrived:
            self.received.append((kind, payload))
            self._arrived.notify_all()

    def _listen(self) -> None:
        bolt = self.bolt

        @bolt.action(re.compile(".*"))
        async def acted(ack: Any, body: Json, client: AsyncWebClient) -> None:
            await ack()
            await self._note("action", body)
            name, trigger = body["actions"][0]["action_id"], body["trigger_id"]
            if name == "incident.resolve":
                await client.views_open(trigger_id=trigger, view=FORM)
            elif name == "form.refresh":
                fresh = copy.deepcopy(FORM)
                fresh["blocks"].append(section("Refreshed just now"))
                await client.views_update(view_id=body["view"]["id"], view=fresh)
            elif name == "form.details":
                await client.views_push(trigger_id=trigger, view=DETAILS)

        @bolt.view("resolve")
        async def submitted(ack: Any, body: Json) -> None:
            cause = body["view"]["state"]["values"]["cause"]["text"]["value"]
            if "unknown" in cause:
                await ack(response_action="errors", errors={"cause": "Say what it was."})
            else:
                await ack()
            await self._note("submit", body)

        @bolt.view_closed("resolve")
        async def closed(ack: Any, body: Json) -> None:
            await ack()
            await self._note("close", body)

        @bolt.options("change.key")
        async def suggested(ack: Any, payload: Json) -> None:
            await ack(
                options=[option(f"OPS-1182 {payload['value']}", "OPS-1182"), option("OPS-1190", "OPS-1190")]
            )

        @bolt.command("/panic")
        async def commanded(ack: Any, respond: Any, command: Json) -> None:
            await ack()
            await self._note("command", command)
            await respond(f"heard: {command['text']}")

        @bolt.shortcut(re.compile("triage_here|report_panic"))
        async def shortcut(ack: Any, body: Json) -> None:
            await ack()
            await self._note("shortcut", body)

        @bolt.event("app_mention")
        async def mentioned(event: Json) -> None:
            await self._note("mention", event)

        @bolt.event("app_home_opened")
        async def home(event: Json, client: AsyncWebClient) -> None:
            await client.views_publish(user_id=event["user"], view=HOME)


@asynccontextmanager
async def page_app(workspace: RunningWorkspace) -> AsyncIterator[PageApp]:
    """The app, served on a free port and known to the workspace as its request URL."""
    app = PageApp(workspace)
    runner = web.AppRunner(app.bolt.web_app("/slack/events"), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        workspace.request_url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
        yield app
    finally:
        await runner.cleanup()
