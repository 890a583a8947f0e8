"""`panicroom run` as a process among stand-ins whose answers can be stopped at a named point.

The stand-ins live in the test's own process and see each request of the bot: a `Point` says which one, and whether the
fault strikes before it was carried out, after it, or when it was answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from bot.demo.hosts import Fleet, captures, client_key
from bot.demo.tracker import Tracker, seed
from bot.demo.tracker import make_app as make_tracker_app
from bot.demo.workspace.server import make_app
from bot.demo.workspace.testing import RunningWorkspace
from bot.demo.workspace.workspace import Workspace
from integrations.inbound import signed_headers
from tests.forks import Forked, start
from tests.support_ports import free_port

SECRET = "faults-secret-" + "0" * 32
CHANNEL = "C0INCIDENTS"
ADMINS = "C0ADMINS"
DEADLINE = 60.0
_WORDS = next(iter(captures.load("null-deref").crash_files.values()))


@dataclass
class Point:
    """The next request of this method whose path ends so. `when`: before, after (carried out, not answered), answered.

    `strike` is what happens there; the answer is then lost ("before", "after").
    """

    path: str
    when: str
    strike: Callable[[], Awaitable[None]]
    method: str = "POST"
    struck: asyncio.Event = field(default_factory=asyncio.Event)


class Gate:
    """What the stand-ins' requests go through."""

    def __init__(self) -> None:
        self.points: list[Point] = []

    def _take(self, request: web.Request) -> Point | None:
        for point in self.points:
            if request.method == point.method and (
                request.path.endswith(point.path) or (point.path.endswith("/") and point.path in request.path)
            ):
                self.points.remove(point)
                return point
        return None

    @web.middleware
    async def gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        point = None if request.path.startswith("/page/") else self._take(request)
        if point is None:
            answer = await handler(request)
            assert isinstance(answer, web.StreamResponse)
            return answer
        if point.when == "before":
            await request.read()
            await point.strike()
            point.struck.set()
            return _cut(request)
        answer = await handler(request)
        assert isinstance(answer, web.StreamResponse)
        if point.when == "after":
            await point.strike()
            point.struck.set()
            return _cut(request)
        await answer.prepare(request)
        await answer.write_eof()
        await point.strike()
        point.struck.set()
        return answer


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


class Bot:
    """The process. `kill()` is kill -9; `start()` goes on with the data that is there."""

    def __init__(self, folder: Path, config: str, port: int) -> None:
        self.folder = folder
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self.database = folder / "bot.db"
        (folder / "panicroom.toml").write_text(config)
        self._log = (folder / "bot.log").open("ab")
        self._process: Forked | None = None
        self.starts = 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self, *, ready: bool = True) -> None:
        """Until it is ready, or (`ready=False`: Slack is not to be had) until its port is open."""
        self.starts += 1
        self._process = await asyncio.to_thread(
            start, "run", "--config", str(self.folder / "panicroom.toml"), cwd=self.folder, stderr=self._log.fileno()
        )  # fmt: skip
        path = "/readyz" if ready else "/healthz"
        async with asyncio.timeout(90), aiohttp.ClientSession() as http:
            while True:
                assert self.running, f"the bot ended:\n{self.log()[-3000:]}"
                try:
                    async with http.get(f"{self.address}{path}") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait, 60)

    async def close(self) -> None:
        await self.kill()
        self._log.close()

    def log(self) -> str:
        return (self.folder / "bot.log").read_text("utf-8", "replace")

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What is committed, read by a connection of our own."""
        if not self.database.exists():
            return []
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def execute(self, statement: str, *values: object) -> None:
        """Only while the bot is down, or for what another process might do as well."""
        connection = sqlite3.connect(self.database, timeout=30)
        try:
            with connection:
                connection.execute(statement, values)
        finally:
            connection.close()


@dataclass
class World:
    folder: Path
    gate: Gate
    slack: RunningWorkspace
    tracker: Tracker
    bot: Bot
    http: aiohttp.ClientSession
    fleet: Fleet | None = None
    accepted: list[tuple[str, str]] = field(default_factory=list)  # (host, id) of reports answered 200 or 202

    def strike(
        self, path: str, when: str, act: Callable[[], Awaitable[None]] | None = None, method: str = "POST"
    ) -> Point:
        """kill -9 (or `act`) at the next such request of the bot."""
        point = Point(path, when, act or self.bot.kill, method)
        self.gate.points.append(point)
        return point

    async def struck(self, point: Point) -> None:
        async with asyncio.timeout(DEADLINE):
            await point.struck.wait()

    async def send(self, host: str, name: str, *, text: str | None = None) -> int:
        """One report, sent once; its HTTP status, 0 where there was no answer."""
        body = json.dumps(
            {
                "id": name, "host": host, "occurred_at": datetime.now(UTC).isoformat(),
                "text": _WORDS if text is None else text,
            }
        ).encode()  # fmt: skip
        headers = signed_headers(SECRET, int(time.time()), body)
        try:
            async with self.http.post(f"{self.bot.address}/v1/panics", data=body, headers=headers) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0
        if status in (200, 202) and (host, name) not in self.accepted:
            self.accepted.append((host, name))
        return status

    async def report(self, host: str, name: str, *, text: str | None = None) -> None:
        """As a host does: again until it is answered."""
        async with asyncio.timeout(DEADLINE):
            while await self.send(host, name, text=text) not in (200, 202):
                await asyncio.sleep(0.1)

    def said(self, channel: str = CHANNEL) -> list[dict[str, Any]]:
        """All messages that stand in the channel, in threads, too."""
        log = self.slack.workspace.messages.log(channel)
        return [m for m in log.messages.values() if m.get("subtype") != "tombstone"]

    def keyed(self, channel: str = CHANNEL) -> dict[str, list[dict[str, Any]]]:
        """Messages of the bot by the key in their metadata."""
        found: dict[str, list[dict[str, Any]]] = {}
        for message in self.said(channel):
            key = (message.get("metadata") or {}).get("event_payload", {}).get("key")
            if key:
                found.setdefault(key, []).append(message)
        return found

    async def parent(self, match: str = "panicked") -> dict[str, Any]:
        return await self.slack.message(match, timeout=DEADLINE)

    async def quiet(self) -> None:
        """Nothing waits to be read or said any more."""

        def settled() -> bool:
            reports = self.bot.rows("SELECT count(*) FROM report WHERE state = 'new'")
            messages = self.bot.rows(
                "SELECT count(*) FROM slack_message WHERE state IN ('waiting', 'sending')"
            )
            requests = self.bot.rows("SELECT count(*) FROM slack_request WHERE state IN ('new', 'effected')")
            return reports == messages == requests == [(0,)]

        await until(settled)


async def until(condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """The first true value of the condition, before the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def faulty_world(
    folder: Path, *, mode: str = "http", hosts: bool = False, database: Path | None = None, store: Path | None = None,
    extra: str = "", **workspace_options: Any,
) -> AsyncIterator[World]:  # fmt: skip
    """The bot is configured and not yet started. `hosts`: replayed ones behind SSH, with an inventory."""
    gate = Gate()
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    workspace = Workspace(
        request_url=f"{address}/slack/events" if mode == "http" else None, **workspace_options
    )
    tracker = Tracker(seed(time.time()), clock=time.time)
    slack_app, tracker_app = make_app(workspace), make_tracker_app(tracker)
    for app in (slack_app, tracker_app):
        app.middlewares.insert(0, gate.gate)
    fleet = None
    async with (
        _served(slack_app) as slack_url,
        _served(tracker_app) as tracker_url,
        aiohttp.ClientSession() as session,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http,
    ):
        workspace.base_url = slack_url
        slack = RunningWorkspace(slack_url, session, workspace)
        key = client_key(folder / "triage_key")
        if hosts:
            fleet = Fleet(
                folder / "fleet", client_key=key, reboot_seconds=0.05, answer_seconds=0.05,
                report_url=f"{address}/v1/panics", secret=SECRET,
            )  # fmt: skip
            await fleet.start()
        if database is not None:
            extra = extra.replace("[database]\n", "")
        config = _config(
            folder, slack, mode, port, tracker, tracker_url, fleet,
            database=database or folder / "bot.db", store=store or folder / "store", extra=extra,
        )  # fmt: skip
        bot = Bot(folder, config, port)
        bot.database = database or bot.database
        world = World(folder, gate, slack, tracker, bot, http, fleet)
        try:
            async with slack.connected():
                yield world
        finally:
            gate.points.clear()
            await bot.close()
            if fleet is not None:
                await fleet.stop()


def _config(
    folder: Path, slack: RunningWorkspace, mode: str, port: int, tracker: Tracker, tracker_url: str,
    fleet: Fleet | None, *, database: Path, store: Path, extra: str,
) -> str:  # fmt: skip
    def text(value: object) -> str:
        return json.dumps(str(value))

    (folder / "central").mkdir(exist_ok=True)
    (folder / "known_hosts").write_text(fleet.known_hosts() if fleet is not None else "")
    lines = [
        "[server]", f"port = {port}", f"shared_secrets = [{text(SECRET)}]",
        "[database]", f"url = {text(f'sqlite:///{database}')}",
        "[store]", f"dir = {text(store)}",
        "[slack]", f"mode = {text(mode)}", f"api_url = {text(slack.api_url)}",
        f"bot_token = {text(slack.bot_token)}", f"app_token = {text(slack.app_token)}",
        f"signing_secret = {text(slack.signing_secret)}", f"admin_channel = {text(ADMINS)}", "timeout = 2",
        "[routing]", f"channel = {text(CHANNEL)}",
        "[access]", 'everyone = "responder"', 'admins = ["S0ADMINS"]',
        "[ssh]", 'user = "triage"', f"key_file = {text(folder / 'triage_key')}", "agent = false",
        f"known_hosts = {text(folder / 'known_hosts')}", "connect_timeout = 5",
        "[central]", f"url = {text((folder / 'central').as_uri())}", "critical = false",
        "part_size = 1048576",
        "[jira]", f"url = {text(tracker_url)}", 'flavour = "cloud"', f"email = {text(tracker.email)}",
        f"token = {text(tracker.token)}", 'projects = ["OPS"]', "timeout = 2",
        "[log]", 'level = "info"', extra,
    ]  # fmt: skip
    for host in fleet.inventory() if fleet is not None else ():
        lines.append("[[hosts]]")
        lines += [f"{k} = {v if isinstance(v, int) else text(v)}" for k, v in host.items()]
    return "\n".join(lines) + "\n"


def needs_root() -> bool:
    """Mounting a small filesystem of one's own needs it; CI has it."""
    return os.geteuid() == 0
