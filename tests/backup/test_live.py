"""A backup of a bot at work, restored elsewhere after the bot was killed: nothing of it is lost or said twice."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlmodel import select

from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from integrations.inbound import signed_headers
from storage import Database, MessageState, Panic, Report, ReportState, SlackMessage
from tests.http.bot_process import OOPS, SECRET, BotProcess, panicroom, running_bot


@pytest.fixture
async def ws() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace() as workspace:
        yield workspace


async def until_told(url: str, known: set[str]) -> dict[str, str]:
    """When each of these reports has a panic whose thread stands: host -> the thread's ts."""
    db = Database(url)
    try:
        async with asyncio.timeout(60):
            while True:
                reports = await db.read(lambda s: s.exec(select(Report)).all())
                panics = {p.id: p for p in await db.read(lambda s: s.exec(select(Panic)).all())}
                messages = {m.key: m for m in await db.read(lambda s: s.exec(select(SlackMessage)).all())}
                done = {r.host: panics[r.panic_id] for r in reports if r.state is ReportState.DONE}
                threads = {h: messages.get(f"incident:{p.incident_id}") for h, p in done.items()}
                if known <= {r.external_id for r in reports} and len(done) == len(reports) and all(
                    m is not None and m.ts is not None and m.state is MessageState.SENT for m in threads.values()
                ):  # fmt: skip
                    return {h: str(m.ts) for h, m in threads.items() if m is not None}
                await asyncio.sleep(0.05)
    finally:
        await asyncio.to_thread(db.close)


async def report(bot: BotProcess, name: str) -> tuple[int, str]:
    """A panic of a signature of its own, so that it has a thread of its own. The status, and what the bot says."""
    text = OOPS.replace("nvme_irq", f"{name}_irq")
    body = json.dumps({"id": name, "host": name, "text": text, "kernel": "6.1.0-31-amd64"}).encode()
    headers = signed_headers(SECRET, int(time.time()), body)
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{bot.address}/v1/panics", data=body, headers=headers) as answer,
    ):
        return answer.status, (await answer.json())["status"]


async def test_a_backup_in_the_midst_of_work(tmp_path: Path, ws: RunningWorkspace) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    acknowledged: list[str] = []

    async def load(names: tuple[str, ...]) -> None:
        for name in names:
            assert (await report(bot, name))[0] == 202
            acknowledged.append(name)

    async with running_bot(old, ws) as bot:
        await load(("alpha", "bravo"))
        before = set(acknowledged)
        taking = asyncio.create_task(panicroom("db", "backup", "mid.zip", "--json", cwd=old))
        work = asyncio.create_task(load(("delta", "echo")))
        status, out, err = await taking
        assert (status, err) == (0, "")
        held = json.loads(out)["tables"]["panicroom/report"]
        await work
        await load(("golf",))  # certainly later than the backup
        refused, _, why = await panicroom("db", "restore", "mid.zip", "--replace", cwd=old)
        assert (refused, "Stop the bot first" in why) == (1, True)
        await until_told(f"sqlite:///{old}/panicroom.db", set(acknowledged))
        parents = parents_of(await ws.history())
        assert len(parents) == len(acknowledged) == 5
        bot.process.kill()
        bot.process.wait(45)
        bot.process.returncode = 0  # what running_bot asks for

    (new / "panicroom.toml").write_text((old / "panicroom.toml").read_text())
    status, out, err = await panicroom("db", "restore", str(old / "mid.zip"), cwd=new)
    assert (status, err) == (0, "")
    assert "Restored as of" in out
    async with running_bot(new, ws) as bot:
        await ws.message("The database was restored as of", timeout=45)
        threads = await until_told(f"sqlite:///{new}/panicroom.db", before)
        assert before <= set(threads)
        assert held == len(threads) < 5
        now = parents_of(await ws.history())
        assert set(now) == set(parents)  # each stands as it stood, and none was opened a second time
        lost = {ts for ts, text in now.items() if "does not remember it any more" in text}
        assert lost == set(parents) - set(threads.values())
        for name, ts in threads.items():
            assert f"{name}_irq" in now[ts]
        assert [(await report(bot, name))[1] for name in sorted(before)] == ["duplicate"] * 2
        assert await report(bot, "golf") == (202, "accepted")
    assert "Traceback" not in (new / "bot.log").read_text()


def parents_of(messages: list[dict[str, Any]]) -> dict[str, str]:
    """The threads that were opened in the incident channel: ts -> text."""
    return {
        str(m["ts"]): str(m.get("text", ""))
        for m in messages
        if m.get("thread_ts") in (None, m["ts"]) and "The database was restored" not in str(m.get("text", ""))
    }
