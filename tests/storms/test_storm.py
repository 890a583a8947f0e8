"""Many hosts of one signature: one thread, a count, digests, one closing word; nothing is lost."""

from __future__ import annotations

from pathlib import Path

from sqlmodel import select

from bot.demo.workspace.testing import RunningWorkspace
from commands.incident.pace import Pace
from commands.incident.stormdesk import StormDesk
from commands.inventory import HostEntry
from storage import Incident, Panic, Report, ReportState, SlackMessage, Storm
from tests.incident.floor import Floor, floor, until
from tests.incident.texts import oops
from tests.intake.test_desk import POISON

HOSTS = 60


async def hosts(bot: Floor, count: int, *, first: int = 0, function: str = "nvme_irq") -> None:
    for n in range(first, first + count):
        await bot.store(f"web-{n}", oops(function, uptime=5000.25 + n * 1.5), occurred_at=bot.clock())
    while await bot.intake.drain():
        pass


async def said(bot: Floor, part: str) -> list[str]:
    return [m.key for m in await bot.rows(SlackMessage) if part in m.key]


async def test_one_thread_counts_them_and_posts_nothing_of_single_hosts(
    bot: Floor, ws: RunningWorkspace
) -> None:
    await hosts(bot, HOSTS)
    (incident,) = await bot.rows(Incident)
    assert {p.incident_id for p in await bot.rows(Panic)} == {incident.id}
    assert await said(bot, "joined:") == []
    assert await said(bot, "text:") == [f"text:1:{incident.id}"]  # the first one's own
    bot.printer.wake()
    parent = await ws.message(f"{HOSTS} hosts panicked")
    assert "60 of 60 on `6.1.0-31-amd64`" in str(parent["blocks"])


async def test_digests_keep_their_distance_and_one_closes_it(bot: Floor, ws: RunningWorkspace) -> None:
    desk = StormDesk(bot.context, bot.incidents.storm)
    await hosts(bot, 20)
    await desk.tick()
    assert await said(bot, "digest:") == []
    bot.clock.forward(seconds=31)
    await hosts(bot, 10, first=20)
    for _ in range(3):
        await desk.tick()
    assert await said(bot, "digest:") == ["digest:1:1"]
    bot.printer.wake()
    parent = await ws.message("30 hosts panicked")
    await ws.reply(parent, "30 hosts so far")
    bot.clock.forward(minutes=3)
    for _ in range(3):
        await desk.tick()
    bot.printer.wake()
    await ws.reply(parent, "The storm is over: 30 hosts")
    await ws.reply(parent, "Hosts over time")
    (upload,) = [
        c for c in await ws.calls("files.getUploadURLExternal") if "-storm-" in c["arguments"]["filename"]
    ]
    assert "30 hosts, a bar each" in upload["arguments"]["alt_txt"]
    assert await said(bot, "digest:") == ["digest:1:1", "digest:1:2"]
    (storm,) = await storms(bot)
    assert storm.closed_at is not None


async def storms(bot: Floor) -> list[Storm]:
    return list(await bot.db.read(lambda s: s.exec(select(Storm).order_by(Storm.incident_id)).all()))  # type: ignore[arg-type]


async def test_a_digest_that_slack_has_not_taken_is_brought_up_to_date(quiet: Floor) -> None:
    desk = StormDesk(quiet.context, quiet.incidents.storm)
    await hosts(quiet, 12)
    for number in range(3):
        quiet.clock.forward(seconds=31)
        await hosts(quiet, 5, first=12 + 5 * number)
        await desk.tick()
    digests = [m for m in await quiet.rows(SlackMessage) if m.key.startswith("digest:")]
    assert [m.key for m in digests] == ["digest:1:1"]
    assert "*27 hosts so far*" in (digests[0].payload or {})["text"]


async def test_two_signatures_on_one_kernel_in_one_minute_are_one_event(quiet: Floor) -> None:
    await hosts(quiet, 12)
    await hosts(quiet, 3, first=100, function="ext4_writepages")
    one, two = await storms(quiet)
    assert (one.lead_id, two.lead_id) == (one.incident_id, one.incident_id)
    assert await said(quiet, f"event:{two.incident_id}") == [f"event:{two.incident_id}:{one.incident_id}"]
    desk = StormDesk(quiet.context, quiet.incidents.storm)
    quiet.clock.forward(seconds=31)
    await desk.tick()
    (digest,) = [m for m in await quiet.rows(SlackMessage) if m.key.startswith("digest:")]
    assert "*15 hosts so far*" in (digest.payload or {})["text"]


async def test_another_kernel_or_another_minute_is_another_event(quiet: Floor) -> None:
    await hosts(quiet, 12)
    quiet.clock.forward(minutes=5)
    await hosts(quiet, 1, first=100, function="ext4_writepages")
    assert len(await storms(quiet)) == 1


async def test_evidence_is_collected_of_the_first_few_and_of_every_critical_host(tmp_path: Path) -> None:
    entries = (HostEntry(name="web-1[0-1]", criticality="critical"), HostEntry(name="web-*"))
    async with floor(tmp_path, hosts=entries) as bot:
        begun: list[int] = []

        async def collect(panic_id: int, _by: str, _key: str) -> None:
            begun.append(panic_id)
            desk._refused.add(panic_id)  # as if its run were there

        desk = StormDesk(bot.context, bot.incidents.storm, collect=collect)
        await hosts(bot, 20)
        await desk.tick()
        assert begun == []  # nothing is told of it yet
        bot.clock.forward(seconds=31)
        await desk.tick()
        await desk.tick()
        critical = [p.id for p in await bot.rows(Panic) if p.criticality == "critical"]
        assert sorted(begun) == sorted([1, 2, 3, *critical])
        (digest,) = [m for m in await bot.rows(SlackMessage) if m.key.startswith("digest:")]
        text = (digest.payload or {})["text"]
        assert "Critical: web-10, web-11" in text
        assert "from the first 3 hosts and from every critical one" in text


async def test_many_reports_share_a_transaction_and_a_poisoned_one_loses_none_of_them(quiet: Floor) -> None:
    for n in range(40):
        body = POISON if n == 17 else {}
        await quiet.store(f"web-{n}", oops(uptime=5000.25 + n * 1.5), occurred_at=quiet.clock(), **body)
    for _ in range(3):
        while await quiet.intake.drain():
            pass
        quiet.clock.forward(seconds=11)
    states = [r.state for r in await quiet.rows(Report)]
    assert states.count(ReportState.PARKED) == 1
    assert states[17] is ReportState.PARKED
    assert states.count(ReportState.DONE) == 39
    assert len({p.host for p in await quiet.rows(Panic)}) == 39


async def test_after_the_storm_a_host_is_told_of_again(quiet: Floor) -> None:
    desk = StormDesk(quiet.context, quiet.incidents.storm)
    await hosts(quiet, 10)
    quiet.clock.forward(minutes=3)
    await desk.tick()
    quiet.clock.forward(minutes=3)
    await hosts(quiet, 1, first=50)
    assert len(await said(quiet, "joined:")) == 1


async def test_slacks_real_limits_are_kept(tmp_path: Path, ws: RunningWorkspace) -> None:
    ws.workspace.faults.enforce_limits(True)
    async with floor(tmp_path, ws, pace=Pace()) as bot:
        await hosts(bot, 30)
        bot.printer.wake()

        async def counted() -> bool:
            log = ws.workspace.messages.log("C0INCIDENTS")
            return any("30 hosts panicked" in log.messages[ts]["text"] for ts in log.top)

        await until(counted)
        assert [c for c in ws.workspace.calls if c["error"] == "ratelimited"] == []


async def test_reading_stands_back_while_reports_wait_to_be_stored_but_not_for_ever(quiet: Floor) -> None:
    for n in range(3):
        await quiet.store(f"web-{n}", oops(uptime=5000.25 + n * 1.5), occurred_at=quiet.clock())
    looks: list[int] = []

    def crowded() -> bool:
        looks.append(len(looks))
        return True  # and never ends

    quiet.intake.crowded = crowded
    while await quiet.intake.drain():
        pass
    assert len(looks) > 3  # it waited
    assert len(await quiet.rows(Panic)) == 3  # and then went on


async def test_what_failed_together_is_undone_and_done_apart(quiet: Floor) -> None:
    """The moment after the first try's panics were written is the moment in which they are gone again."""
    for n in range(12):
        body = POISON if n == 11 else {}
        await quiet.store(f"web-{n}", oops(uptime=5000.25 + n * 1.5), occurred_at=quiet.clock(), **body)
    assert await quiet.intake.drain() == 12
    assert sorted(p.host for p in await quiet.rows(Panic)) == sorted(f"web-{n}" for n in range(11))
    assert len(await said(quiet, "incident:")) == 1
    (storm,) = await storms(quiet)
    assert storm.closed_at is None
