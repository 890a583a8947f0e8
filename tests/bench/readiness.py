"""200 replayed hosts asked whether they are ready: the wall time, and how many were connected at the same time.

The hosts are replayed by an SSH server in a process of its own, each at a port of its own; the bot asks them as
`/panic ready` does, with its rows, findings and audit on the disk.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import func
from sqlmodel import select

from bot.demo.hosts import DEMO_HOSTS, Fleet, client_key
from commands.inventory import HostEntry
from commands.ready.config import ReadyConfig
from commands.ready.desk import ReadyDesk
from commands.ready.visitor import Visitor
from integrations.ssh import SshConfig
from storage import AuditEntry, HostReadiness
from tests.hosts.world import close_world, make_world

HOSTS, PARALLEL = 200, 16


async def replay(folder: Path, public_key: str) -> None:
    """In the other process: the hosts, told in one line, until the input ends."""
    specs = [
        dataclasses.replace(DEMO_HOSTS[n % len(DEMO_HOSTS)], name=f"host-{n}", ring=f"ring-{n % 4}")
        for n in range(HOSTS)
    ]
    fleet = Fleet(folder / "fleet", client_key=public_key, specs=specs)
    await fleet.start()
    print(json.dumps({"known_hosts": fleet.known_hosts(), "hosts": fleet.inventory()}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await fleet.stop()


async def measure(folder: Path) -> None:
    argv = [sys.executable, "-m", "tests.bench.readiness", str(folder), client_key(folder / "client_key")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        told = json.loads(await asyncio.to_thread(other.stdout.readline))
        (folder / "known_hosts").write_text(told["known_hosts"])
        keys = ("name", "address", "port", "ring")
        ssh = SshConfig(
            user="triage",
            key_file=folder / "client_key",
            known_hosts=folder / "known_hosts",
            hosts_at_once=PARALLEL,
        )
        hosts = tuple(HostEntry(**{k: e[k] for k in keys}) for e in told["hosts"])
        world = await make_world(folder / "bot", None, hosts=hosts, ssh=ssh)
        config = ReadyConfig(enabled=False, parallelism=PARALLEL)
        desk = ReadyDesk(
            world.context, Visitor(world.context, world.visits.ssh, config), config, channel="C0"
        )
        begun = time.monotonic()
        await desk.ask([], "U0BENCH", "bench")
        running = asyncio.create_task(desk.run())
        while (await desk.board([])).waiting:
            await asyncio.sleep(0.1)
        seconds = time.monotonic() - begun
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        states = await world.db.read(lambda s: Counter(s.exec(select(HostReadiness.state)).all()))
        audit = await world.db.read(lambda s: s.exec(select(func.count()).select_from(AuditEntry)).one())
        print(f"{HOSTS} hosts in {seconds:.1f} s, {HOSTS / seconds:.1f} hosts a second, {audit} audit rows")
        print(f"connected at the same time: {world.visits.ssh.most_connected} at most ({PARALLEL} allowed)")
        print("states: " + ", ".join(f"{n} {state}" for state, n in sorted(states.items())))
        await close_world(world)
        other.stdin.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder)))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(replay(Path(sys.argv[1]), sys.argv[2]))
    else:
        main()
