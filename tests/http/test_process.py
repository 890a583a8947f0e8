"""The main path of `panicroom run`, by both doors and on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import select

from bot.demo.workspace.testing import RunningWorkspace, running_workspace, visible_text
from storage import Database, RunbookRun, RunState, SlackRequest, migrations
from tests.http.bot_process import panicroom, running_bot


@pytest.fixture
async def ws() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace() as workspace:
        yield workspace


@pytest.mark.parametrize(
    ("mode", "backend"),
    [("http", "sqlite"), ("socket", "sqlite"), ("http", "postgresql"), ("socket", "postgresql")],
)
async def test_a_report_becomes_a_thread_that_can_be_clicked(
    tmp_path: Path, ws: RunningWorkspace, mode: str, backend: str, request: pytest.FixtureRequest
) -> None:
    """`server.body_limit` is 1 KiB here: a click is longer, and is Slack's."""
    database = f"sqlite:///{tmp_path}/panicroom.db"
    if backend == "postgresql":
        database = str(request.getfixturevalue("postgres_url"))
    on_call = ws.person("U0ONCALL")
    async with running_bot(tmp_path, ws, mode=mode, database=database) as bot:
        assert await bot.report("boot-1") == (202, {"report_id": "R-1", "status": "accepted"})
        parent = await ws.message("web-17 panicked: NULL pointer dereference in nvme_irq", timeout=30)
        await on_call.click(parent, "Acknowledge")
        await ws.changed(parent, lambda m: "acknowledged" in visible_text(m).lower(), timeout=30)
        await on_call.click(parent, "Run triage")
        await ws.reply(parent, lambda m: "triage" in visible_text(m).lower(), timeout=30)
        await _until_triage_ended(database)
        await on_call.command("/panic list host:web-*")
        assert "P-1" in visible_text(await on_call.ephemeral("P-1", timeout=30))
        assert await bot.metric("panicroom_slack_ack_seconds_count") >= 3
        assert await bot.metric('panicroom_reports_waiting{state="new"}') == 0
        assert await bot.metric('panicroom_reports_waiting{state="parked"}') == 0
        assert json.loads(await bot.get("/readyz"))["ready"] is True
        if mode == "http":
            assert await bot.post("/slack/events", b"x" * 1024 * 1000) == (401, "bad_signature")
            assert await bot.post("/slack/events", b"x" * (1024 * 1024 + 1)) == (413, "body_too_large")
            assert await bot.post("/v1/panics", b"x" * 1025) == (413, "body_too_large")
    assert await asyncio.to_thread(migrations.check, database) == []

    async with running_bot(tmp_path, ws, mode=mode, database=database) as bot:
        assert await bot.report("boot-1") == (200, {"report_id": "R-1", "status": "duplicate"})
        assert len([m for m in await ws.history() if "web-17 panicked" in m.get("text", "")]) == 1
        status, out, err = await panicroom("show", "P-1", "--json", cwd=tmp_path)
        assert (status, err) == (0, "")
        shown = json.loads(out)
        assert (shown["panic"]["host"], shown["incident"]["state"]) == ("web-17", "acknowledged")
        assert [run["kind"] for run in shown["runs"]] == ["triage"]
    assert "Traceback" not in (tmp_path / "bot.log").read_text()


async def _until_triage_ended(database: str) -> None:
    """There is no key to log in with: the run ends, and says so."""
    db = Database(database)
    try:
        async with asyncio.timeout(60):
            while True:
                runs = await db.read(lambda s: s.exec(select(RunbookRun)).all())
                if runs and all(run.state in (RunState.DONE, RunState.FAILED) for run in runs):
                    break
                await asyncio.sleep(0.05)
            while (
                True
            ):  # each click was stored before its acknowledgement, and keeps no payload when it is done
                clicks = await db.read(lambda s: s.exec(select(SlackRequest)).all())
                if all(click.state == "done" for click in clicks):
                    break
                await asyncio.sleep(0.05)
        assert len(clicks) == 2
        assert {click.body for click in clicks} == {""}
    finally:
        await asyncio.to_thread(db.close)
