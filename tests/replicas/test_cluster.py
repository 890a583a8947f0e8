"""Three real processes on one PostgreSQL, behind one address: killed, paused and woken, handed over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults import model
from tests.faults.world import until
from tests.replicas.world import OneReplica, ReplicaWorld, replica_world

pytestmark = pytest.mark.faults


async def _noted(world: ReplicaWorld, text: str) -> None:
    """By a command that is delivered to each replica in turn."""
    await until(
        lambda: world.cluster.rows(
            f"SELECT 1 FROM timeline_entry WHERE verb = 'note' AND text LIKE '%{text}%'"
        )
    )


async def test_each_takes_in_and_one_works(world: ReplicaWorld) -> None:
    for replica in world.cluster.replicas:
        world.slack.workspace.request_url = f"{replica.address}/slack/events"
        await world.report(f"web-{replica.name}", "boot-1")
        await until(lambda: world.cluster.rows("SELECT 1 FROM panic"))
        said = await world.slack.person().command(f"/panic note P-1 by {replica.name}.")
        assert said["acknowledged"]
        await _noted(world, f"by {replica.name}.")
    await world.quiet()
    assert model.wrong(world) == []
    assert world.cluster.rows("SELECT count(*) FROM timeline_entry WHERE verb = 'note'") == [(3,)]
    leaders = []
    for replica in world.cluster.replicas:
        async with world.http.get(f"{replica.address}/metrics") as answer:
            text = await answer.text()
        leads = "panicroom_leads 1.0" in text
        leaders.append(leads)
        assert (f"panicroom_lease_epoch {float(world.cluster.epoch())}" in text) is leads
    assert sum(leaders) == 1


async def test_what_a_follower_is_asked_is_answered_by_the_leader(world: ReplicaWorld) -> None:
    """A form's trigger lives for three seconds: the leader must hear of the click at once."""
    await world.report("web-1", "boot-1")
    await world.parent()
    leader = world.cluster.leader()
    follower = next(r for r in world.cluster.replicas if r is not leader)
    world.slack.workspace.request_url = f"{follower.address}/slack/events"
    asked = await world.slack.person().command("/panic show P-1")
    assert asked["acknowledged"]
    await until(
        lambda: world.cluster.rows("SELECT 1 FROM slack_request WHERE state = 'done' AND kind = 'command'")
    )
    assert world.cluster.rows("SELECT count(*) FROM slack_request WHERE state = 'failed'") == [(0,)]


async def test_one_event_that_two_replicas_get_is_one(tmp_path: Path, postgres_url: str) -> None:
    """Socket Mode: each replica has a connection, and Slack delivers again what it thinks was not taken."""
    async with replica_world(tmp_path, postgres_url, mode="socket") as world:
        await world.cluster.start()
        await world.report("web-1", "boot-1")
        await world.parent()
        world.slack.workspace.faults.duplicate_events = 1
        await world.slack.person().mention("note P-1 delivered twice")
        await _noted(world, "delivered twice")
        await world.quiet()
        assert world.cluster.rows("SELECT count(*) FROM timeline_entry WHERE verb = 'note'") == [(1,)]
        assert model.wrong(world) == []


async def _triage(world: ReplicaWorld) -> tuple[OneReplica, list[tuple[object, ...]]]:
    """Under way, with some steps behind it; the leader, and those steps."""
    fleet = world.fleet
    assert fleet is not None
    host = fleet.hosts()[0]["name"]
    await fleet.panic(host)
    await world.parent()
    assert (await world.slack.person().command("/panic triage P-1"))["acknowledged"]
    await until(lambda: world.cluster.rows("SELECT 1 FROM runbook_run WHERE kind = 'triage'"))
    await until(lambda: len(_ended(world)) >= 2)
    leader = world.cluster.leader()
    assert leader is not None
    return leader, _ended(world)


def _ended(world: ReplicaWorld) -> list[tuple[object, ...]]:
    return world.cluster.rows(
        "SELECT run_id, name, state, started_at, finished_at FROM step_result WHERE finished_at IS NOT NULL ORDER BY id"
    )


async def _told_whole(world: ReplicaWorld, before: list[tuple[object, ...]]) -> None:
    """Every run ended, what had ended before was not done again, and all of it stands in Slack once."""
    await until(
        lambda: world.cluster.rows("SELECT 1 FROM runbook_run WHERE kind = 'triage' AND state = 'done'")
    )
    await until(
        lambda: (
            world.cluster.rows("SELECT count(*) FROM runbook_run WHERE state IN ('waiting', 'running')")
            == [(0,)]
        )
    )
    await world.quiet()
    assert set(before) <= set(_ended(world))
    assert model.doubles(world) == []
    assert model.unsaid(world) == []
    parents = [key for key in world.keyed() if key.startswith("incident:") and key.count(":") == 1]
    assert len(parents) == world.cluster.rows("SELECT count(*) FROM incident")[0][0]


async def test_killed_in_mid_triage_another_one_goes_on(tmp_path: Path, postgres_url: str) -> None:
    async with replica_world(tmp_path, postgres_url, hosts=True, answer_seconds=0.4) as world:
        await world.cluster.start()
        leader, before = await _triage(world)
        epoch = world.cluster.epoch()
        await leader.kill()
        await until(lambda: len(_ended(world)) > len(before))
        await world.report("web-late", "boot-1")
        await _told_whole(world, before)
        assert world.cluster.epoch() == epoch + 1
        assert model.wrong(world) == []


async def test_a_paused_leader_that_wakes_does_nothing_and_ends(tmp_path: Path, postgres_url: str) -> None:
    async with replica_world(tmp_path, postgres_url, hosts=True, answer_seconds=0.4) as world:
        await world.cluster.start()
        leader, before = await _triage(world)
        leader.pause()
        follower = await world.cluster.another_leads(leader)
        await world.report("web-late", "boot-1")
        leader.wake()
        await until(lambda: leader.status is not None)
        assert leader.status == 75, leader.log()[-2000:]
        await _told_whole(world, before)
        assert world.cluster.leader() is follower
        assert model.wrong(world) == []
        leader.start()
        await world.cluster.all_ready()
        assert world.cluster.leader() is follower


@pytest.mark.parametrize(
    ("path", "when"), [("/api/chat.postMessage", "before"), ("/api/files.completeUploadExternal", "after")]
)
async def test_paused_at_a_post_it_is_said_once(world: ReplicaWorld, path: str, when: str) -> None:
    """Slack has the message or not, and the process that posted it sleeps before it can say so."""
    paused: list[OneReplica] = []

    async def pause() -> None:
        leader = world.cluster.leader()
        assert leader is not None
        leader.pause()
        paused.append(leader)

    point = world.strike(path, when, pause)
    await world.report("web-1", "boot-1")
    await world.struck(point)
    await world.cluster.another_leads(paused[0])
    paused[0].wake()
    await until(lambda: paused[0].status == 75)
    await world.quiet()
    assert model.wrong(world) == []
    assert len(world.keyed()["incident:1"]) == 1


async def test_stopped_cleanly_the_next_one_works_at_once(world: ReplicaWorld) -> None:
    """A rolling restart: one after the other, with reports and commands coming in all the while."""
    sent = 0
    stop = asyncio.Event()

    async def keep_reporting() -> None:
        nonlocal sent
        while not stop.is_set():
            await world.report(f"web-{sent}", "boot-1")
            sent += 1
            await asyncio.sleep(0.1)

    reporting = asyncio.create_task(keep_reporting())
    await world.parent()
    for replica in world.cluster.replicas:
        assert await replica.stop() == 0
        replica.start()
        await world.cluster.all_ready()
    stop.set()
    await reporting
    await world.quiet()
    assert sent == len(world.accepted)
    assert model.wrong(world) == []
    assert world.cluster.rows("SELECT count(*) FROM incident") == [(1,)]


async def test_a_leader_whose_lease_is_not_its_own_any_more_ends(world: ReplicaWorld) -> None:
    leader = world.cluster.leader()
    assert leader is not None
    world.cluster.rows("UPDATE lease SET expires_at = clock_timestamp(), holder = 'gone'")
    await until(lambda: leader.status == 75)
    await world.cluster.another_leads(leader)
    await world.report("web-1", "boot-1")
    await world.parent()
    await world.quiet()
    assert model.wrong(world) == []


async def test_the_release_before_works_on_while_the_schema_is_ahead(world: ReplicaWorld) -> None:
    """In the middle of a rolling update: a newer release has added to the tables, and two of the older still run."""
    await world.report("web-1", "boot-1")
    await world.parent()
    for statement in (
        "ALTER TABLE report ADD COLUMN added_later text",
        "ALTER TABLE slack_message ADD COLUMN added_later integer NOT NULL DEFAULT 0",
        "CREATE TABLE added_later (id integer)",
        "UPDATE alembic_version SET version_num = '9999'",
    ):
        world.cluster.rows(statement)
    leader = world.cluster.leader()
    assert leader is not None
    await leader.kill()
    await world.cluster.another_leads(leader)
    await world.report("web-2", "boot-1")
    await world.slack.person().command("/panic note P-1 said in the middle of it")
    await _noted(world, "in the middle of it")
    await world.quiet()
    assert model.wrong(world) == []
    leader.start()  # of the older release: the newer one's turn is to be waited for
    await until(lambda: leader.status is not None)
    assert leader.status == 1
    assert "newer version" in leader.log()
