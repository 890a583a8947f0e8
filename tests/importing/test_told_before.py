"""What a host has told of already is not doubled, and its thread is left in peace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from bot.demo.hosts.captures import load
from bot.importing import Importer, Tally
from storage import DumpState, Panic, Report, SlackMessage
from tests.importing.conftest import NOW, dmesg_of, put, put_dump
from tests.incident.floor import Floor, floor

STAMP = "202611230531"


def bring(bot: Floor, root: Path) -> Tally:
    return Importer(bot.db, bot.context.inventory, clock=lambda: NOW).run(root)


async def test_a_panic_that_a_report_told_of(tmp_path: Path) -> None:
    """By the same words, by the crash time, by the dump's directory, by printk's time alone."""
    root, oom, null = tmp_path / "archive", dmesg_of("oom"), dmesg_of("null-deref")
    died = datetime.fromtimestamp(load("oom").crash, UTC)
    put(root / f"words-{STAMP}" / f"dmesg.{STAMP}", null)
    put(root / f"printk-{STAMP}" / f"dmesg.{STAMP}", null)
    put(root / f"place-{STAMP}" / "vmcore-incomplete", b"\x7fELF" + bytes(900))
    put_dump(root / f"when-{STAMP}" / f"dump.{STAMP}", load("oom"))
    put(root / f"when-{STAMP}" / f"dmesg.{STAMP}", oom)
    async with floor(tmp_path) as bot:
        bot.clock.ahead = died + timedelta(minutes=30) - datetime.now(UTC)
        told = [
            await bot.report("words", null),
            await bot.report("printk", "".join(f"<4>{line}\n" for line in null.splitlines())),
            await bot.report(
                "place", dump={"path": f"/var/crash/{STAMP}/vmcore", "size": 9, "complete": None}
            ),
            await bot.report("when", occurred_at=died + timedelta(seconds=40)),
        ]
        before = {m.key for m in await bot.rows(SlackMessage)}
        tally = bring(bot, root)
        assert (tally.status, tally.counts) == (0, {"told": 4})
        after = {p.host: p for p in await bot.rows(Panic)}
        assert len(after) == len(await bot.rows(Panic)) == 4
        for panic in told:
            assert after[panic.host].incident_id == panic.incident_id is not None
        assert {m.key for m in await bot.rows(SlackMessage)} == before
        assert after["place"].dump_state is DumpState.INCOMPLETE
        assert after["when"].dump_state is DumpState.COMPLETE
        assert "out_of_memory" in after["when"].text
        assert len(await bot.rows(Report)) == 8
        assert bring(bot, root).counts == {"known": 4}


async def test_an_earlier_panic_of_the_same_kind_is_another(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    put(root / f"web-1-{STAMP}" / f"dmesg.{STAMP}", dmesg_of("null-deref"))
    async with floor(tmp_path) as bot:
        bot.clock.ahead = datetime(2026, 11, 23, 6, tzinfo=UTC) - datetime.now(UTC)
        await bot.report("web-1", dmesg_of("null-deref").replace("[  152.", "[  952."))
        assert bring(bot, root).counts == {"new": 1}
        assert len(await bot.rows(Panic)) == 2
