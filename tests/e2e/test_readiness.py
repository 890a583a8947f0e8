"""`/panic ready` in the demo: replayed hosts are asked, and a person reads what mends them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from bot.demo.supervisor import Demo
from bot.demo.workspace.testing import visible_text, visiting
from tests.hosts.world import until

pytestmark = pytest.mark.timeout(300)


async def test_a_person_asks_the_fleet_and_reads_what_mends_a_host(
    start_demo: Callable[..., tuple[Demo, Any]],
) -> None:
    demo, page = await asyncio.to_thread(start_demo)
    async with visiting(page) as slack:
        on_call = slack.person("U0ONCALL")
        await on_call.command("/panic ready ring:canary")
        asked = await on_call.ephemeral("Readiness for the next panic", timeout=60)
        assert "3 hosts" in visible_text(asked)

        async def answered() -> bool:
            with closing(sqlite3.connect(demo.data / "panicroom.db")) as database:
                rows = database.execute(
                    "select host from host_readiness where answered_at is not null and wanted_at is null"
                )
                return len(rows.fetchall()) == 3

        await until(answered, 90)
        await on_call.command("/panic ready show edge-1")
        shown = visible_text(await on_call.ephemeral("sudo update-grub", timeout=60))
        assert "not ready" in shown
        assert "no crashkernel=" in shown
