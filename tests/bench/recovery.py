"""kill -9 of the bot in mid-triage, until the first step that the next process has finished.

`python -m tests.bench recovery`; alone: `python -m tests.bench.recovery [--rounds N] [--database sqlite|postgresql]`.
SQLite: one process, started again at once by a supervisor, with all its libraries to be loaded. PostgreSQL: the leader
of three is killed, with the default term; another one takes over. Hosts answer after 0.2 s. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench._bot import database
from tests.faults.world import until
from tests.replicas.world import ReplicaWorld, replica_world

_TERM = 12  # seconds, as `[replicas] term` has it by default


async def measure(scratch: Path, kind: str, rounds: int) -> list[float]:
    with database(kind, scratch) as url:
        folder = scratch / "world"
        folder.mkdir()
        count = 1 if kind == "sqlite" else 3
        async with replica_world(
            folder, url, count=count, hosts=True, answer_seconds=0.2, term=_TERM, fresh=True
        ) as world:
            await world.cluster.start()
            return [await _round(world, number) for number in range(1, rounds + 1)]


async def _round(world: ReplicaWorld, number: int) -> float:
    """Seconds."""
    cluster, fleet = world.cluster, world.fleet
    assert fleet is not None
    host = fleet.hosts()[0]["name"]
    await fleet.panic(host)
    await until(lambda: cluster.rows(f"SELECT 1 FROM panic WHERE id = {number}"))
    await world.slack.person().command(f"/panic triage P-{number}")
    await until(lambda: _ended(world, number) >= 2)
    leader = cluster.leader()
    assert leader is not None
    await leader.kill()
    killed, before = time.monotonic(), _ended(world, number)
    leader.start()
    while _ended(world, number) <= before:
        await asyncio.sleep(0.01)
    seconds = time.monotonic() - killed
    await until(
        lambda: cluster.rows(f"SELECT 1 FROM runbook_run WHERE panic_id = {number} AND state = 'done'"), 120
    )
    await cluster.all_ready()
    return seconds


def _ended(world: ReplicaWorld, panic: int) -> int:
    return int(
        world.cluster.rows(
            "SELECT count(*) FROM step_result s JOIN runbook_run r ON r.id = s.run_id "
            f"WHERE r.panic_id = {panic} AND s.finished_at IS NOT NULL"
        )[0][0]
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--database", choices=["sqlite", "postgresql"])
    given = options.parse_args()
    for kind in [given.database] if given.database else ["sqlite", "postgresql"]:
        with tempfile.TemporaryDirectory(prefix="panicroom-bench-") as scratch:
            load = os.getloadavg()[0]
            Path(scratch).chmod(0o755)
            took = sorted(asyncio.run(measure(Path(scratch), kind, given.rounds)))
        print(
            f"{kind}: kill -9 -> first resumed step p50 {statistics.median(took):.1f} s, max {took[-1]:.1f} s "
            f"({len(took)} rounds: {', '.join(f'{t:.1f}' for t in took)}; load before {load:.1f})"
        )


if __name__ == "__main__":
    main()
