"""Asking replayed hosts over SSH: the state of each, one connection, the audit, restarts, what is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from bot.demo.hosts import HostSpec
from commands.access import Role
from commands.errors import NotFound
from commands.inventory import HostEntry
from commands.ready import blocks, ledger
from commands.ready.config import ReadyConfig
from commands.ready.desk import ReadyDesk
from commands.ready.ledger import Looked
from commands.ready.slack import register
from commands.ready.visitor import Visitor
from commands.router import Router
from integrations.readiness import Finding, State, Verdict
from storage import (
    ChangeRecord,
    ChangeTouch,
    HostReadiness,
    Incident,
    IncidentState,
    ReadinessChange,
    SlackMessage,
    utc_now,
)
from tests.hosts.world import World, close_world, make_fleet, make_world, until

CHANNEL = "C0FLEET"
SPECS = (
    HostSpec("canary-1", "sysrq-c", "canary", "Dell", "low", "kernel"),
    HostSpec("edge-1", "no-kdump-pstore", "canary", "Lenovo", "low", "edge"),
    HostSpec("store-1", "dump-fails-disk-full", "prod-1", "Supermicro", "critical", "storage"),
)


def make_desk(world: World, **config: Any) -> ReadyDesk:
    settings = ReadyConfig(**{"enabled": False, **config})
    return ReadyDesk(
        world.context,
        Visitor(world.context, world.visits.ssh, settings),
        settings,
        channel=CHANNEL,
        tick=0.05,
    )


@asynccontextmanager
async def running(desk: ReadyDesk) -> AsyncIterator[None]:
    task = asyncio.create_task(desk.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await make_world(tmp_path, await make_fleet(tmp_path, specs=SPECS))
    yield made
    await close_world(made)
    assert made.fleet is not None
    await made.fleet.stop()


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[World]:
    """Without a fleet: nobody answers on that port."""
    entries = tuple(HostEntry(name=f"web-{n}", address="127.0.0.1", port=9, ring="prod-2") for n in range(41))
    made = await make_world(tmp_path / "world", None, hosts=entries)
    yield made
    await close_world(made)


async def rows(world: World) -> dict[str, HostReadiness]:
    found = await world.db.read(lambda s: list(s.exec(select(HostReadiness))))
    return {row.host: row for row in found}


async def done(world: World, hosts: int) -> dict[str, HostReadiness]:
    async def look() -> dict[str, HostReadiness] | None:
        known = await rows(world)
        good = len(known) == hosts and all(r.asked_at and r.wanted_at is None for r in known.values())
        return known if good else None

    found: dict[str, HostReadiness] = await until(look, 60)
    return found


def checks(row: HostReadiness, state: str) -> set[str]:
    return {f["check"] for f in row.findings if f["state"] == state}


async def test_each_host_is_asked_over_one_connection_and_stands_as_it_is(world: World) -> None:
    desk = make_desk(world)
    board = await desk.ask([], "U0ONCALL", "r-1")
    assert (board.hosts, board.waiting) == (3, 3)
    again = await desk.ask([], "U0ONCALL", "r-1")
    assert again.hosts == 3
    async with running(desk):
        known = await done(world, 3)
    assert known["canary-1"].state == "at risk"  # neither netconsole nor pstore, as captured
    assert checks(known["canary-1"], "at risk") == {"console"}
    assert checks(known["canary-1"], "unknown") == set()
    assert known["edge-1"].state == "not ready"
    assert checks(known["edge-1"], "not ready") == {"reservation", "loaded"}
    assert checks(known["store-1"], "not ready") == {"space"}
    connected = await world.audit("host.connect")
    assert sorted(a.subject.split()[0].split(":")[0] for a in connected) == sorted(known)
    asked = await world.audit()
    assert {a.actor for a in asked} == {"U0ONCALL"}
    assert any("canary-1: sudo -n /usr/local/sbin/panicroom-host report-check" in a.subject for a in asked)
    # What was bad from the first look on has not changed: nobody is told.
    assert await world.db.read(lambda s: list(s.exec(select(SlackMessage)))) == []
    assert await world.db.read(ledger.counts) == {"ready": 0, "at risk": 1, "not ready": 2, "unknown": 0}


async def test_a_host_that_does_not_answer_is_unknown_and_keeps_what_was_known(alone: World) -> None:
    desk = make_desk(alone)
    await _stand(alone, "web-1", State.READY)
    await desk.ask(["host:web-1"], "U0ONCALL", "r-1")
    async with running(desk):
        row = await until(lambda: _asked_again(alone, "web-1"))
    assert (row.state, row.known) == ("unknown", "ready")
    assert row.note
    assert await alone.db.read(ledger.untold) == []
    assert "could not be asked" in blocks.host_line(row)


async def test_many_that_lose_their_reservation_are_told_in_one_line_once_with_the_change(
    alone: World,
) -> None:
    hosts = [f"web-{n}" for n in range(41)]
    for state in (State.READY, State.NOT_READY):
        for host in hosts:
            await _stand(alone, host, state)
    await _change(alone, "OPS-1182", "ring", "prod-2")
    await _change(alone, "OPS-7", "ring", "prod-1")
    desk = make_desk(alone)
    for _ in range(2):
        async with running(desk):
            await until(lambda: _told(alone))
    (message,) = await alone.db.read(lambda s: list(s.exec(select(SlackMessage))))
    assert message.channel == CHANNEL
    assert message.payload is not None
    text = message.payload["text"]
    assert "*41 hosts of ring prod-2* lost their reservation after OPS-1182: " in text
    assert "and 36 more" in text
    assert "OPS-7" not in text


async def test_a_host_that_came_back_as_it_was_is_not_told(alone: World) -> None:
    for state in (State.NOT_READY, None, State.NOT_READY):
        await _stand(alone, "web-1", state)
    assert await alone.db.read(ledger.untold) == []
    history = await alone.db.read(lambda s: list(s.exec(select(ReadinessChange))))
    assert [(c.before, c.after) for c in history] == [("", "not ready")]


async def test_the_clock_asks_who_was_not_asked_and_whose_incident_was_resolved(alone: World) -> None:
    entries = {e.name: e for e in alone.context.inventory.entries}
    now = utc_now()
    day = timedelta(days=1)
    assert len(await alone.db.read(lambda s: ledger.due(s, entries, now, day))) == 41
    for host in entries:
        await _stand(alone, host, State.READY)
    assert await alone.db.read(lambda s: ledger.due(s, entries, now, day)) == []
    assert len(await alone.db.read(lambda s: ledger.due(s, entries, now + 2 * day, day))) == 41
    _panic, incident = await alone.panic("web-7")

    def resolve(session: Session) -> None:
        row = session.get_one(Incident, incident)
        row.state, row.resolved_at = IncidentState.RESOLVED, utc_now()
        session.add(row)

    assert await alone.db.read(lambda s: ledger.resolved(s, utc_now())) == []
    await alone.db.write(resolve)
    assert await alone.db.read(lambda s: ledger.resolved(s, utc_now())) == ["web-7"]
    await _stand(alone, "web-7", State.READY)
    assert await alone.db.read(lambda s: ledger.resolved(s, utc_now())) == []


async def test_the_clock_begins_a_while_after_the_start(world: World) -> None:
    settings = ReadyConfig()
    visitor = Visitor(world.context, world.visits.ssh, settings)
    desk = ReadyDesk(
        world.context, visitor, settings, channel=CHANNEL, tick=0.05, first_after=timedelta(seconds=0)
    )
    async with running(desk):
        known = await done(world, 3)
    assert {row.answered_at is not None for row in known.values()} == {True}
    assert {a.actor for a in await world.audit()} == {"panicroom"}
    later = ReadyDesk(world.context, visitor, settings, channel=CHANNEL)
    before = len(await world.audit("host.connect"))
    world.context.clock = lambda: utc_now() + timedelta(minutes=5)
    await later._want_what_is_due()
    assert await world.db.read(lambda s: ledger.waiting(s, 9)) == []
    assert len(await world.audit("host.connect")) == before


async def test_a_look_that_was_cut_off_is_made_by_the_next_process(alone: World) -> None:
    desk = make_desk(alone)
    await desk.ask(["host:web-1", "host:web-2"], "U0ONCALL", "r-1")
    async with running(make_desk(alone)):
        known = await done(alone, 2)
    assert {row.state for row in known.values()} == {"unknown"}


async def test_people_see_the_board_and_what_mends_a_host(alone: World) -> None:
    await _stand(alone, "web-1", State.NOT_READY)
    for n in range(2, 30):
        await _stand(alone, f"web-{n}", State.READY)
    desk = make_desk(alone)
    router = Router(alone.db, alone.context.access)
    register(router, desk)
    await router.verbs["ready"].handler(alone.ask(text="board ring:prod-2"))
    text, drawn = alone.replies[-1]
    assert "41 hosts · 1 not ready · 28 ready · 12 never asked" in text
    assert "`web-1`" in drawn[1]["text"]["text"]
    assert [e["text"]["text"] for b in drawn if b["type"] == "actions" for e in b["elements"]] == [
        "Refresh",
        "Next",
    ]
    await router.actions["ready.next"].handler(alone.ask(value="2 ring:prod-2"))
    assert "page 3 of 3" in str(alone.replies[-1][1])
    await router.verbs["ready"].handler(alone.ask(text="show web-1"))
    assert "sudo update-grub" in str(alone.replies[-1][1])
    with pytest.raises(NotFound):
        await router.verbs["ready"].handler(alone.ask(text="ring:nowhere"))
    assert router.verbs["ready"].role is Role.RESPONDER


def test_a_csv_has_a_line_a_host_and_no_formula() -> None:
    row = HostReadiness(host="=cmd", ring="r", state="not ready", note="a,b")
    lines = blocks.as_csv([row]).splitlines()
    assert lines[0] == "host,ring,state,since,answered_at,wrong"
    assert lines[1].startswith("'=cmd,r,not ready,")
    assert lines[1].endswith('"a,b"')


async def _stand(world: World, host: str, state: State | None) -> None:
    """A look at the host brings this state; None: it did not answer."""
    entry = HostEntry(name=host, ring="prod-2")
    finding = Finding("reservation", state or State.UNKNOWN, "told", "why", ("sudo update-grub",))
    loaded = Finding("loaded", State.READY, "told")
    what = Looked(Verdict((finding, loaded), {}) if state is not None else None, "" if state else "gone")

    def write(session: Session) -> None:
        ledger.want(session, {host: entry}, [host], utc_now(), "panicroom")
        session.flush()
        ledger.looked(session, host, what, utc_now())

    await world.db.write(write)


async def _change(world: World, key: str, what: str, name: str) -> None:
    now = utc_now()
    first = now - timedelta(minutes=5)

    def write(session: Session) -> None:
        record = ChangeRecord(source="jira", key=key, started=first, ended=now + timedelta(hours=1))
        session.add(record)
        session.flush()
        session.add(
            ChangeTouch(
                change_id=record.id or 0, what=what, name=name, started=first, ended=now + timedelta(hours=1)
            )
        )

    await world.db.write(write)


async def _told(world: World) -> bool:
    return not await world.db.read(ledger.untold)


async def _asked_again(world: World, host: str) -> HostReadiness | None:
    row = (await rows(world))[host]
    return row if row.state == "unknown" and row.wanted_at is None else None
