"""A leader that cannot prove its lease ends; the clock is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import create_engine, text

from bot.replicas.bell import Bell
from bot.replicas.leadership import Leadership
from storage import Database
from storage.lease import Fence, LeaseTable
from tests.faults.world import until


@dataclass
class Candidate:
    leadership: Leadership
    ended: list[str]
    now: list[float] = field(default_factory=lambda: [1000.0])


@asynccontextmanager
async def candidate(url: str, holder: str, *, term: float = 3600.0) -> AsyncIterator[Candidate]:
    ended: list[str] = []
    now = [1000.0]
    leadership = Leadership(
        LeaseTable(url, holder, limit=30),
        Fence(holder, lambda: None),
        term=term,
        called=holder,
        version="1",
        clock=lambda: now[0],
        end=ended.append,
    )
    try:
        yield Candidate(leadership, ended, now)
    finally:
        await leadership.resign()


def run_out(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE lease SET expires_at = clock_timestamp()"))
    engine.dispose()


async def test_it_ends_where_others_may_have_taken_over(url: str) -> None:
    async with candidate(url, "a") as a:
        assert await a.leadership.try_once() == 1
        a.leadership.prove()
        assert a.ended == []
        a.now[0] += 3600.0 * 5 / 6 - 1
        a.leadership.prove()
        assert a.ended == []
        a.now[0] += 2
        a.leadership.prove()
        assert "could not be renewed" in a.ended[0]
        # Its watch sees it, too, without anybody asking.
        a.ended.clear()

        def later() -> list[str]:
            a.now[0] += 4000.0
            return a.ended

        await until(later)


async def test_it_follows_when_the_one_before_has_resigned(url: str) -> None:
    async with candidate(url, "b") as b:
        async with candidate(url, "a") as a:
            assert await a.leadership.try_once() == 1
            assert await b.leadership.try_once() is None
            seeking = asyncio.create_task(b.leadership.seek())
        async with asyncio.timeout(60):
            assert await seeking == 2
        assert b.leadership.leads
        standing = await b.leadership.standing()
        assert standing is not None
        assert standing.called == "b"


async def test_it_is_renewed_and_ends_when_it_is_anothers(url: str) -> None:
    async with candidate(url, "a", term=3.0) as a, candidate(url, "b") as b:
        assert await a.leadership.try_once() == 1
        run_out(url)

        async def renewed() -> bool:
            standing = await b.leadership.standing()
            return standing is not None and standing.left > 0

        async with asyncio.timeout(60):
            while not await renewed():
                await asyncio.sleep(0.05)
        assert a.ended == []
        run_out(url)
        async with asyncio.timeout(60):
            while await b.leadership.try_once() is None:
                run_out(url)
        await until(lambda: "another replica leads" in a.ended)


async def test_a_database_that_is_away_gives_nothing_and_ends_nothing_at_once() -> None:
    async with candidate("postgresql+psycopg://u:p@127.0.0.1:1/x", "a") as a:
        assert await a.leadership.try_once() is None
        assert not a.leadership.leads
        a.leadership.prove()
        assert a.ended == []


async def test_the_bell_is_heard_and_what_was_rung_at_once_comes_together(url: str) -> None:
    heard: list[str] = []

    def ear(what: str) -> Callable[[], None]:
        return lambda: heard.append(what)

    rings, hears = Database(url), Database(url)
    bell = Bell(rings)
    tasks = [
        asyncio.create_task(Bell(hears).listen({"reports": ear("reports"), "outbox": ear("outbox")})),
        asyncio.create_task(bell.run()),
    ]
    await until(lambda: set(heard) == {"reports", "outbox"})  # the connection is there: all look once
    heard.clear()
    for _ in range(50):
        bell.ring("reports")
    bell.ring("nobody listens to this")
    await until(lambda: "reports" in heard)
    assert "outbox" not in heard
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    rings.close()
    hears.close()
