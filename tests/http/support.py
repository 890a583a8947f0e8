"""The bot's routes on a real port, in the test's own event loop."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import SecretStr
from sqlmodel import select

from bot.http import database_check, make_http
from bot.metrics import Metrics
from bot.settings import ServerConfig
from commands.inventory import HostEntry, Inventory
from integrations.inbound import signed_headers
from storage import Database, Report, migrations
from storage.inbox import ReportInbox
from storage.queries import reports_waiting

SHARED, OLDER, OWN = "shared-0123456789abcdef", "older-0123456789abcdef", "own-0123456789abcdef"
OWN_OLDER = "own-older-0123456789abcdef"
NOW = 1_763_901_247


@dataclass
class Bot:
    """The routes on a real port, with a real database."""

    directory: Path
    closed: bool = False
    capacity: int = 1000
    checks: dict[str, Any] = field(default_factory=dict)
    woken: list[int] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)

    async def start(self) -> None:
        url = f"sqlite:///{self.directory}/bot.db"
        migrations.upgrade(url)
        self.db = Database(url)
        self.inbox = ReportInbox(self.db, capacity=self.capacity)
        self.inbox.start()
        hosts = (
            HostEntry.model_validate({"name": "web-17", "secret": [OWN, OWN_OLDER]}),
            HostEntry(name="db-*"),
        )
        app = make_http(
            server=ServerConfig(shared_secrets=(SecretStr(SHARED), SecretStr(OLDER)), body_limit=8192),
            inventory=Inventory(hosts, closed=self.closed),
            inbox=self.inbox,
            metrics=self.metrics,
            checks={"database": database_check(self.db), **self.checks},
            on_report=self.woken.extend,
            count_waiting=lambda: self.db.read(reports_waiting),
            clock=lambda: datetime.fromtimestamp(NOW, UTC),
            version="1.2.3",
        )
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = self.runner.addresses[0][1]
        self.session = aiohttp.ClientSession(f"http://127.0.0.1:{self.port}")

    async def close(self) -> None:
        await self.session.close()
        await self.runner.cleanup()
        await self.inbox.close()
        self.db.close()

    async def send(
        self,
        report: dict[str, Any] | bytes,
        *,
        secret: str = SHARED,
        at: int = NOW,
        host: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        body = report if isinstance(report, bytes) else json.dumps(report).encode()
        every = signed_headers(secret, at, body, host=host) | (headers or {})
        async with self.session.post("/v1/panics", data=body, headers=every) as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.json()

    async def rows(self) -> list[Report]:
        return list(await self.db.read(lambda s: s.exec(select(Report)).all()))


def report(**more: Any) -> dict[str, Any]:
    return {"id": "boot-1", "host": "web-99", "text": "Oops", **more}
