"""Sweeps over SSH, on replayed hosts that told nobody."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session

from bot.demo.hosts import DEMO_HOSTS, HostSpec
from bot.demo.hosts.captures import CASES
from bot.demo.hosts.reporter import report
from bot.demo.world import UNHEARD_HOST, leave_one_unheard
from commands.hosts import runs
from commands.hosts.patience import Patience
from commands.sweep import ledger
from commands.sweep.ledger import Place
from storage import DumpState, Panic, PlaceState, SlackRequest, SweepRun, SweepState, utc_now
from tests.hosts.world import until
from tests.sweep.stage import SPECS, stage


async def test_a_dump_that_nobody_told_of_becomes_a_panic_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        instance = await here.crash("web-17", "oom")
        run = await here.sweep()
        assert run.state is SweepState.DONE
        (panic,) = await here.panics()
        assert (panic.host, panic.kind, panic.dump_state) == ("web-17", "oom_panic", DumpState.COMPLETE)
        assert panic.boot_id == (instance.crashed_boot_id or "").replace("-", "")
        assert instance.crash_time is not None
        assert abs((panic.occurred_at - instance.crash_time).total_seconds()) <= 1
        assert panic.dump_path == f"/var/crash/{instance.stamp}/dump.{instance.stamp}"
        assert panic.incident_id is not None
        told = await here.told(run.id or 0)
        assert "3 of 3 hosts looked at, 1 dump that nobody had told of" in told
        assert "P-1" in told
        assert "web-17" in told
        # Every host was logged in to once, and every command is an audit row.
        assert Counter(here.ssh.opened) == {"web-17": 1, "db-3": 1, "edge-1": 1}
        commands = [a.subject for a in await here.world.audit()]
        assert all(a.actor == "U0ONCALL" for a in await here.world.audit())
        assert [c for c in commands if c.startswith("db-3: ")] == [
            "db-3: sudo -n /usr/local/sbin/panicroom-host list",
            "db-3: sudo -n /usr/local/sbin/panicroom-host pstore-list",
        ]
        assert any(c.startswith("web-17: sudo -n /usr/local/sbin/panicroom-host read ") for c in commands)
        assert ("new", "1") in here.counted
        assert here.counted.count(("host", "swept")) == 3

        again = await here.sweep()
        assert "0 dumps that nobody had told of" in await here.told(again.id or 0)
        assert "1 known dump: passed over" in await here.told(again.id or 0)
        assert len(await here.panics()) == len(await here.found()) == 1


@pytest.mark.parametrize(
    ("case", "first"),
    [
        *((case, "sweep") for case in CASES if case not in ("oom", "sysrq-c")),
        ("dump-fails-disk-full", "host"),
        ("no-kdump-pstore", "host"),
    ],
)
async def test_the_hosts_own_report_and_the_sweep_are_one_panic(
    tmp_path: Path, case: str, first: str
) -> None:
    spec = HostSpec("web-17", case, "prod-2", "Dell PowerEdge R640", "critical", "web")
    async with stage(tmp_path, specs=(spec,)) as here:
        instance = await here.crash("web-17")
        if first == "host":
            await here.report(report(instance))
        run = await here.sweep()
        if first == "sweep":
            (found,) = await here.found()
            assert found.body["crashed_boot_id"] == (instance.crashed_boot_id or "").replace("-", "")
            if case != "no-kdump-pstore":
                back = datetime.fromisoformat(found.body["back_at"])
                present = next(b for b in instance.boots if b.index == 0)
                assert back.timestamp() == pytest.approx(present.first_entry / 1e6)
            await here.report(report(instance))
        (panic,) = await here.panics()
        assert panic.host == "web-17"
        assert len(run.result["found"]) == (first == "sweep")


async def test_a_host_that_is_down_is_skipped_and_counted(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        await here.crash("db-3")
        await here.fleet.power_off("web-17")
        run = await here.sweep()
        assert run.result["places"]["host"] == {"swept": 2, "unreachable": 1}
        told = await here.told(run.id or 0)
        assert "2 of 3 hosts looked at, 1 dump" in told
        assert "1 not reached: `web-17`" in told
        assert (await here.places())["web-17"].looked_at is None


async def test_a_host_that_hangs_costs_no_more_than_the_patience(tmp_path: Path) -> None:
    async with stage(tmp_path, specs=SPECS[:1], answer_seconds=30, patience="300ms") as here:
        run = await here.sweep()
        assert run.result["missed"] == [["web-17", "unreachable", "not done within 0 s"]]


async def test_a_host_that_somebody_works_on_is_left_alone(tmp_path: Path) -> None:
    async with stage(tmp_path, specs=SPECS[:2]) as here:
        await here.crash("db-3")
        panic_id, _ = await here.world.crash("web-17")
        await here.world.db.write(
            lambda s: runs.begin(
                s, kind="triage", panic=s.get_one(Panic, panic_id), asked_by="U0ONCALL", request_id="r",
                steps=[], renderer="triage_run", patience=Patience(), now=utc_now(),
            )
        )  # fmt: skip
        run = await here.sweep()
        assert here.ssh.opened == ["db-3"]
        assert run.result["places"]["host"] == {"left": 1, "swept": 1}
        assert "1 host left alone: somebody is at work there" in await here.told(run.id or 0)


async def test_an_old_dump_becomes_a_panic_that_wakes_nobody(tmp_path: Path) -> None:
    async with stage(tmp_path, specs=SPECS[:1]) as here:
        await here.crash("web-17", "sysrq-c")
        here.clock.forward(days=8)
        run = await here.sweep()
        (panic,) = await here.panics()
        assert (panic.incident_id, panic.kind, panic.dump_state) == (None, "panic", DumpState.COMPLETE)
        told = await here.told(run.id or 0)
        assert "1 older crash kept as history, without a thread and without waking anybody: P-1" in told
        assert "0 dumps that nobody had told of" in told
        again = await here.sweep()
        assert again.result["found"] == []
        assert again.result["known"] == 1
        assert len(await here.panics()) == 1


async def test_what_is_asked_for_is_looked_at_and_nothing_else(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        await here.sweep("ring:prod-*")
        assert sorted(here.ssh.opened) == ["db-3", "web-17"]
        here.ssh.opened.clear()
        await here.sweep("edge-*", "db-3")
        assert sorted(here.ssh.opened) == ["db-3", "edge-1"]


async def test_no_more_hosts_at_a_time_than_set(tmp_path: Path) -> None:
    specs = [HostSpec(f"n-{n}", "null-deref", "r", "h", "low", "o") for n in range(8)]
    async with stage(tmp_path, specs=specs, answer_seconds=0.05, parallelism=3) as here:
        run = await here.sweep()
        assert run.result["places"]["host"] == {"swept": 8}
        assert here.ssh.most == 3


async def test_a_helper_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    async with stage(tmp_path, specs=SPECS[:1]) as here:
        client = here.ssh
        client.config = client.config.model_copy(update={"helper": ("sudo", "-n", "/nowhere")})
        run = await here.sweep()
        assert (await here.places())["web-17"].state is PlaceState.FAILED
        assert "a password is required" in await here.told(run.id or 0)


async def test_who_asks_while_one_runs_joins_it(tmp_path: Path) -> None:
    async with stage(tmp_path, answer_seconds=0.05, parallelism=1) as here:
        first = await here.desk.ask(("web-17",), "U0ONCALL", "r1", "C0INCIDENTS")
        second = await here.desk.ask(("db-3",), "U0OTHER", "r2", "C0ELSEWHERE")
        here.start()  # not before: the first might be done when the second asks
        assert second.joined
        assert second.run.id == first.run.id
        assert second.channel == "C0INCIDENTS"
        run = await here.done(first.run.id or 0)
        assert run.result["places"]["host"] == {"swept": 2}
        assert len(await here.messages()) == 1


async def test_a_sweep_goes_on_after_a_restart_and_tells_nothing_twice(tmp_path: Path) -> None:
    async with stage(tmp_path, answer_seconds=0.03, parallelism=1) as here:
        await here.crash("web-17")
        await here.crash("db-3")
        here.start()
        begun = await here.desk.ask((), "U0ONCALL", "r1", "C0INCIDENTS")

        async def one_was_found() -> bool:
            return len(await here.found()) >= 1

        await until(one_was_found)
        await here.kill()  # in mid-look: the report is committed, the place's row is not
        here.make_desk()
        here.start()
        run = await here.done(begun.run.id or 0)
        assert run.state is SweepState.DONE
        assert run.result["places"]["host"] == {"swept": 3}
        assert sorted(f["host"] for f in run.result["found"]) == ["db-3", "web-17"]
        assert len(await here.found()) == len(await here.panics()) == 2


async def test_a_sweep_that_is_too_old_to_go_on_is_ended_and_says_so(tmp_path: Path) -> None:
    async with stage(tmp_path, answer_seconds=0.05) as here:
        begun = await here.desk.ask((), "U0ONCALL", "r1", "C0INCIDENTS")  # and the process dies
        here.clock.forward(days=1)
        here.start()
        run = await here.done(begun.run.id or 0)
        assert run.state is SweepState.CUT
        assert "was cut short (Panicroom was not running meanwhile): 0 of 3 hosts" in await here.told(
            run.id or 0
        )


async def test_the_same_request_worked_on_again_begins_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as here:
        await here.world.db.write(lambda s: s.add(SlackRequest(dedupe="r1", kind="command", body="")))
        first = await here.desk.ask((), "U0ONCALL", "r1", "C0INCIDENTS")
        here.start()
        await here.done(first.run.id or 0)
        again = await here.desk.ask((), "U0ONCALL", "r1", "C0INCIDENTS")
        assert again.run.id == first.run.id
        assert len(here.ssh.opened) == 3


async def test_the_demo_has_a_host_that_told_nobody(tmp_path: Path) -> None:
    leave_one_unheard(tmp_path / "fleet" / "hosts.json", utc_now().timestamp())
    specs = [spec for spec in DEMO_HOSTS if spec.name in (UNHEARD_HOST, "web-17")]
    async with stage(tmp_path, specs=specs) as here:
        run = await here.sweep()
        (panic,) = await here.panics()
        assert (panic.host, panic.dump_state) == (UNHEARD_HOST, DumpState.COMPLETE)
        assert panic.incident_id is not None
        assert [found["host"] for found in run.result["found"]] == [UNHEARD_HOST]


async def test_by_the_clock_a_host_that_was_just_looked_at_is_left_out(tmp_path: Path) -> None:
    async with stage(tmp_path, enabled=True, every="6h", window="0s") as here:
        await here.sweep("db-3")
        await here.kill()
        here.ssh.opened.clear()
        here.clock.forward(minutes=15)
        here.make_desk()
        here.clock.forward(minutes=11)
        here.start()
        run = await here.done(2)
        assert run.scheduled
        assert sorted(here.ssh.opened) == ["edge-1", "web-17"]
        assert all(a.actor == "panicroom" for a in (await here.world.audit())[-2:])


async def test_the_clocks_hosts_are_spread_over_the_window_each_at_its_moment(tmp_path: Path) -> None:
    async with stage(tmp_path, specs=None) as here:
        names = [f"web-{n}" for n in range(200)]
        places = [Place("host", name) for name in names]
        now, window = here.clock(), timedelta(minutes=30)

        def write(session: Session) -> SweepRun:
            return ledger.begin(session, places, asked_by="panicroom", now=now, scheduled=True, window=window)

        run = await here.world.db.write(write)
        rows = await here.world.db.read(lambda s: ledger.places_of(s, run.id or 0))
        shares = sorted((row.due_at - now) / window for row in rows)
        assert shares[0] >= 0
        assert shares[-1] < 1
        assert all(
            15 <= sum(quarter / 4 <= s < (quarter + 1) / 4 for s in shares) <= 90 for quarter in range(4)
        )
        later = now + window / 2
        joined = await here.world.db.write(
            lambda s: ledger.join(s, s.get_one(SweepRun, run.id or 0), places[:3], later, again=False)
        )
        assert joined == 3
        due = await here.world.db.write(lambda s: ledger.claim(s, run.id or 0, later, 500))
        assert {row.name for row in due} >= set(names[:3])
        assert len(due) < len(names)
