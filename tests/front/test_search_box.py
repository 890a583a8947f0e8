"""The search box of "Link a change", typed in by a person at both doors: Slack takes no answer after three seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from bot.demo.tracker import Tracker, make_app, seed
from bot.demo.workspace.testing import Person, Refused, RunningWorkspace
from commands.changes.config import ChangesConfig
from commands.changes.desk import ChangeDesk
from commands.changes.slack import register as register_changes
from integrations.changes import JiraConfig, JiraTracker
from storage import ChangeLink
from tests.incident.floor import Floor, floor, until
from tests.incident.texts import oops

LAST_KNOWN = "as last known; the tracker does not answer"
BOX = "changes.search"


@dataclass
class Jira:
    """The stand-in, with a door that can be held shut: who asks then waits."""

    tracker: Tracker = field(default_factory=lambda: Tracker(seed(time.time()), clock=time.time))
    url: str = ""
    held: bool = False
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    @web.middleware
    async def gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.held:
            await self.opened.wait()
        answer = await handler(request)
        assert isinstance(answer, web.StreamResponse)
        return answer

    def open(self) -> None:
        self.held = False
        self.opened.set()


@asynccontextmanager
async def with_changes(bot: Floor) -> AsyncIterator[Jira]:
    """A change desk behind the doors, and the Jira that it asks."""
    jira = Jira()
    app = make_app(jira.tracker)
    app.middlewares.insert(0, jira.gate)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    jira.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    config = JiraConfig(
        url=jira.url, email=jira.tracker.email, token=SecretStr(jira.tracker.token), projects=("OPS",)
    )
    client = JiraTracker(config)
    desk = ChangeDesk(bot.context, client, ChangesConfig(automatic=False))
    register_changes(bot.router, desk)
    task = asyncio.create_task(desk.run())
    try:
        yield jira
    finally:
        jira.open()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await client.close()
        await runner.cleanup()


async def offered(person: Person, form: dict[str, Any], typed: str, *values: str) -> list[dict[str, Any]]:
    """The options once they are these. Under load one answer may be too late for Slack: people type on."""

    async def now() -> list[dict[str, Any]] | None:
        try:
            options = await person.suggestions(form, BOX, typed)
        except Refused:
            return None
        return options if [one["value"] for one in options] == list(values) else None

    found = await until(now, 30)
    assert found is not None
    return found


@pytest.mark.parametrize("doors", ["http", "socket"])
async def test_a_person_searches_and_chooses_and_a_tracker_that_hangs_is_no_empty_box(
    tmp_path: Path, ws: RunningWorkspace, doors: str
) -> None:
    async with floor(tmp_path, ws, doors=doors) as bot, with_changes(bot) as jira:
        await bot.report("web-17", oops())
        bot.printer.wake()
        parent = await ws.message("web-17 panicked")
        on_call = ws.person("U0ONCALL")
        await on_call.click(parent, "Link change")
        form = await on_call.modal("Link a change")

        (found,) = await offered(on_call, form, "roll kern", "OPS-1182")
        assert found["text"]["text"].startswith("OPS-1182 (In Progress) roll kernel 6.1.0-56")
        await offered(on_call, form, "", "OPS-1179")
        (unknown,) = await offered(on_call, form, "OPS-4711", "OPS-4711")
        assert unknown["description"]["text"] == "the tracker does not know it"
        assert not await bot.requests_stored() or {r.kind for r in await bot.requests_stored()} == {
            "block_actions"
        }, "what is typed is answered, and not kept"

        values = {"ticket": {BOX: {"type": "external_select", "selected_option": found}}}
        body = {"user": "U0ONCALL", "view_id": form["id"], "state": {"values": values}}
        assert not (await ws.post("view_submit", body)).get("errors")
        await ws.reply(parent, "OPS-1182")

        async def told() -> bool:
            return any(link.told_at for link in await bot.rows(ChangeLink))

        await until(told, 30)

        # Jira hangs: what was linked before is offered, in time, and any key may still be typed.
        jira.held = True
        await on_call.click(parent, "Link change")
        form = await on_call.modal("Link a change")
        (known,) = await offered(on_call, form, "roll", "OPS-1182")
        assert known["description"]["text"] == LAST_KNOWN
        (typed,) = await offered(on_call, form, "ops-1171", "OPS-1171")
        assert typed["description"]["text"] == "link it; it is looked up afterwards"

        # And once it answers again, it is asked again.
        jira.open()
        bot.clock.forward(minutes=1)
        (again,) = await offered(on_call, form, "disk she", "OPS-1102")
        assert "description" not in again
