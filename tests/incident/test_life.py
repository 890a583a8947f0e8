"""An incident's life: people, and the clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.demo.workspace.testing import RunningWorkspace
from commands.incident.config import RoutingConfig
from commands.incident.slack import split_cause
from commands.inventory import HostEntry
from storage import IncidentState, TimelineEntry
from tests.incident.floor import Floor, floor, until
from tests.incident.texts import oops

CRITICAL = (HostEntry(name="db-*", criticality="critical"),)
MENTION = RoutingConfig(channel="C0INCIDENTS", mention_group="S0SREONCALL")


async def test_acknowledge_assign_note_resolve_reopen_by_the_page(
    tmp_path: Path, ws: RunningWorkspace
) -> None:
    async with floor(tmp_path, ws, doors="http") as bot:
        on_call, kernel = ws.person("U0ONCALL"), ws.person("U0KERNEL")
        await bot.report("web-17", oops())
        bot.printer.wake()
        parent = await ws.message("web-17 panicked")
        await on_call.click(parent, "Acknowledge")
        await on_call.ephemeral(":eyes: I-1 is yours.")
        parent = await ws.changed(parent, "Acknowledged by")
        await kernel.command("/panic ack I-1")
        await kernel.ephemeral("acknowledged already")
        await kernel.choose(parent, "incident.more", "Assign to me")
        await ws.reply(parent, "Assigned to")
        await on_call.mention("note BMC shows a failed DIMM & more", thread=parent)
        await ws.reply(parent, "BMC shows a failed DIMM &amp; more")
        await on_call.choose(parent, "incident.more", "Add a note")
        form = await on_call.modal("Note on I-1")
        assert await on_call.submit(form, {"Note": "   "}) == {
            "errors": {"note": "There is nothing in this note."}
        }
        assert await on_call.submit(form, {"Note": "by the form"}) == {}
        await ws.reply(parent, "by the form")
        await on_call.choose(parent, "incident.more", "Resolve")
        form = await on_call.modal("Resolve I-1")
        assert "Say what the cause was" in (await on_call.submit(form, {"Cause": "  "}))["errors"]["cause"]
        assert await on_call.submit(form, {"Cause": "bad DIMM", "Fixed by": "a new one"}) == {}
        await on_call.ephemeral("I-1 is resolved")
        parent = await ws.changed(parent, "Resolved by")
        await ws.reply(parent, "*Cause:* bad DIMM\n*Fixed by:* a new one")
        await on_call.click(parent, "Reopen")
        parent = await ws.changed(
            parent, lambda m: "Acknowledge" in str(m["blocks"]) and "Reopen" not in str(m["blocks"])
        )
        await on_call.command("/panic timeline I-1")
        shown = await on_call.ephemeral("I-1: NULL pointer")
        said = str(shown["blocks"])
        order = [
            said.index(w)
            for w in ("web-17 panicked", "acknowledged this", "failed DIMM", "resolved this", "reopened this")
        ]
        assert order == sorted(order)
        verbs = [t.verb for t in await bot.rows(TimelineEntry)]
        assert verbs == ["opened", "acknowledged", "assigned", "note", "note", "resolved", "reopened"]
        audited = [(a[0], a[1], a[2], a[3]) for a in await bot.audits()]
        assert ("U0ONCALL", "incident.resolve", "I-1", "done") in audited
        assert ("U0KERNEL", "ack", "I-1", "failed") in audited


async def test_a_form_that_comes_too_late_is_answered(tmp_path: Path, ws: RunningWorkspace) -> None:
    async with floor(tmp_path, ws, doors="http") as bot:
        await bot.report("web-17", oops())
        bot.printer.wake()
        parent = await ws.message("web-17 panicked")
        slow = ws.person("U0KERNEL")
        await slow.choose(parent, "incident.more", "Resolve")
        form = await slow.modal("Resolve I-1")
        await bot.say("resolve I-1 cause: somebody was quicker")
        assert await slow.submit(form, {"Cause": "late"}) == {}
        await slow.ephemeral("I-1 is resolved. Reopen it first")
        assert (await bot.incident(1)).cause == "somebody was quicker"


@pytest.mark.parametrize(
    ("typed", "cause", "fixed"),
    [
        ("", "", ""),
        ("bad DIMM", "bad DIMM", ""),
        ("cause: bad DIMM fixed: replaced", "bad DIMM", "replaced"),
        ("fixed by: 6.1.0-32 cause: nvme bug", "nvme bug", "6.1.0-32"),
        ("it was cause: x", "it was x", ""),
    ],
)
def test_cause_and_fix_in_one_line(typed: str, cause: str, fixed: str) -> None:
    assert split_cause(typed) == (cause, fixed)


async def test_a_reminder_after_thirty_minutes_once_and_not_when_the_runbook_is_done(quiet: Floor) -> None:
    await quiet.report("web-1", oops())
    quiet.clock.forward(minutes=29)
    await quiet.watch.tick()
    await quiet.watch.settled()
    assert await quiet.sayings("reminder:") == []
    quiet.clock.forward(minutes=2)
    await quiet.watch.tick()
    await quiet.watch.settled()
    await quiet.watch.tick()
    await quiet.watch.settled()
    (said,) = await quiet.sayings("reminder:")
    assert "30 min have passed and the runbook is not done" in str(said.payload)
    await quiet.report("web-2", oops("other"))

    def done(session):  # type: ignore[no-untyped-def]
        from storage import Incident

        incident = session.get_one(Incident, 2)
        incident.runbook_done_at = quiet.clock()
        session.add(incident)

    await quiet.db.write(done)
    quiet.clock.forward(minutes=31)
    await quiet.watch.tick()
    await quiet.watch.settled()
    assert len(await quiet.sayings("reminder:")) == 1


async def test_nobody_acknowledges_mention_again_then_page_then_resolve_the_page(tmp_path: Path) -> None:
    async with floor(tmp_path, hosts=CRITICAL, routing=MENTION) as bot:
        await bot.report("db-1", oops())
        bot.clock.forward(minutes=4, seconds=50)
        await bot.watch.tick()
        await bot.watch.settled()
        assert await bot.sayings("again:") == []
        bot.clock.forward(seconds=20)
        await bot.watch.tick()
        await bot.watch.settled()
        await bot.watch.tick()
        await bot.watch.settled()
        (said,) = await bot.sayings("again:")
        assert "<!subteam^S0SREONCALL>" in str(said.payload)
        assert bot.pager.told == []
        bot.clock.forward(minutes=5)
        bot.pager.broken = True
        await bot.watch.tick()
        await bot.watch.settled()
        assert len(await bot.sayings("The pager could not be called")) == 1
        bot.pager.broken = False
        await bot.watch.tick()
        await bot.watch.settled()
        await bot.watch.tick()
        await bot.watch.settled()
        ((what, key, why),) = bot.pager.told
        assert (what, why) == ("trigger", "nobody acknowledged it in 10 min")
        assert len(await bot.sayings("The pager was called")) == 1
        assert ("panicroom", "page", "I-1", "done") in await bot.audits()
        await bot.say("resolve I-1 cause: bad DIMM")
        await bot.watch.tick()
        await bot.watch.settled()
        await bot.watch.tick()
        await bot.watch.settled()
        assert bot.pager.told[1:] == [("resolve", key, "")]


async def test_an_acknowledged_or_normal_incident_pages_nobody(tmp_path: Path) -> None:
    async with floor(tmp_path, hosts=CRITICAL, routing=MENTION) as bot:
        await bot.report("web-1", oops())
        await bot.report("db-1", oops("other"))
        await bot.say("ack I-2")
        bot.clock.forward(minutes=20)
        await bot.watch.tick()
        await bot.watch.settled()
        assert bot.pager.told == []
        assert await bot.sayings("again:") == []


async def test_a_critical_host_that_joins_an_old_thread_is_not_overdue_at_once(tmp_path: Path) -> None:
    async with floor(tmp_path, hosts=CRITICAL, routing=MENTION) as bot:
        await bot.report("web-1", oops())
        bot.clock.forward(hours=2)
        await bot.report("db-1", oops(uptime=10.0), occurred_at=bot.clock())
        await bot.watch.tick()
        await bot.watch.settled()
        assert await bot.sayings("again:") == []
        assert bot.pager.told == []
        bot.clock.forward(minutes=6)
        await bot.watch.tick()
        await bot.watch.settled()
        assert len(await bot.sayings("again:")) == 1
        bot.clock.forward(minutes=6)
        await bot.watch.tick()
        await bot.watch.settled()
        assert len(bot.pager.told) == 1


async def test_reopened_by_a_person_every_clock_starts_anew(tmp_path: Path) -> None:
    async with floor(tmp_path, hosts=CRITICAL, routing=MENTION) as bot:
        await bot.report("db-1", oops())
        await bot.say("ack I-1")
        await bot.say("resolve I-1 cause: x")
        bot.clock.forward(hours=3)
        await bot.say("reopen I-1")
        await bot.watch.tick()
        await bot.watch.settled()
        assert (bot.pager.told, await bot.sayings("again:")) == ([], [])
        assert (await bot.incident(1)).state is IncidentState.OPEN


async def test_reopened_before_the_pager_heard_of_it_the_page_is_resolved_in_the_end(tmp_path: Path) -> None:
    async with floor(tmp_path, hosts=CRITICAL, routing=MENTION) as bot:
        await bot.report("db-1", oops())
        bot.clock.forward(minutes=11)
        await bot.watch.tick()
        await bot.watch.settled()
        await bot.say("resolve I-1 cause: x")
        bot.pager.broken = True
        await bot.watch.tick()
        await bot.watch.settled()
        await bot.say("reopen I-1")
        bot.pager.broken = False
        await bot.watch.tick()
        await bot.watch.settled()
        await bot.say("resolve I-1 cause: really")
        await bot.watch.tick()
        await bot.watch.settled()
        assert [t[:2] for t in bot.pager.told] == [
            ("trigger", bot.pager.told[0][1]),
            ("resolve", bot.pager.told[0][1]),
        ]


async def test_slack_down_for_two_minutes_pages_for_what_nobody_can_have_seen(
    tmp_path: Path, ws: RunningWorkspace
) -> None:
    async with floor(tmp_path, ws, hosts=CRITICAL, api_url="http://127.0.0.1:9/api/") as bot:
        await bot.report("db-1", oops())
        await bot.report("web-1", oops("other"))
        bot.printer.wake()

        async def failing() -> bool:
            return bot.printer.failing_since is not None

        await until(failing)
        bot.clock.forward(minutes=1)  # and a minute more for the machine
        await bot.watch.tick()
        await bot.watch.settled()
        assert bot.pager.told == []
        bot.clock.forward(seconds=65)
        await bot.watch.tick()
        await bot.watch.settled()
        ((what, _, why),) = bot.pager.told
        assert (what, why[:27]) == ("trigger", "Slack has been unreachable ")
        bot.slack.web.base_url = ws.api_url
        parent = await ws.message("db-1 panicked", timeout=45)
        await ws.reply(parent, "The pager was called: Slack has been unreachable")
