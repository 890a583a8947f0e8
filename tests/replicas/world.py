"""Several `panicroom run` on one PostgreSQL, behind one address that spreads over those that are ready.

Slack, the tracker and the hosts are stand-ins in the test's own process, and know that one address alone.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import Engine, create_engine, text

from bot.demo.hosts import Fleet, client_key
from bot.demo.tracker import Tracker, seed
from bot.demo.workspace.server import make_app
from bot.demo.workspace.testing import RunningWorkspace
from bot.demo.workspace.workspace import Workspace
from integrations.slack.client import SlackConfig
from storage.lease import is_replicated
from tests.faults.world import ADMINS, CHANNEL, SECRET, Gate, World, _served, until
from tests.forks import ROOT, Forked, start
from tests.support_ports import free_port

TERM = 6  # seconds


class Spreader:
    """A load balancer as simple as they come: TCP, in turn, to those whose /readyz was well a moment ago."""

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.behind: list[int] = []
        self.ready: list[int] = []
        self._turn = itertools.count()
        self._server: asyncio.Server | None = None
        self._probing: asyncio.Task[None] | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._probing = asyncio.create_task(self._probe())

    async def stop(self) -> None:
        assert self._server is not None
        assert self._probing is not None
        self._probing.cancel()
        self._server.close()
        for writer in list(self._open):
            writer.close()
        await asyncio.gather(self._probing, return_exceptions=True)

    async def _probe(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:

            async def one(port: int) -> bool:
                try:
                    async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                        return answer.status == 200
                except (aiohttp.ClientError, TimeoutError):
                    return False

            while True:
                ports = list(self.behind)
                well = await asyncio.gather(*(one(port) for port in ports))
                self.ready = [port for port, good in zip(ports, well, strict=True) if good]
                await asyncio.sleep(0.2)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        there = list(self.ready)
        turn = next(self._turn)
        try:
            for place in range(len(there)):
                try:
                    far_reader, far_writer = await asyncio.open_connection(
                        "127.0.0.1", there[(turn + place) % len(there)]
                    )
                except OSError:
                    continue
                self._open.add(far_writer)
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
                self._open.discard(far_writer)
                return
        finally:
            writer.close()
            self._open.discard(writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    with suppress(OSError):
        writer.close()


class OneReplica:
    """A process. `pause()` and `wake()` are SIGSTOP and SIGCONT."""

    def __init__(self, folder: Path, name: str, config: str, *, fresh: bool = False) -> None:
        self.fresh = fresh  # loads every library anew, as a supervisor's does
        self.folder = folder / name
        self.folder.mkdir()
        self.name = name
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.environ: dict[str, str] = {}
        (self.folder / "panicroom.toml").write_text(
            config.replace("@PORT@", str(self.port)).replace("@NAME@", name)
        )
        self._process: Forked | subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def status(self) -> int | None:
        """With which it ended; None while it runs."""
        return self._process.poll() if self._process is not None else 0

    def start(self) -> None:
        with (self.folder / "bot.log").open("ab") as log:
            if self.fresh:
                environ = {k: v for k, v in os.environ.items() if not k.startswith("PANICROOM_")}
                command = [
                    sys.executable,
                    "-m",
                    "bot.cli",
                    "run",
                    "--config",
                    str(self.folder / "panicroom.toml"),
                ]
                self._process = subprocess.Popen(
                    command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log
                )
                return
            self._process = start(
                "run", "--config", str(self.folder / "panicroom.toml"), cwd=self.folder, stderr=log.fileno(),
                **self.environ,
            )  # fmt: skip

    def log(self) -> str:
        return (self.folder / "bot.log").read_text("utf-8", "replace")

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def kill(self) -> None:
        if self.status is None:
            assert self._process is not None
            self._process.kill()
            await asyncio.to_thread(self._process.wait, 60)

    async def stop(self) -> int | None:
        """SIGTERM, and its status."""
        assert self._process is not None
        self._process.terminate()
        return await asyncio.to_thread(self._process.wait, 60)


class Cluster:
    """All of them, in the part that one bot has in `tests.faults`' world."""

    def __init__(self, url: str, spreader: Spreader, replicas: list[OneReplica]) -> None:
        self.spreader = spreader
        self.replicas = replicas
        self.address = spreader.address
        self._engine: Engine = create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
        self._alone = not is_replicated(url)

    async def start(self) -> None:
        for replica in self.replicas:
            replica.start()
        await self.all_ready()

    async def all_ready(self) -> None:
        await until(lambda: len(self.spreader.ready) == len(self.spreader.behind))
        await until(lambda: self.leader() is not None)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        assert not values
        with self._engine.connect() as connection:
            found = connection.execute(text(query))
            return [tuple(row) for row in found] if found.returns_rows else []

    def leader(self) -> OneReplica | None:
        """By the lease; None where it has run out."""
        if self._alone:
            return self.replicas[0]
        named = self.rows("SELECT called FROM lease WHERE expires_at > clock_timestamp()")
        return next((r for r in self.replicas if [(r.name,)] == named), None)

    def epoch(self) -> int:
        return int(self.rows("SELECT epoch FROM lease")[0][0])

    async def another_leads(self, but: OneReplica) -> OneReplica:
        return await until(lambda: leader if (leader := self.leader()) not in (None, but) else None)

    async def kill(self) -> None:
        for replica in self.replicas:
            await replica.kill()

    async def close(self) -> None:
        for replica in self.replicas:
            if replica.status is None:
                replica.wake()
            await replica.kill()
        self._engine.dispose()


class ReplicaWorld(World):
    """`bot` is the cluster."""

    @property
    def cluster(self) -> Cluster:
        assert isinstance(self.bot, Cluster)
        return self.bot


@asynccontextmanager
async def replica_world(
    folder: Path, url: str, *, count: int = 3, mode: str = "http", hosts: bool = False, extra: str = "",
    answer_seconds: float = 0.05, term: int = TERM, fresh: bool = False,
) -> AsyncIterator[ReplicaWorld]:  # fmt: skip
    """Configured, and not yet started."""
    gate, spreader = Gate(), Spreader()
    workspace = Workspace(request_url=f"{spreader.address}/slack/events" if mode == "http" else None)
    slack_app = make_app(workspace)
    slack_app.middlewares.insert(0, gate.gate)
    tracker = Tracker(seed(0.0), clock=lambda: 0.0)
    fleet = None
    async with (
        _served(slack_app) as slack_url,
        aiohttp.ClientSession() as session,
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=20), connector=aiohttp.TCPConnector(force_close=True)
        ) as http,
    ):
        workspace.base_url = slack_url
        slack = RunningWorkspace(slack_url, session, workspace)
        key = client_key(folder / "triage_key")
        if hosts:
            fleet = Fleet(
                folder / "fleet", client_key=key, reboot_seconds=0.05, answer_seconds=answer_seconds,
                report_url=f"{spreader.address}/v1/panics", secret=SECRET,
            )  # fmt: skip
            await fleet.start()
        config = _config(folder, url, slack, mode, fleet, extra, term)
        replicas = [OneReplica(folder, f"replica-{n + 1}", config, fresh=fresh) for n in range(count)]
        spreader.behind = [replica.port for replica in replicas]
        await spreader.start()
        cluster = Cluster(url, spreader, replicas)
        world = ReplicaWorld(folder, gate, slack, tracker, cluster, http, fleet)  # type: ignore[arg-type]
        try:
            async with slack.connected():
                yield world
        finally:
            gate.points.clear()
            await cluster.close()
            await spreader.stop()
            if fleet is not None:
                await fleet.stop()


def _config(
    folder: Path, url: str, slack: RunningWorkspace, mode: str, fleet: Fleet | None, extra: str, term: int
) -> str:
    def said(value: object) -> str:
        return json.dumps(str(value))

    assert SlackConfig(mode=mode)
    (folder / "known_hosts").write_text(fleet.known_hosts() if fleet is not None else "")
    lines = [
        "[server]", "port = @PORT@", f"shared_secrets = [{said(SECRET)}]",
        "[database]", f"url = {said(url)}",
        "[replicas]", f'term = "{term}s"', 'name = "@NAME@"',
        "[store]", f"dir = {said(folder / 'store')}",
        "[slack]", f"mode = {said(mode)}", f"api_url = {said(slack.api_url)}",
        f"bot_token = {said(slack.bot_token)}", f"app_token = {said(slack.app_token)}",
        f"signing_secret = {said(slack.signing_secret)}", f"admin_channel = {said(ADMINS)}", "timeout = 3",
        "[routing]", f"channel = {said(CHANNEL)}",
        "[access]", 'everyone = "responder"', 'admins = ["S0ADMINS"]',
        "[ssh]", 'user = "triage"', f"key_file = {said(folder / 'triage_key')}", "agent = false",
        f"known_hosts = {said(folder / 'known_hosts')}", "connect_timeout = 5",
        "[log]", 'level = "info"', extra,
    ]  # fmt: skip
    for host in fleet.inventory() if fleet is not None else ():
        lines.append("[[hosts]]")
        lines += [f"{k} = {v if isinstance(v, int) else said(v)}" for k, v in host.items()]
    return "\n".join(lines) + "\n"
