"""50 hosts × the full runbook: the bot, against a shell loop of 16 parallel `ssh` with one batched command each.

Over one real OpenSSH server that is 50 hosts by its addresses. Both run the very same commands (those that the bot was
heard to run on the first host), take turns, and the middle one of three rounds counts. The bot's time is told twice:
of the commands alone by its SSH client, and of whole triage runs with durable workflows, findings, audit rows and
messages on the disk, from the first request to the last run's end.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import func
from sqlmodel import col, select

from commands.hosts.patience import Patience
from commands.inventory import HostEntry
from commands.triage.runbook import TriageConfig
from commands.triage.workflow import TriageDesk
from integrations.ssh import SshClient, SshConfig, SshHost
from storage import RunbookRun, RunState
from tests.bench._process import free_port
from tests.hosts.world import World, close_world, make_world
from tests.ssh.conftest import SSHD, keygen, public

HOSTS, PARALLEL, ROUNDS = 50, 16, 3
HELPER = Path(__file__).parents[2] / "deploy" / "host" / "panicroom-host"


def address(n: int) -> str:
    return f"127.0.1.{n + 1}"


class Fleet:
    """An sshd of this machine, its keys, a crash directory, and the helper told of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        keygen(folder / "host_key")
        keygen(folder / "key")
        (folder / "authorized_keys").write_text(public(folder / "key") + "\n")
        (folder / "known_hosts").write_text(f"[127.0.1.*]:{self.port} {public(folder / 'host_key')}\n")
        crash = folder / "crash" / "202611230532"
        crash.mkdir(parents=True)
        (crash / "dump.202611230532").write_bytes(os.urandom(256 * 1024))
        (crash / "dmesg.202611230532").write_text("[    0.0] Linux version\n" * 2000)
        (folder / "kdump-tools").write_text(f'KDUMP_COREDIR="{folder / "crash"}"\n')
        self.helper = folder / "panicroom-host"
        told = HELPER.read_text().replace("/etc/default/kdump-tools", str(folder / "kdump-tools"))
        self.helper.write_text(told)
        (folder / "config").write_text(
            f"ListenAddress 0.0.0.0:{self.port}\nHostKey {folder}/host_key\nPidFile {folder}/pid\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nMaxStartups 200\nLogLevel ERROR\n"
        )
        self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "config"])

    def config(self) -> SshConfig:
        return SshConfig(
            user=getpass.getuser(),
            key_file=self.folder / "key",
            known_hosts=self.folder / "known_hosts",
            hosts_at_once=PARALLEL,
            helper=("sh", str(self.helper)),
        )

    def shell_loop(self, commands: list[str]) -> float:
        """Seconds of `xargs -P16 ssh`, one connection a host, all commands in one string."""
        out = self.folder / "out"
        out.mkdir(exist_ok=True)
        batched = "; ".join(commands)
        ssh = [
            "ssh", "-F", "none", "-i", str(self.folder / "key"), "-p", str(self.port), "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={self.folder / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes",
        ]  # fmt: skip
        line = f'{shlex.join(ssh)} "$1" {shlex.quote(batched)} >"$0/$1" 2>&1; true'
        loop = ["xargs", "-P", str(PARALLEL), "-n", "1", "sh", "-c", line, str(out)]
        started = time.monotonic()
        hosts = "\n".join(address(n) for n in range(HOSTS))
        subprocess.run(loop, input=hosts.encode(), check=True)
        took = time.monotonic() - started
        assert all((out / address(n)).stat().st_size > 1000 for n in range(HOSTS)), (
            "the loop was not answered"
        )
        return took

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


async def triage(world: World, desk: TriageDesk, hosts: int) -> tuple[float, list[str]]:
    """Seconds of that many runs at once, and the commands of the first one."""
    panics = [(await world.panic(f"host-{n:02}"))[0] for n in range(hosts)]
    started = time.monotonic()
    begun = await asyncio.gather(*(desk.begin(p, "U0ONCALL", f"{p}") for p in panics))
    wanted = {run.id or 0 for run in begun}

    unfinished = select(func.count()).select_from(RunbookRun).where(col(RunbookRun.finished_at).is_(None))
    async with asyncio.timeout(300):
        while await world.db.read(lambda s: s.exec(unfinished).one()):
            await asyncio.sleep(0.1)
    took = time.monotonic() - started
    for run_id in wanted:
        run = await world.run(run_id)
        assert run.state is RunState.DONE, run.note
    steps = await world.steps(min(wanted))
    return took, [o["command"] for s in steps.values() for o in s.outputs]


async def ask(fleet: Fleet, commands: list[str]) -> tuple[float, int]:
    """Seconds for the same commands on all hosts by the SSH client alone, and the most hosts connected at once."""
    client = SshClient(fleet.config())

    async def one(n: int) -> None:
        async with client.connect(SshHost(f"host-{n:02}", address(n), fleet.port)) as session:
            done = await session.run_many([session.request(shlex.split(c)) for c in commands])
            assert any(d.ok for d in done)

    started = time.monotonic()
    await asyncio.gather(*(one(n) for n in range(HOSTS)))
    took = time.monotonic() - started
    await asyncio.to_thread(client.close)
    return took, client.most_connected


async def measure(folder: Path) -> None:
    fleet = Fleet(folder)
    entries = tuple(HostEntry(name=f"host-{n:02}", address=address(n), port=fleet.port) for n in range(HOSTS))
    world = await make_world(folder / "bot", None, hosts=entries, ssh=fleet.config())
    try:
        desk = TriageDesk(
            world.context, world.visits, TriageConfig(patience=Patience(first=0.2)), name="bench"
        )
        world.workflows.start()
        _, commands = await triage(world, desk, 1)
        bot: list[float] = []
        bare: list[float] = []
        loop: list[float] = []
        for _ in range(ROUNDS):
            loop.append(await asyncio.to_thread(fleet.shell_loop, commands))
            took, peak = await ask(fleet, commands)
            bare.append(took)
            bot.append((await triage(world, desk, HOSTS))[0])
        ours, theirs, asked = statistics.median(bot), statistics.median(loop), statistics.median(bare)
        print(f"{HOSTS} hosts, {len(commands)} commands each, {ROUNDS} rounds in turn, middle one")
        print(f"xargs -P{PARALLEL} ssh, one batched command: {theirs:6.2f} s  {[round(s, 2) for s in loop]}")
        for name, middle, all_of, most in (
            ("panicroom, the commands alone:  ", asked, bare, peak),
            ("panicroom, whole triage runs:   ", ours, bot, world.visits.ssh.most_connected),
        ):
            told = f"ratio {middle / theirs:.2f} (wanted <= 1.00), at most {most} hosts connected"
            print(f"{name}     {middle:6.2f} s  {[round(s, 2) for s in all_of]}  {told}")
    finally:
        await close_world(world)
        fleet.stop()


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="panicroom-bench-") as folder:
        asyncio.run(measure(Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
