"""Which thread a panic goes to."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, select

from bot.demo.workspace.testing import RunningWorkspace, visible_text
from commands.incident import placing
from commands.incident.config import IncidentConfig, RoutingConfig, RoutingRule
from commands.incident.parent import draw_incident
from commands.incident.rendering import draw
from commands.inventory import HostEntry
from storage import Incident, IncidentState, Panic, Silence, SlackMessage, TimelineEntry
from tests.incident.floor import Floor, floor
from tests.incident.texts import deliberate, oops


async def panic(bot: Floor, host: str, text: str = "", *, ago: float = 0, **body: object) -> Panic:
    """A panic that occurred `ago` seconds before the present."""
    return await bot.report(host, text, occurred_at=bot.clock() - timedelta(seconds=ago), **body)


async def told(bot: Floor, incident_id: int | None, verb: str) -> list[str]:
    return [t.text for t in await bot.rows(TimelineEntry) if t.incident_id == incident_id and t.verb == verb]


async def test_the_same_signature_joins_within_the_window_and_not_after_it(quiet: Floor) -> None:
    first = await panic(quiet, "web-1", oops())
    assert (await panic(quiet, "web-2", oops(uptime=77.0))).incident_id == first.incident_id
    assert (await panic(quiet, "web-3", oops("ext4_writepages"))).incident_id != first.incident_id
    quiet.clock.forward(hours=5, minutes=59)
    third = await panic(quiet, "web-4", oops(uptime=78.0))
    assert third.incident_id == first.incident_id
    quiet.clock.forward(hours=6, minutes=1)
    later = await panic(quiet, "web-5", oops(uptime=79.0))
    assert later.incident_id not in (None, first.incident_id)
    assert await told(quiet, first.incident_id, "joined") == [
        "web-2 panicked, too (P-2)",
        "web-4 panicked, too (P-4)",
    ]


async def test_a_panic_told_days_late_does_not_join_what_happens_today(quiet: Floor) -> None:
    today = await panic(quiet, "web-1", oops())
    old = await panic(quiet, "web-2", oops(uptime=5.0), ago=3 * 86400)
    assert old.incident_id != today.incident_id
    of_that_day = await panic(quiet, "web-3", oops(uptime=6.0), ago=3 * 86400 - 600)
    assert of_that_day.incident_id == old.incident_id


async def test_unknown_causes_of_two_hosts_never_share_a_thread(quiet: Floor) -> None:
    one = await panic(quiet, "web-1")
    two = await panic(quiet, "web-2")
    again = await panic(quiet, "web-1", ago=-200)
    assert one.incident_id != two.incident_id
    assert again.id != one.id
    assert again.incident_id == one.incident_id


async def test_deliberate_crashes_of_two_hosts_never_share_a_thread(quiet: Floor) -> None:
    one = await panic(quiet, "web-1", deliberate())
    two = await panic(quiet, "web-2", deliberate(uptime=900.0))
    again = await panic(quiet, "web-1", deliberate(uptime=901.0), ago=-300)
    assert (one.deliberate, two.deliberate) == (True, True)
    assert one.incident_id != two.incident_id
    assert again.incident_id == one.incident_id


async def test_more_than_five_unreadable_hosts_in_five_minutes_are_one_wave(quiet: Floor) -> None:
    five = [await panic(quiet, f"web-{n}", ago=250 - n) for n in range(5)]
    assert len({p.incident_id for p in five}) == 5
    sixth = await panic(quiet, "web-6")
    wave = await quiet.incident(sixth.incident_id or 0)
    assert wave.wave
    assert set((await quiet.who_is_where()).values()) == {wave.id}
    olds = [await quiet.incident(p.incident_id or 0) for p in five]
    assert {(o.state, o.merged_into_id) for o in olds} == {(IncidentState.MERGED, wave.id)}
    seventh = await panic(quiet, "web-7")
    assert seventh.incident_id == wave.id


async def test_six_unreadable_hosts_over_an_hour_are_no_wave(quiet: Floor) -> None:
    for n in range(6):
        await panic(quiet, f"web-{n}", ago=3600 - n * 400)
    incidents = await quiet.rows(Incident)
    assert len(incidents) == 6
    assert not any(i.wave for i in incidents)


async def test_a_wave_is_seen_whatever_the_order_of_the_reports(quiet: Floor) -> None:
    for n in range(6):
        await panic(quiet, f"web-{n}", ago=10 * n)  # the last one told was the first one to die
    assert [i.wave for i in await quiet.rows(Incident)].count(True) == 1
    assert len(set((await quiet.who_is_where()).values())) == 1


async def test_each_moves_out_of_the_wave_when_it_can_be_read(bot: Floor, ws: RunningWorkspace) -> None:
    hosts = [f"web-{n}" for n in range(7)]
    times = {host: bot.clock() - timedelta(seconds=60 - n) for n, host in enumerate(hosts)}
    for host in hosts:
        await bot.report(host, occurred_at=times[host])
    wave_id = (await bot.rows(Panic))[0].incident_id
    bot.printer.wake()
    await ws.message("7 hosts panicked without a readable cause")
    first = await bot.report(hosts[0], oops(), occurred_at=times[hosts[0]])
    second = await bot.report(hosts[1], oops(uptime=6000.5), occurred_at=times[hosts[1]])
    assert first.incident_id == second.incident_id != wave_id
    bot.printer.wake()
    wave = await ws.message("5 hosts panicked without a readable cause")
    await ws.reply(wave, "P-1 (web-0) moved to")
    parent = await ws.message("2 hosts panicked: NULL pointer dereference in nvme_irq")
    await ws.reply(parent, "P-1 · web-0: NULL pointer")
    for n, host in enumerate(hosts[2:]):
        await bot.report(host, oops(f"driver_{n}"), occurred_at=times[host])
    state = await bot.incident(wave_id or 0)
    assert state.state is IncidentState.MERGED
    assert wave_id not in (await bot.who_is_where()).values()


async def test_a_wave_mentions_the_group_for_a_critical_host(tmp_path: Path) -> None:
    async with floor(
        tmp_path,
        hosts=(HostEntry(name="db-*", criticality="critical"),),
        routing=RoutingConfig(channel="C0INCIDENTS", mention_group="S0SREONCALL"),
    ) as bot:
        for n in range(6):
            await panic(bot, f"web-{n}")
        wave_id = (await panic(bot, "db-1")).incident_id
        assert [m.incident_id for m in await bot.sayings("<!subteam^S0SREONCALL>")] == [wave_id]


async def test_three_panics_of_a_host_in_an_hour_are_a_crash_loop(quiet: Floor) -> None:
    await panic(quiet, "web-1", oops(), ago=3500)
    await panic(quiet, "web-1", oops("ext4_writepages"), ago=1800)
    assert await loops(quiet) == []
    third = await panic(quiet, "web-1", oops(uptime=60.0))
    (said,) = await loops(quiet)
    assert said.incident_id == third.incident_id
    assert "web-1 is in a crash loop: 3 panics within 1 h" in await drawn(quiet, said)
    await panic(quiet, "web-2", oops(uptime=61.0))
    assert len(await loops(quiet)) == 1


async def test_a_loop_that_goes_on_is_one_message_and_shows_in_the_headline(quiet: Floor) -> None:
    for number, ago in enumerate((3000, 2000, 1000, 100)):
        last = await panic(quiet, "web-1", oops(uptime=60.0 + number), ago=ago)
    (said,) = await loops(quiet)
    assert "4 panics within 1 h" in await drawn(quiet, said)
    parent = await quiet.db.read(lambda s: draw_incident(s, last.incident_id or 0))
    assert parent is not None
    assert "crash loop" in json.dumps(parent.blocks)


async def loops(bot: Floor) -> list[SlackMessage]:
    return list(
        await bot.db.read(
            lambda s: s.exec(select(SlackMessage).where(SlackMessage.renderer == "crash_loop")).all()
        )
    )


async def drawn(bot: Floor, message: SlackMessage) -> str:
    made = await bot.db.read(lambda s: draw(message.renderer or "", s, message.subject_id or 0))
    assert made is not None
    return made.text


async def test_three_deliberate_crashes_are_a_test_and_no_loop(quiet: Floor) -> None:
    for n in range(3):
        await panic(quiet, "web-1", deliberate(uptime=100.0 + n), ago=600 - 200 * n)
    assert await quiet.sayings("crash loop") == []


async def test_back_within_a_day_reopens_and_later_opens_a_new_one_linked_both_ways(
    bot: Floor, ws: RunningWorkspace
) -> None:
    first = await panic(bot, "web-1", oops())
    await bot.say("resolve I-1 cause: bad DIMM fixed: replaced")
    bot.clock.forward(hours=23)
    again = await panic(bot, "web-2", oops(uptime=70.0))
    reopened = await bot.incident(first.incident_id or 0)
    assert again.incident_id == first.incident_id
    assert (reopened.state, reopened.acknowledged_by) == (IncidentState.OPEN, None)
    assert abs(reopened.opened_at - bot.clock()) < timedelta(minutes=1)
    await bot.say("resolve I-1 cause: another DIMM")
    bot.clock.forward(hours=25)
    later = await panic(bot, "web-3", oops(uptime=71.0))
    fresh = await bot.incident(later.incident_id or 0)
    assert (fresh.id, fresh.previous_id) == (2, 1)
    bot.printer.wake()
    old_parent = await ws.message("web-1, web-2")
    back = await ws.reply(old_parent, "It came back: <")
    assert re.search(r"<http[^|>]+\|I-2> on web-3", visible_text(back))  # a link, not only a name
    await ws.message("Came back after <")


async def test_an_unreadable_panic_read_later_is_linked_to_what_was_resolved_before(quiet: Floor) -> None:
    await panic(quiet, "web-1", oops())
    await quiet.say("resolve I-1 cause: bad DIMM")
    quiet.clock.forward(hours=30)
    died = quiet.clock()
    unread = await quiet.report("web-2", occurred_at=died)
    assert unread.incident_id == 2
    read = await quiet.report("web-2", oops(uptime=80.0), occurred_at=died)
    assert (read.id, read.incident_id) == (unread.id, 2)
    assert (await quiet.incident(2)).previous_id == 1


async def test_unreadable_then_read_as_what_was_resolved_today_reopens_that_thread(quiet: Floor) -> None:
    await panic(quiet, "web-1", oops())
    await quiet.say("resolve I-1 cause: bad DIMM")
    died = quiet.clock()
    await quiet.report("web-2", occurred_at=died)
    read = await quiet.report("web-2", oops(uptime=80.0), occurred_at=died)
    assert read.incident_id == 1
    assert (await quiet.incident(1)).state is IncidentState.OPEN
    assert (await quiet.incident(2)).merged_into_id == 1


# -- planned work, routing, mentions ------------------------------------------------------------------------

CRITICAL = (
    HostEntry(name="db-*", criticality="critical", ring="prod-1", owner="storage"),
    HostEntry(name="web-*", ring="canary"),
)
MENTIONING = RoutingConfig(
    channel="C0INCIDENTS",
    mention_group="S0SREONCALL",
    rules=(
        RoutingRule(channel="C0KERNEL", ring="canary"),
        RoutingRule(channel="C0ADMINS", owner="Storage", criticality="critical"),
    ),
)


async def test_channels_by_ring_owner_and_criticality_and_the_first_rule_wins(tmp_path: Path) -> None:
    async with floor(tmp_path, hosts=CRITICAL, routing=MENTIONING) as bot:
        channels = []
        for host in ("web-1", "db-1", "mail-1"):
            found = await panic(bot, host, oops(f"f_{host[:2]}"))
            channels.append((await bot.incident(found.incident_id or 0)).channel)
        assert channels == ["C0KERNEL", "C0ADMINS", "C0INCIDENTS"]


async def test_the_group_is_mentioned_for_critical_hosts_only_and_once(tmp_path: Path) -> None:
    async with floor(tmp_path, hosts=CRITICAL, routing=MENTIONING) as bot:
        await panic(bot, "mail-1", oops())
        assert await bot.sayings("<!subteam") == []
        await panic(bot, "db-1", oops(uptime=9.0))  # joins the thread of a host that is not critical
        await panic(bot, "db-2", oops(uptime=10.0))
        (said,) = await bot.sayings("<!subteam")
        assert said.payload is not None
        assert said.payload["text"] == "<!subteam^S0SREONCALL> db-1 is critical and has panicked."
        assert (await bot.incident(1)).severity == "critical"


async def test_planned_work_is_threaded_quietly_and_ends_by_itself(tmp_path: Path) -> None:
    async with floor(tmp_path, hosts=CRITICAL, routing=MENTIONING) as bot:
        assert "recorded and threaded" in await bot.say("silence host:db-* for:2h kernel rollout")
        quiet = await panic(bot, "db-1", oops())
        assert (quiet.silenced, (await bot.incident(quiet.incident_id or 0)).silenced) == (True, True)
        bot.clock.forward(minutes=45)
        await bot.watch.tick()
        await bot.watch.settled()
        assert await bot.sayings("<!subteam") == []
        assert await bot.sayings("reminder") == []
        assert bot.pager.told == []
        bot.clock.forward(hours=1, minutes=16)
        assert "No host is silenced" in await bot.say("silences")
        loud = await panic(bot, "db-2", oops(uptime=12.0))
        assert (loud.silenced, loud.incident_id) == (False, quiet.incident_id)
        assert len(await bot.sayings("<!subteam")) == 1


async def test_a_silence_covers_what_died_in_it_and_was_told_after_it(tmp_path: Path) -> None:
    async with floor(tmp_path, hosts=CRITICAL, routing=MENTIONING) as bot:
        await bot.say("silence host:db-1 for:1h")
        bot.clock.forward(minutes=65)
        late = await panic(bot, "db-1.example.net", oops(), ago=600)
        assert late.silenced
        await bot.say("silence host:db-2 for:1h")
        await bot.say("unsilence db-2")
        assert not (await panic(bot, "db-2", oops("other"))).silenced
        assert all(s.created_by == "U0ONCALL" for s in await bot.rows(Silence))


async def test_a_silenced_panic_that_reopens_a_thread_mentions_nobody(tmp_path: Path) -> None:
    async with floor(tmp_path, hosts=CRITICAL, routing=MENTIONING) as bot:
        await panic(bot, "db-1", oops())
        await bot.say("resolve I-1 cause: bad DIMM")
        before = len(await bot.sayings("<!subteam"))
        await bot.say("silence host:db-* for:8h")
        await panic(bot, "db-2", oops(uptime=20.0))
        assert (await bot.incident(1)).state is IncidentState.OPEN
        bot.clock.forward(hours=1)
        await bot.watch.tick()
        await bot.watch.settled()
        assert len(await bot.sayings("<!subteam")) == before
        assert bot.pager.told == []


@pytest.mark.parametrize(
    "typed",
    [
        "silence web-1",
        "silence host:web-1",
        "silence host:web-1 for:never",
        "silence for:2h",
        "silence host:a for:40d",
    ],
)
async def test_a_silence_that_is_not_understood_says_how_to_say_it(quiet: Floor, typed: str) -> None:
    answer = await quiet.say(typed)
    assert "For example: `/panic silence host:web-* for:2h" in answer
    assert await quiet.rows(Silence) == []


def test_the_defaults_are_the_ones_that_were_promised() -> None:
    config = IncidentConfig()
    assert (config.wave_threshold, config.wave_window) == (5, timedelta(minutes=5))
    assert (config.crash_loop_count, config.crash_loop_window) == (3, timedelta(hours=1))
    assert (config.remind_after, config.mention_again_after) == (timedelta(minutes=30), timedelta(minutes=5))
    assert (config.reopen_within, config.page_when_slack_down_for) == (
        timedelta(hours=24),
        timedelta(minutes=2),
    )


async def test_read_anew_with_the_same_signature_a_panic_stays_where_it_is(quiet: Floor) -> None:
    """The head of its text came later: it does not panic "too" in its own thread."""
    alone = await panic(quiet, "web-1", oops())
    shared = await panic(quiet, "web-2", oops("other"))
    await panic(quiet, "web-3", oops("other", uptime=9.0))
    said = len(await quiet.sayings("panicked, too"))
    for ident in (alone.id, shared.id):

        def move(session: Session, ident: int | None = ident) -> str:
            row = session.get_one(Panic, ident)
            return placing.move(session, row, quiet.incidents, quiet.routing, quiet.clock()).how

        assert await quiet.db.write(move) == "stayed"
    assert len(await quiet.sayings("panicked, too")) == said


async def test_a_merge_holds_for_the_next_panic_of_that_signature(quiet: Floor) -> None:
    first = await panic(quiet, "web-1", oops(), ago=300)
    home = await panic(quiet, "web-2", oops("ext4_writepages"), ago=200)
    assert await quiet.say(f"merge I-{first.incident_id} I-{home.incident_id}", user="U0ADMIN")
    assert (await panic(quiet, "web-3", oops(uptime=90.0))).incident_id == home.incident_id
    assert await quiet.say(f"undo I-{home.incident_id}", user="U0ADMIN")
    assert (await panic(quiet, "web-4", oops(uptime=91.0))).incident_id == first.incident_id


async def test_a_wave_lists_its_panics_and_where_the_read_ones_went(quiet: Floor) -> None:
    panics = [await panic(quiet, f"web-{n}") for n in range(7)]
    (said,) = [m for m in await quiet.rows(SlackMessage) if m.renderer == "wave_list"]

    async def listed() -> str:
        made = await quiet.db.read(lambda s: draw("wave_list", s, said.subject_id or 0))
        assert made is not None
        return json.dumps(made.blocks)

    text = await listed()
    assert all(f"P-{p.id} web-{n}" in text for n, p in enumerate(panics))
    read = await quiet.report("web-3", oops(), occurred_at=panics[3].occurred_at)
    assert read.id == panics[3].id
    text = await listed()
    assert f"P-{read.id} (web-3) moved to I-{read.incident_id}" in text
    assert "6 not read yet" in text


async def test_told_after_the_resolution_but_dead_before_it_brings_nothing_back(quiet: Floor) -> None:
    first = await panic(quiet, "web-1", oops(), ago=600)
    assert await quiet.say(f"resolve I-{first.incident_id} cause: a DIMM")
    late = await panic(quiet, "web-2", oops(uptime=99.0), ago=300)
    assert late.incident_id == first.incident_id
    assert (await quiet.incident(first.incident_id or 0)).state is IncidentState.RESOLVED
