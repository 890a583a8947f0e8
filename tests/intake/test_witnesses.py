"""One crash, one panic, whoever tells of it and in whatever order; what fits two is told and not guessed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, select

from bot.alertmanager import report_body
from commands.intake.joining import places
from integrations.inbound.alertmanager import Alert, AlertmanagerConfig
from storage import (
    DumpState,
    LiveSighting,
    LiveState,
    Panic,
    Report,
    ReportState,
    SlackMessage,
    TimelineEntry,
)
from tests.incident.floor import Floor, floor
from tests.incident.texts import oops

KINDS = ("netconsole", "alertmanager", "report", "sweep", "no-dump", "pstore")
_examples = itertools.count(1)
_TRIES = max(12, settings().max_examples // 3)  # each tells up to fifteen reports to a real database


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


@dataclass(frozen=True)
class Crash:
    """One crash of one boot, and what each witness says of it."""

    boot_id: str
    booted: datetime
    uptime: float
    function: str
    away: timedelta  # until it is back
    skew: timedelta  # how far the host's own clock is off
    alert_after: timedelta

    @property
    def died(self) -> datetime:
        return self.booted + timedelta(seconds=self.uptime)

    @property
    def stamp(self) -> str:
        return f"{self.died:%Y%m%d%H%M}"

    @property
    def text(self) -> str:
        return oops(self.function, uptime=self.uptime)

    def told_by(self, kind: str) -> dict[str, Any]:
        directory = f"/var/crash/{self.stamp}"
        dump = {"path": f"{directory}/dump.{self.stamp}", "size": 5_000_000, "complete": True}
        back = self.died + self.away
        match kind:
            case "netconsole":
                live = {"final": True, "panic": True, "ended": True, "lost": 2, "dropped": 0}
                return {
                    "text": self.text,
                    "occurred_at": iso(self.died),
                    "down_since": iso(self.died),
                    "live": live,
                }
            case "alertmanager":
                starts = self.died + self.alert_after
                return {
                    "text": "",
                    "occurred_at": iso(starts),
                    "not_before": iso(starts - timedelta(minutes=10)),
                }
            case "report":
                return {
                    "text": self.text,
                    "crashed_boot_id": self.boot_id,
                    "occurred_at": iso(self.died + self.skew),
                    "back_at": iso(back + self.skew),
                    "crash_dir": directory,
                    "dump": dump,
                }
            case "sweep":
                return {
                    "text": self.text,
                    "occurred_at": iso(self.died + self.skew),
                    "crash_dir": directory,
                    "dump": dump,
                }
            case "no-dump":
                return {
                    "text": "",
                    "crashed_boot_id": self.boot_id,
                    "down_since": iso(self.died + self.skew),
                    "back_at": iso(back + self.skew),
                }
            case _:
                return {
                    "text": self.text,
                    "crashed_boot_id": self.boot_id,
                    "occurred_at": iso(self.died + self.skew),
                }


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Crash, str]]:
    """The witnesses of one to three crashes of a host, in any order. Crashes lie far enough apart that a person
    could tell them from each other: an alert comes up to nine minutes late, a clock is off by up to 50 seconds."""
    told: list[tuple[Crash, str]] = []
    booted = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
    for number in range(draw(st.integers(1, 3))):
        crash = Crash(
            boot_id=f"{number + 1:032x}",
            booted=booted,
            uptime=draw(st.floats(1500, 40_000)) + 0.000321,
            function=draw(st.sampled_from(["nvme_irq", "ext4_writepages"])),
            away=timedelta(seconds=draw(st.integers(60, 900))),
            skew=timedelta(seconds=draw(st.integers(-50, 50))),
            alert_after=timedelta(seconds=draw(st.integers(30, 540))),
        )
        kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5, unique=True))
        told += [(crash, kind) for kind in kinds]
        booted = crash.died + crash.away
    return draw(st.permutations(told))


async def tell(bot: Floor, host: str, told: list[tuple[Crash, str]]) -> list[int]:
    numbers = [await bot.store(host, source=kind, **crash.told_by(kind)) for crash, kind in told]
    await bot.db.write(
        lambda s: [_sourced(s.get_one(Report, n), kind) for n, (_, kind) in zip(numbers, told, strict=True)]
    )
    while await bot.intake.drain():
        pass
    return numbers


def _sourced(report: Report, kind: str) -> None:
    report.source = kind


def check_facts(panic: Panic, crash: Crash, kinds: set[str]) -> None:
    """Each panic has the facts of all its witnesses."""
    readable = kinds & {"netconsole", "report", "sweep", "pstore"}
    assert (panic.kind, panic.function) == (("null_deref", crash.function) if readable else ("unknown", None))
    assert panic.boot_id == (crash.boot_id if kinds & {"report", "no-dump", "pstore"} else None)
    if kinds & {"report", "sweep"}:
        assert (panic.dump_state, panic.dump_size) == (DumpState.COMPLETE, 5_000_000)
    else:
        assert panic.dump_state is (DumpState.NONE if "no-dump" in kinds else DumpState.UNKNOWN)
    assert (panic.back_at is not None) is bool(kinds & {"report", "no-dump"})
    if kinds != {"alertmanager"}:
        assert abs(panic.occurred_at - crash.died) <= timedelta(seconds=60)


async def check(bot: Floor, told: list[tuple[Crash, str]]) -> None:
    host = f"web-{next(_examples)}"
    numbers = await tell(bot, host, told)
    of_crash: dict[str, set[int | None]] = {}
    for number, (crash, _) in zip(numbers, told, strict=True):
        row = await bot.row(Report, number)
        assert row.state is ReportState.DONE, row.error
        of_crash.setdefault(crash.boot_id, set()).add(row.panic_id)
    panics = [p for p in await bot.rows(Panic) if p.host == host]
    assert all(len(ids) == 1 for ids in of_crash.values()), f"one crash became several panics: {of_crash}"
    assert len(panics) == len(of_crash)
    for panic in panics:
        mine = [(crash, kind) for crash, kind in told if of_crash[crash.boot_id] == {panic.id}]
        check_facts(panic, mine[0][0], {kind for _, kind in mine})
    for sighting in await bot.db.read(
        lambda s: s.exec(select(LiveSighting).where(LiveSighting.host == host)).all()
    ):
        kinds = {k for c, k in told if of_crash[c.boot_id] == {sighting.panic_id}}
        told_by_others = bool(kinds & {"report", "sweep", "pstore", "no-dump"})
        assert sighting.state is (LiveState.DIED if told_by_others else LiveState.PANICKING)


@settings(
    max_examples=_TRIES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(told=histories())
async def test_as_many_panics_as_crashes_in_whatever_order_they_are_told(
    quiet: Floor, told: list[tuple[Crash, str]]
) -> None:
    await check(quiet, told)


async def test_every_order_of_one_crashs_witnesses(quiet: Floor) -> None:
    crash = Crash(
        boot_id="f" * 32,
        booted=datetime(2026, 11, 20, 3, 0, tzinfo=UTC),
        uptime=5000.25,
        function="nvme_irq",
        away=timedelta(minutes=4),
        skew=timedelta(seconds=20),
        alert_after=timedelta(minutes=6),
    )
    for order in itertools.permutations(("netconsole", "alertmanager", "report", "sweep")):
        await check(quiet, [(crash, kind) for kind in order])


# -- one by one -----------------------------------------------------------------------------------------------


async def test_a_sweep_of_a_reported_dump_is_that_panic_though_it_knows_no_time(quiet: Floor) -> None:
    died = quiet.clock() - timedelta(hours=5)
    dump = {"path": "/var/crash/202611230525/dump.202611230525", "size": 10, "complete": None}
    first = await quiet.report("web-1", "", occurred_at=died, crash_dir="/var/crash/202611230525")
    found = await quiet.report("web-1", oops(), source="sweep", crash_dir="202611230525", dump=dump)
    assert (found.id, found.kind) == (first.id, "null_deref")


async def test_a_directory_that_is_used_again_and_again_names_no_crash(quiet: Floor) -> None:
    dump = {"path": "/var/crash/vmcore", "size": 10, "complete": True}
    first = await quiet.report("web-1", oops(), crash_dir="/var/crash", dump=dump)
    quiet.clock.forward(hours=8)
    second = await quiet.report("web-1", oops(uptime=77.7), crash_dir="/var/crash", dump=dump)
    assert second.id != first.id


@pytest.mark.parametrize(
    ("crash_dir", "dump", "named"),
    [
        ("/var/crash", None, set()),
        ("/var/crash/202611230525/", None, {"202611230525/"}),
        (None, "/var/crash/127.0.0.1-2026-11-23-05:25:01/vmcore", {"127.0.0.1-2026-11-23-05:25:01/"}),
        (None, None, set()),
    ],
)
def test_what_names_a_dump(crash_dir: str | None, dump: str | None, named: set[str]) -> None:
    assert places(crash_dir, dump) == named | ({dump} if dump else set())


async def test_two_boots_that_fit_alike_are_told_in_all_threads_and_not_guessed(quiet: Floor) -> None:
    """A crash loop: boots 100 s apart, and a witness between them that knows neither boot nor words."""
    now = quiet.clock() - timedelta(hours=1)
    first = await quiet.report("web-1", oops("f_one", uptime=40.5), occurred_at=now, crashed_boot_id="1" * 32)
    second = await quiet.report(
        "web-1",
        oops("f_two", uptime=40.7),
        occurred_at=now + timedelta(seconds=100),
        crashed_boot_id="2" * 32,
    )
    assert first.id != second.id
    third = await quiet.report(
        "web-1", oops("f_three", uptime=30.2), occurred_at=now + timedelta(seconds=40), source="sweep"
    )
    assert third.id not in (first.id, second.id)
    lines = [e for e in await quiet.rows(TimelineEntry) if e.verb == "ambiguous"]
    assert {e.incident_id for e in lines} == {first.incident_id, second.incident_id, third.incident_id}
    assert all("fits P-1 and P-2 alike" in e.text and "P-3" in e.text for e in lines)
    assert len(await quiet.sayings("fits P-1 and P-2 alike")) == 3


async def test_the_words_decide_where_the_boots_do_not(quiet: Floor) -> None:
    now = quiet.clock() - timedelta(hours=1)
    await quiet.report("web-1", oops(uptime=40.5), occurred_at=now, crashed_boot_id="1" * 32)
    second = await quiet.report(
        "web-1", oops(uptime=43.75), occurred_at=now + timedelta(seconds=100), crashed_boot_id="2" * 32
    )
    found = await quiet.report(
        "web-1", oops(uptime=43.75), occurred_at=now + timedelta(seconds=60), source="sweep"
    )
    assert found.id == second.id


async def test_an_alert_long_after_or_before_is_another_matter(quiet: Floor) -> None:
    died = quiet.clock() - timedelta(hours=5)
    first = await quiet.report("web-1", oops(), occurred_at=died)
    for minutes in (-5, 45):
        starts = died + timedelta(minutes=minutes)
        alert = await quiet.report(
            "web-1", "", occurred_at=starts, not_before=starts - timedelta(minutes=10), source="alertmanager"
        )
        assert alert.id != first.id
    assert len(await quiet.rows(Panic)) == 3


async def test_when_an_alert_resolves_the_host_is_back_and_the_host_knows_better(quiet: Floor) -> None:
    died = quiet.clock() - timedelta(hours=1)
    starts = died + timedelta(minutes=2)
    number = await quiet.store(
        "web-1", "", occurred_at=starts, not_before=died - timedelta(minutes=8), source="alertmanager"
    )
    first_id = (await quiet.row(Report, number)).external_id
    while await quiet.intake.drain():
        pass
    ends = starts + timedelta(minutes=7)
    resolved = {"occurred_at": starts, "back_at": ends, "source": "alertmanager", "closes": True}
    panic = await quiet.report("web-1", "", continues=first_id, **resolved)
    assert (panic.back_at, panic.kind) == (ends, "unknown")
    back = starts + timedelta(minutes=3)
    told = await quiet.report("web-1", oops(), occurred_at=died, back_at=back, crashed_boot_id="1" * 32)
    assert (told.id, told.back_at, told.occurred_at) == (panic.id, back, died)


async def test_a_resolved_alert_alone_makes_no_panic(quiet: Floor) -> None:
    now = quiet.clock()
    number = await quiet.store("web-1", "", occurred_at=now, back_at=now, source="alertmanager", closes=True)
    await quiet.intake.drain()
    assert (await quiet.row(Report, number)).state is ReportState.DONE
    assert await quiet.rows(Panic) == []


async def alerted(bot: Floor, firing: bool, starts: datetime, **more: Any) -> int:
    """An alert as the door stores it; returns its report's number."""
    alert = Alert(
        "HostDown", {}, firing, starts, None if firing else starts + timedelta(minutes=7), "c1d2e3f4a5b60718"
    )
    body = report_body(alert, "web-1", "group", AlertmanagerConfig())

    def write(session: Session) -> int:
        now = bot.clock()
        row = Report(
            host="web-1", external_id=body["id"], body=body, source="alertmanager", received_at=now,
            **{"next_at": now, **more},
        )  # fmt: skip
        session.add(row)
        session.flush()
        return row.id or 0

    return await bot.db.write(write)


@pytest.mark.parametrize("together", [True, False])
async def test_resolved_delivered_before_firing_is_told_with_it(quiet: Floor, together: bool) -> None:
    starts = quiet.clock() - timedelta(hours=1)
    resolved = await alerted(quiet, False, starts)
    if not together:
        assert await quiet.intake.drain() == 1
        assert await quiet.rows(Panic) == []
    firing = await alerted(quiet, True, starts)
    while await quiet.intake.drain():
        pass
    (panic,) = await quiet.rows(Panic)
    assert panic.back_at == starts + timedelta(minutes=7)
    reports = [await quiet.row(Report, number) for number in (resolved, firing)]
    assert [(r.state, r.panic_id) for r in reports] == [(ReportState.DONE, panic.id)] * 2
    (said,) = [m for m in await quiet.rows(SlackMessage) if m.key.startswith("resolved-before:")]
    assert "before Alertmanager delivered that it fired" in str(said.payload)
    notes = [e for e in await quiet.rows(TimelineEntry) if e.verb == "resolved-before"]
    assert [e.panic_id for e in notes] == [panic.id]
    # The host's own report joins it and knows better.
    back = starts + timedelta(minutes=3)
    told = await quiet.report("web-1", oops(), occurred_at=starts - timedelta(minutes=2), back_at=back)
    assert (told.id, told.back_at) == (panic.id, back)


async def test_resolved_of_another_firing_says_nothing_of_this_one(quiet: Floor) -> None:
    now = quiet.clock()
    await alerted(quiet, False, now - timedelta(days=3))
    await alerted(quiet, True, now - timedelta(minutes=5))
    while await quiet.intake.drain():
        pass
    (panic,) = await quiet.rows(Panic)
    assert panic.back_at is None
    assert not [m for m in await quiet.rows(SlackMessage) if m.key.startswith("resolved-before:")]


async def test_resolved_after_firing_is_told_as_ever(quiet: Floor) -> None:
    starts = quiet.clock() - timedelta(hours=1)
    await alerted(quiet, True, starts)
    await alerted(quiet, False, starts)
    while await quiet.intake.drain():
        pass
    (panic,) = await quiet.rows(Panic)
    assert panic.back_at == starts + timedelta(minutes=7)
    assert not [m for m in await quiet.rows(SlackMessage) if m.key.startswith("resolved-before:")]


async def test_a_host_that_was_seen_dying_and_says_no_time_tells_of_that(quiet: Floor) -> None:
    live = {"final": True, "panic": True, "ended": True}
    dying = await quiet.report("web-1", oops(), occurred_at=quiet.clock(), source="netconsole", live=live)
    quiet.clock.forward(minutes=20)
    report = await quiet.report("web-1", "", source="no-dump", crashed_boot_id="1" * 32)
    assert (report.id, report.boot_id, report.dump_state) == (dying.id, "1" * 32, DumpState.NONE)
    quiet.clock.forward(minutes=20)
    later = await quiet.report("web-1", "", source="no-dump", crashed_boot_id="2" * 32)
    assert later.id != dying.id


async def test_many_hosts_alerts_at_once_are_one_wave(tmp_path: Path) -> None:
    async with floor(tmp_path) as bot:
        now = bot.clock()
        for number in range(8):
            await bot.report(
                f"web-{number}",
                "",
                occurred_at=now,
                not_before=now - timedelta(minutes=10),
                source="alertmanager",
            )
        homes = {p.incident_id for p in await bot.rows(Panic)}
        assert len(homes) == 1
