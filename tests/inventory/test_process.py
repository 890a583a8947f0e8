"""A running bot takes a new inventory on SIGHUP: a host leaves quarantine without a restart."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from tests.http.bot_process import running_bot


@pytest.fixture
async def ws() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace() as workspace:
        yield workspace


async def test_a_hangup_reads_the_source_again(tmp_path: Path, ws: RunningWorkspace) -> None:
    file = tmp_path / "fleet.json"
    file.write_text(json.dumps([{"name": "web-17"}]))
    source = '[inventory]\nclosed = true\nfile = "fleet.json"\n'
    async with running_bot(tmp_path, ws, extra=source) as bot:
        assert (await bot.report("boot-1", host="db-1"))[1]["status"] == "quarantined"
        file.write_text(json.dumps([{"name": "web-17"}, {"name": "db-1"}]))
        bot.process.send_signal(signal.SIGHUP)
        assert await ws.message("db-1 panicked", timeout=45)
        assert (await bot.report("boot-2", host="db-1"))[1]["status"] == "accepted"
        assert await bot.metric("panicroom_inventory_hosts") == 2
        on_call = ws.person("U0ONCALL")
        await on_call.command("/panic inventory")
        assert await on_call.ephemeral("2 hosts, 0 patterns; closed", timeout=45)
