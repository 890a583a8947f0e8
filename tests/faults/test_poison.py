"""What fails each time: it is put aside, shown, and in nobody's way."""

from __future__ import annotations

import asyncio
import json

from tests.faults import model
from tests.faults.world import ADMINS, World, until
from tests.forks import panicroom


async def test_a_poisoned_report_is_parked_shown_and_blocks_nobody(world: World) -> None:
    """No sender can make one that we know of: its row is damaged, as a defect of ours might leave it."""
    await world.bot.kill()
    body = json.dumps(
        {"dump": {"path": "/var/crash", "size": 1 << 62, "complete": True}, "kernel": "\ud800", "text": ""}
    )
    now = "2026-01-01 00:00:00.000000"
    world.bot.execute(
        "INSERT INTO report (external_id, host, source, body, received_at, state, attempts, next_at) "
        "VALUES ('poison', 'web-9', 'report', ?, ?, 'new', 0, ?)", body, now, now,
    )  # fmt: skip
    await world.bot.start()
    for n in range(3):
        await world.report(f"web-{n}", f"boot-{n}")
    await world.parent("3 hosts panicked")
    await until(
        lambda: world.bot.rows("SELECT 1 FROM report WHERE external_id = 'poison' AND state = 'parked'"), 100
    )
    told = await world.slack.message("Report R-1 of web-9 could not be read", channel=ADMINS, timeout=60)
    assert "It is kept" in told["text"]
    async with world.http.get(f"{world.bot.address}/metrics") as answer:
        assert 'panicroom_reports_waiting{state="parked"} 1.0' in await answer.text()
    said = await asyncio.to_thread(
        panicroom, "doctor", "--config", str(world.folder / "panicroom.toml"), cwd=world.folder
    )
    assert "1 report" in said.stdout, said.stdout
    assert "parked" in said.stdout or "could not be read" in said.stdout, said.stdout
    await world.quiet()
    assert model.wrong(world) == []


async def _asked_and_killed(world: World) -> None:
    """A note was acknowledged, and the process is gone; the request's row is as a commit left it."""
    await world.report("web-1", "boot-1")
    await world.quiet()
    await world.bot.kill()
    payload = {
        "command": "/panic", "text": "note P-1 reseated the DIMM", "user_id": "U0ONCALL", "channel_id": "C0INCIDENTS",
        "trigger_id": "1.2.3", "response_url": "",
    }  # fmt: skip
    world.bot.execute(
        "INSERT INTO slack_request (dedupe, kind, body, received_at, state, attempts) "
        "VALUES ('asked-once', 'command', ?, ?, 'new', 0)", json.dumps(payload), "2026-01-01 00:00:00.000000",
    )  # fmt: skip


async def test_a_command_that_ends_the_process_each_time_is_given_up_and_told(world: World) -> None:
    """Acknowledged is answered for: with its effect, or with the word that there may be none."""
    await _asked_and_killed(world)
    world.bot.execute("UPDATE slack_request SET attempts = 3")
    await world.bot.start()
    answer = await world.slack.person().ephemeral("was given up", timeout=60)
    assert "`/panic note P-1 reseated the DIMM` was given up" in answer["text"]
    assert "Look whether it was done before you try once more" in answer["text"]
    await world.quiet()
    assert world.bot.rows("SELECT count(*) FROM timeline_entry WHERE verb = 'note'") == [(0,)]


async def test_a_request_whose_row_is_damaged_keeps_nobody_from_starting(world: World) -> None:
    await _asked_and_killed(world)
    world.bot.execute(
        "INSERT INTO slack_request (dedupe, kind, body, received_at, state, attempts) "
        "VALUES ('damaged', 'command', '{', datetime('now') || '.000000', 'new', 0)"
    )
    await world.bot.start()
    await world.quiet()
    assert world.bot.rows("SELECT count(*) FROM timeline_entry WHERE verb = 'note'") == [(1,)]
    assert world.bot.rows("SELECT state FROM slack_request WHERE dedupe = 'damaged'") == [("failed",)]
