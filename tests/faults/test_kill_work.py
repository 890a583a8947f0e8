"""kill -9 between the durable steps of what is done on hosts, in the central store and at the tracker."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import model
from tests.faults.world import World, faulty_world, until

pytestmark = pytest.mark.timeout(300)
HOST = "db-7"  # not a critical one: nothing begins on it by itself


@pytest.fixture
async def panicked(tmp_path: Path) -> AsyncIterator[World]:
    """A host that panicked, came back and was told of."""
    async with faulty_world(
        tmp_path, hosts=True, extra="[central.patience]\nfirst = 1\nlongest = 1"
    ) as world:
        await world.bot.start()
        assert world.fleet is not None
        await world.fleet.panic(HOST)
        await world.parent(f"{HOST} panicked")
        await world.quiet()
        yield world


def _ended(world: World) -> set[tuple[Any, ...]]:
    return set(
        world.bot.rows(
            "SELECT run_id, name, state, started_at, finished_at FROM step_result WHERE finished_at IS NOT NULL"
        )
    )


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5])
async def test_killed_between_the_steps_of_triage(panicked: World, steps: int) -> None:
    """A step that had ended is not done again; the thread has each answer once."""
    world = panicked
    assert (await world.slack.person().command("/panic triage P-1"))["acknowledged"]
    await until(lambda: world.bot.rows("SELECT 1 FROM runbook_run") and len(_ended(world)) >= steps)
    await world.bot.kill()
    before = _ended(world)
    await world.bot.start()
    await until(lambda: world.bot.rows("SELECT 1 FROM runbook_run WHERE state = 'done'"))
    await world.quiet()
    assert before <= _ended(world)
    assert world.bot.rows("SELECT kind, state FROM runbook_run WHERE kind = 'triage'") == [("triage", "done")]
    assert world.bot.rows("SELECT count(*) FROM step_result WHERE finished_at IS NULL") == [(0,)]
    assert model.doubles(world) == []
    assert model.unsaid(world) == []


@pytest.mark.parametrize("path", ["/comment", "/remotelink"])
@pytest.mark.parametrize("when", ["before", "after", "answered"])
async def test_killed_at_a_link_to_a_ticket(world: World, path: str, when: str) -> None:
    """The ticket has one comment and one link, and the thread one card, though Jira did what it could not say."""
    await world.report("web-1", "boot-1")
    await world.quiet()
    point = world.strike(path, when)
    assert (await world.slack.person().command("/panic link P-1 OPS-1182"))["acknowledged"]
    await world.struck(point)
    await world.bot.start()
    await until(
        lambda: world.bot.rows("SELECT 1 FROM change_link WHERE state = 'linked' AND told_at IS NOT NULL")
    )
    await world.quiet()
    ticket = world.tracker.ticket("OPS-1182")
    assert ticket is not None
    assert len(ticket.comments) == 1
    assert len(ticket.links) == 1
    assert world.bot.rows("SELECT count(*) FROM change_link WHERE key = 'OPS-1182'") == [(1,)]
    assert model.wrong(world) == []


def _parts(world: World) -> list[Path]:
    """Of a MiB each; the dump has 22."""
    return sorted((world.folder / "central").glob("*/vmcore.part-*"))


def _recorded(world: World) -> list[tuple[str, int, int]]:
    """Name, inode and time of the parts whose row stands."""
    count = world.bot.rows("SELECT count(*) FROM dump_part")[0][0]
    return [(part.name, part.stat().st_ino, part.stat().st_mtime_ns) for part in _parts(world)[:count]]


_BOUNDARIES: dict[str, Callable[[World], Any]] = {
    "asked": lambda w: w.bot.rows("SELECT 1 FROM slack_request WHERE body LIKE '%copy P-1%'"),
    "begun": lambda w: w.bot.rows("SELECT 1 FROM dump_copy"),
    "a part stands": lambda w: _parts(w),
    "a part is recorded": lambda w: w.bot.rows("SELECT 1 FROM dump_part"),
    "half of them are recorded": lambda w: w.bot.rows("SELECT 1 FROM dump_part WHERE number = 11"),
    "checking": lambda w: w.bot.rows("SELECT 1 FROM dump_copy WHERE state IN ('checking', 'verified')"),
    "the manifest stands": lambda w: list((w.folder / "central").glob("*/manifest.json")),
    "verified": lambda w: w.bot.rows("SELECT 1 FROM dump_copy WHERE state = 'verified'"),
}


@pytest.mark.parametrize("boundary", list(_BOUNDARIES))
async def test_killed_between_the_steps_of_a_copy(panicked: World, boundary: str) -> None:
    """As soon as it is passed, or later. One copy, verified, its bytes those that its sum tells, and one message
    about it; a part that was recorded is not sent again.
    """
    world = panicked
    assert (await world.slack.person().command("/panic copy P-1"))["acknowledged"]
    await until(lambda: _BOUNDARIES[boundary](world))
    await world.bot.kill()
    before = _recorded(world)
    await world.bot.start()
    await until(lambda: world.bot.rows("SELECT 1 FROM dump_copy WHERE state = 'verified'"))
    await world.quiet()
    ((state, size, sha256),) = world.bot.rows("SELECT state, size, sha256 FROM dump_copy")
    assert set(before) <= set(_recorded(world))
    whole = await asyncio.to_thread(lambda: b"".join(part.read_bytes() for part in _parts(world)))
    assert (state, size, sha256) == ("verified", len(whole), hashlib.sha256(whole).hexdigest())
    assert list((world.folder / "central").rglob(".unfinished-*")) == []
    assert model.doubles(world) == []
    assert model.unsaid(world) == []
    assert any("sha256" in str(message) for message in world.said())
