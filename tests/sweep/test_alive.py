"""A host of which netconsole told an oops: who visits it and finds the same boot running closes that as survived."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from bot.demo.hosts import HostSpec
from commands.hosts.visits import host_as_entered
from commands.triage.workflow import TriageDesk
from storage import Incident, IncidentState, LiveSighting, LiveState, Panic, RunState, SlackMessage
from tests.sweep.stage import SPECS, Stage, stage
from tests.triage.test_runs import QUICK

names = (f"alive-{n}" for n in itertools.count())


async def sighted(here: Stage, *, ago: float, same_boot: bool, fatal: bool, by_id: bool) -> tuple[int, int]:
    """An oops of web-17 that netconsole saw `ago` seconds before now, of the boot that runs or of one before."""
    instance = here.fleet.instance("web-17")
    now = here.clock()
    booted = instance.booted_at if same_boot else instance.booted_at - 3600
    started = now - timedelta(seconds=now.timestamp() - booted)
    seen = now - timedelta(seconds=ago)
    boot_id = (instance.boot_id() or "").replace("-", "") if same_boot else "0" * 32
    panic_id, incident_id = await here.world.panic(
        "web-17", occurred_at=seen, boot_started_at=started, boot_id=boot_id if by_id else None
    )
    known = LiveSighting(
        panic_id=panic_id, host="web-17", seen_at=seen, uptime=(seen - started).total_seconds(), fatal=fatal,
        state=LiveState.PANICKING if fatal else LiveState.MAY_LIVE, awaited_until=now + timedelta(hours=1),
    )  # fmt: skip
    await here.world.db.write(lambda s: s.add(known))
    return panic_id, incident_id


async def visit(here: Stage, panic_id: int, who: str) -> None:
    if who == "a sweep":
        await here.sweep("web-17")
        return
    desk = TriageDesk(here.world.context, here.world.visits, QUICK, name=next(names))
    here.world.workflows.start()
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    assert (await here.world.ended(run.id or 0)).state is RunState.DONE


@pytest.mark.parametrize("who", ["a sweep", "triage"])
@pytest.mark.parametrize("by_id", [True, False])
async def test_the_boot_that_still_runs_has_survived_it(tmp_path: Path, who: str, by_id: bool) -> None:
    async with stage(tmp_path, specs=SPECS[:1]) as here:
        panic_id, incident_id = await sighted(here, ago=600, same_boot=True, fatal=False, by_id=by_id)
        await visit(here, panic_id, who)
        known = await here.world.db.read(lambda s: s.get_one(LiveSighting, panic_id))
        incident = await here.world.db.read(lambda s: s.get_one(Incident, incident_id))
        assert known.state is LiveState.SURVIVED
        assert (incident.state, incident.resolved_by) == (IncidentState.RESOLVED, "panicroom")
        said = await here.world.db.read(lambda s: [m.payload for m in s.exec(select(SlackMessage))])
        assert sum(f"{who} found the same boot running" in str(text) for text in said) == 1
        if who == "a sweep":
            asked = [a.subject for a in await here.world.audit()]
            assert "web-17: cat /proc/sys/kernel/random/boot_id" in asked
            await visit(here, panic_id, who)  # and nothing more is asked, or told
            assert [a.subject for a in await here.world.audit()].count("web-17: cat /proc/uptime") == 1


@pytest.mark.parametrize("who", ["a sweep", "triage"])
@pytest.mark.parametrize(
    ("ago", "same_boot", "fatal", "by_id"),
    [(600, False, False, True), (600, False, False, False), (600, True, True, True), (1, True, False, True)],
    ids=["another boot's id", "another boot's start", "a panic line", "too soon to tell"],
)
async def test_nothing_else_is_taken_for_it(
    tmp_path: Path, who: str, ago: float, same_boot: bool, fatal: bool, by_id: bool
) -> None:
    async with stage(tmp_path, specs=SPECS[:1]) as here:
        if ago == 1:
            here.desk.visitor.lives_after = timedelta(hours=1)  # however slow this machine is
        panic_id, incident_id = await sighted(here, ago=ago, same_boot=same_boot, fatal=fatal, by_id=by_id)
        if ago == 1 and who == "triage":
            desk = TriageDesk(
                here.world.context, here.world.visits, QUICK, name=next(names), lives_after=timedelta(hours=1)
            )
            here.world.workflows.start()
            run = await desk.begin(panic_id, "U0ONCALL", "request")
            await here.world.ended(run.id or 0)
        else:
            await visit(here, panic_id, who)
        known = await here.world.db.read(lambda s: s.get_one(LiveSighting, panic_id))
        incident = await here.world.db.read(lambda s: s.get_one(Incident, incident_id))
        assert known.state in (LiveState.MAY_LIVE, LiveState.PANICKING)
        assert incident.state is IncidentState.OPEN
        assert (await here.world.db.read(lambda s: s.get_one(Panic, panic_id))).incident_id == incident_id


async def test_sweep_and_triage_together_stay_within_the_limit_of_hosts(tmp_path: Path) -> None:
    """One client for both: what a sweep holds counts, and triage has its turn first."""
    specs = [HostSpec(f"n-{n}", "null-deref", "r", "h", "low", "o") for n in range(10)]
    async with stage(tmp_path, specs=specs, answer_seconds=0.05, parallelism=10) as here:
        context = here.world.context
        client = here.world.visits.ssh
        client._places.count, client._places.aside_at_most = 4, 3
        here.ssh = client  # type: ignore[assignment]
        here.make_desk()
        here.start()
        begun = await here.desk.ask((), "U0ONCALL", "request", "C0INCIDENTS")
        held = [
            await client.open(host_as_entered(f"n-{n}", context.inventory.find(f"n-{n}"))) for n in (0, 1, 2)
        ]
        for session in held:
            assert (await session.run(["uptime", "-s"])).argv == ("uptime", "-s")
            session.close()
        run = await here.done(begun.run.id or 0)
        assert run.result["places"]["host"] == {"swept": 10}
        assert client.most_connected == 4
