"""kill -9 in mid-run: the next process goes on from the last finished step, and no finished step runs again."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from sqlmodel import select

from commands.hosts import runs
from storage import Artefact, RunbookRun, RunState, SlackMessage
from tests.forks import Script, run_file
from tests.hosts.world import World, close_world, make_fleet, make_world, until

SCRIPT = Path(__file__).with_name("bot_process.py")


async def start_bot(folder: Path, kind: str, *more: str) -> Script:
    process = run_file(SCRIPT, str(folder), kind, *more)
    while True:
        line = await process.line()
        assert line, "the bot's process ended"
        if line.strip() == "ready":
            return process


def call_it_older(folder: Path) -> None:
    """What is under way was begun by another version, whose workflow had other steps."""
    with closing(sqlite3.connect(folder / "bot-workflows.db")) as connection, connection:
        changed = connection.execute(
            "UPDATE workflow_status SET application_version = 'panicroom-1' WHERE status = 'PENDING'"
        )
        assert changed.rowcount == 1
        connection.execute("UPDATE operation_outputs SET function_name = 'triage.knock'")


@pytest.mark.parametrize(
    ("kind", "finished_before_the_kill", "upgraded"),
    [("triage", 0, False), ("triage", 3, False), ("evidence", 2, False), ("triage", 2, True)],
)
async def test_a_killed_run_goes_on_where_it_stood(
    tmp_path: Path, kind: str, finished_before_the_kill: int, upgraded: bool
) -> None:
    fleet = await make_fleet(tmp_path, answer_seconds=0.05)
    world: World = await make_world(tmp_path, fleet)
    keys = ("name", "address", "port", "ring", "hardware", "criticality", "owner")
    rows = [{k: e[k] for k in keys} for e in fleet.inventory()]
    (tmp_path / "hosts.json").write_text(json.dumps(rows))
    host = rows[0]["name"]
    panic_id, _ = await world.crash(host, "oom")
    first = await start_bot(tmp_path, kind, str(panic_id), "one-request")
    second = None
    try:
        run_id = 1

        async def far_enough() -> bool:
            if not await world.db.read(lambda s: s.get(RunbookRun, run_id)):
                return False
            done = [s for s in (await world.steps(run_id)).values() if s.state in runs.FINISHED_STEPS]
            running = (await world.run(run_id)).state is RunState.RUNNING
            return running and len(done) >= finished_before_the_kill

        await until(far_enough)
        first.kill()
        await first.wait()
        before = {n: s for n, s in (await world.steps(run_id)).items() if s.state in runs.FINISHED_STEPS}
        commands_before = Counter(a.subject for a in await world.audit())
        assert (await world.run(run_id)).state in runs.ACTIVE, "it was killed too late to show anything"

        if upgraded:
            call_it_older(tmp_path)
        second = await start_bot(tmp_path, kind)
        ended = await world.ended(run_id)
        assert ended.state is RunState.DONE, ended.note
        after = await world.steps(run_id)
        for name, step in before.items():
            assert after[name].started_at == step.started_at, name
            assert after[name].finished_at == step.finished_at, name
        again = Counter(a.subject for a in await world.audit())
        finished_commands = {
            f"{host}: {o['command']}"
            for s in before.values()
            for o in (s.outputs or s.facts.get("entries", []))
        }
        for subject in finished_commands & set(commands_before):
            if kind == "triage":
                assert again[subject] == commands_before[subject], f"{subject} ran again"
        assert len(await world.db.read(lambda s: list(s.exec(select(RunbookRun))))) == 1
        messages = await world.db.read(lambda s: Counter(m.key for m in s.exec(select(SlackMessage))))
        assert messages[f"{kind}:{run_id}"] == 1
        if kind == "evidence":
            assert messages[f"evidence-file:{run_id}"] == 1
            kept = await world.db.read(lambda s: Counter(a.kind for a in s.exec(select(Artefact))))
            assert kept == {"bundle": 1, "bundle-redacted": 1}
    finally:
        for process in (first, second):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
        await close_world(world)
        await fleet.stop()


async def test_a_run_committed_just_before_a_crash_is_started_at_the_next_start(tmp_path: Path) -> None:
    """The process died between the run's row and the start of its workflow."""
    from commands.hosts.patience import Patience
    from commands.triage.runbook import shipped
    from storage import Panic, utc_now

    fleet = await make_fleet(tmp_path)
    world = await make_world(tmp_path, fleet)
    try:
        rows = [{k: e[k] for k in ("name", "address", "port")} for e in fleet.inventory()]
        (tmp_path / "hosts.json").write_text(json.dumps(rows))
        panic_id, _ = await world.crash(rows[0]["name"], "null-deref")
        run, new = await world.db.write(
            lambda s: runs.begin(
                s,
                kind="triage",
                panic=s.get_one(Panic, panic_id),
                asked_by="U0ONCALL",
                request_id="r",
                steps=[(x.name, x.title) for x in shipped().step],
                renderer="triage_run",
                patience=Patience(),
                now=utc_now(),
            )
        )
        assert new
        process = await start_bot(tmp_path, "triage")
        try:
            assert (await world.ended(run.id or 0)).state is RunState.DONE
        finally:
            process.kill()
            await process.wait()
    finally:
        await close_world(world)
        await fleet.stop()
