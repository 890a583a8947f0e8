"""The workload of the metrics endpoint in the thread, asked by itself: the thread waits for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from commands.changes.config import ChangesConfig
from commands.changes.desk import ChangeDesk
from commands.changes.found import NOT_ASKED, finding_of, keep_workload
from commands.changes.loads import Loads
from commands.hostrecord import HostRecord
from integrations.workload import WorkloadConfig
from storage import Database, Incident, Panic

from .conftest import on_both
from .test_search import FIRST, KERNEL, NOW, World, _no_commands

SHIFTED = "workload: shifted in the hour before"


class Endpoint:
    """Answers as Prometheus does, that the network was busy; or waits while it is `held`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200
        self.held = False
        self.opened = asyncio.Event()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        form = await request.post()
        query, end = str(form["query"]), float(str(form["end"]))
        self.asked.append(query)
        if self.held:
            await self.opened.wait()
        if self.status != 200:
            return web.Response(status=self.status, text="try later")
        busy = "node_network_receive" in query
        points = [[end - 86400 * day, "90000" if busy and not day else "20000"] for day in range(7, -1, -1)]
        result = [{"metric": {}, "values": points}]
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": result}})


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    app = web.Application()
    app.router.add_post("/api/v1/query_range", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    made.opened.set()
    await runner.cleanup()


Make = Callable[..., Awaitable[World]]


@pytest.fixture
async def make(db: Database, tmp_path: Path) -> AsyncIterator[Make]:
    """`world = await make(prometheus_url=…)`: a desk that asks the endpoint; a second one goes on from the first."""
    worlds: list[World] = []

    async def stop(world: World) -> None:
        world.task.cancel()
        with suppress(asyncio.CancelledError):
            await world.task

    async def start(**workload: Any) -> World:
        for world in worlds:
            await stop(world)
        world = World(db, tmp_path)
        await stop(world)
        config = WorkloadConfig(**workload)
        world.desk = ChangeDesk(world.ctx, None, ChangesConfig(), config)
        world.recent.search, world.recent.config = world.desk.search, config
        world.task = asyncio.create_task(world.desk.run())
        worlds.append(world)
        return world

    yield start
    for world in worlds:
        await stop(world)


async def test_the_shift_stands_in_the_thread_without_a_triage(make: Make, endpoint: Endpoint) -> None:
    world = await make(prometheus_url=endpoint.url)
    world.feed("r-prod-2", 14, **KERNEL)
    panics = world.panics("prod-2-1", "prod-2-2")
    for panic in panics:
        await world.desk.on_panic(panic.id or 0)
    await world.until(lambda: SHIFTED in world.shown())
    assert "rollout of 6.1.0-31 to ring prod-2" in world.shown()
    assert "network 90,000 packets/s, where 20,000 is usual (4.5 times)" in world.shown()
    await world.desk.loads.look(panics[1].id)
    assert len(endpoint.asked) == 5, "an incident is asked for once, five measures"
    assert "prod-2-" in endpoint.asked[0]


async def test_the_thread_does_not_wait_for_it(make: Make, endpoint: Endpoint) -> None:
    world = await make(prometheus_url=endpoint.url)
    endpoint.held = True
    world.feed("r-prod-2", 14, **KERNEL)
    (panic,) = world.panics("prod-2-1")
    await world.desk.on_panic(panic.id or 0)
    await world.until(lambda: world.timeline() and endpoint.asked)
    assert "rollout of 6.1.0-31 to ring prod-2" in world.shown()
    assert "workload" not in world.shown()
    (other,) = world.panics("prod-2-7", signature_key="another|one")
    await world.desk.on_panic(other.id or 0)
    await world.until(lambda: len(world.timeline()) == 2)
    endpoint.opened.set()
    await world.until(lambda: SHIFTED in shown_of(world, panic))


async def test_it_is_given_up_after_a_while_and_left_to_the_hosts_own_records(
    make: Make, endpoint: Endpoint
) -> None:
    world = await make(prometheus_url=endpoint.url)
    endpoint.held = True
    world.feed("r-prod-2", 14, **KERNEL)
    (panic,) = world.panics("prod-2-1")
    await world.desk.search.look(await world.desk.search.turn(panic.id), None)
    await Loads(world.ctx, WorkloadConfig(prometheus_url=endpoint.url), within=0.2).look(panic.id or 0)
    assert "workload" not in world.shown(), "sysstat may tell in triage"
    alone = WorkloadConfig(prometheus_url=endpoint.url, sysstat=False)
    await Loads(world.ctx, alone, within=0.2).look(panic.id or 0)
    assert "workload: not checked: the metrics endpoint did not answer in 0.2 s" in world.shown()


async def test_only_with_neither_source_it_says_not_checked(make: Make, endpoint: Endpoint) -> None:
    endpoint.status = 503
    for workload, said in (
        ({"prometheus_url": endpoint.url}, None),
        ({}, None),
        ({"prometheus_url": endpoint.url, "sysstat": False}, "workload: not checked: The metrics endpoint"),
        ({"sysstat": False}, "workload: not checked, no source for it is configured"),
    ):
        world = await make(**workload)
        (panic,) = world.panics("prod-1-3", signature_key=f"of|{sorted(workload)}")
        await world.desk.loads.look(panic.id)
        shown = shown_of(world, panic)
        assert (said in shown) if said else not shown


@on_both
async def test_with_nobody_to_tell_of_changes_the_workload_claims_nothing_about_them(
    make: Make, endpoint: Endpoint
) -> None:
    world = await make(prometheus_url=endpoint.url)
    (panic,) = world.panics("prod-2-1")
    await world.desk.on_panic(panic.id or 0)
    await world.until(lambda: SHIFTED in world.shown())
    assert NOT_ASKED in world.shown()
    assert "No change found" not in world.shown()
    await world.desk.search.after_feed()
    assert "No change found" not in world.shown()
    world.feed("r-prod-2", 14, **KERNEL)
    world.desk.on_fed()
    await world.until(lambda: "rollout of 6.1.0-31" in world.shown())
    assert SHIFTED in world.shown()
    assert NOT_ASKED not in world.shown()


@on_both
async def test_what_a_restart_kept_from_being_asked_is_asked_after_it(make: Make, endpoint: Endpoint) -> None:
    world = await make()
    world.feed("r-prod-2", 14, **KERNEL)
    (panic,) = world.panics("prod-2-1")
    (old,) = world.panics("prod-1-1", signature_key="old|one")
    for one in (panic, old):
        await world.desk.on_panic(one.id or 0)
    await world.until(lambda: len(world.timeline()) == 2)
    world.db.write_now(lambda s: setattr(_incident(s, old), "last_panic_at", NOW - timedelta(hours=25)))
    world = await make(prometheus_url=endpoint.url)
    await world.until(lambda: SHIFTED in shown_of(world, panic))
    assert {"prod-2-1" in q for q in endpoint.asked} == {True}, "what is over is not asked for"


async def test_what_was_measured_is_not_given_up_for_not_checked(make: Make, endpoint: Endpoint) -> None:
    world = await make(prometheus_url=endpoint.url, sysstat=False)
    (panic,) = world.panics("prod-2-1")
    await world.desk.loads.look(panic.id)
    endpoint.status = 503
    lines = await world.recent.lines(panic.id or 0, HostRecord("prod-2-1"), _no_commands)
    assert lines[-1][1].startswith("workload: not checked: ")
    assert SHIFTED in shown_of(world, panic)
    later = "workload: the hour before was as usual"
    world.db.write_now(lambda s: keep_workload(s, s.get_one(Panic, panic.id), later, FIRST))
    assert later in shown_of(world, panic)


def _incident(session: Any, panic: Panic) -> Any:
    return session.get_one(Incident, panic.incident_id)


def shown_of(world: World, panic: Panic) -> str:
    found = world.db.read_now(lambda s: finding_of(s, panic.incident_id or 0))
    return found.workload if found is not None else ""
