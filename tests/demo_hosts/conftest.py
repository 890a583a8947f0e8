from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bot.demo.hosts import Fleet, client_key

SECRET = "shared-report-secret"


@dataclass
class Inbox:
    """The bot's side of POST /v1/panics: checks what the contract says, keeps what it accepted."""

    url: str = ""
    ahead: float = 0.0
    secrets: dict[str, str] = field(default_factory=dict)
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    calls: int = 0
    accepted: list[dict[str, Any]] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.calls += 1
        if self.answers:
            status, answer = self.answers.pop(0)
            return web.json_response(answer, status=status)
        stamp = request.headers["X-Panicroom-Timestamp"]
        secret = self.secrets.get(request.headers.get("X-Panicroom-Host", ""), SECRET)
        now = time.time() + self.ahead
        if abs(now - int(stamp)) > 300:
            answer = {
                "error": "stale",
                "field": "X-Panicroom-Timestamp",
                "message": "old",
                "server_time": now,
            }
            return web.json_response(answer, status=401)
        wanted = (
            "v1="
            + hmac.new(secret.encode(), b"v1:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
        )
        if not hmac.compare_digest(wanted, request.headers["X-Panicroom-Signature"]):
            return web.json_response({"error": "bad_signature", "field": None, "message": "no"}, status=401)
        async with self.arrived:
            self.accepted.append(json.loads(body))
            self.arrived.notify_all()
        return web.json_response({"report_id": f"R-{len(self.accepted)}", "status": "accepted"}, status=202)


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    inbox = Inbox()
    app = web.Application()
    app.router.add_post("/v1/panics", inbox.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    inbox.url = f"http://{host}:{port}/v1/panics"
    yield inbox
    await runner.cleanup()


@pytest.fixture
async def fleets(tmp_path: Path) -> AsyncIterator[Callable[..., Fleet]]:
    """Makes fleets over one data folder; all are stopped at the end."""
    made: list[Fleet] = []

    def make(**options: Any) -> Fleet:
        options.setdefault("client_key", client_key(tmp_path / "client_key"))
        options.setdefault("reboot_seconds", 0.05)
        fleet = Fleet(tmp_path / "data", **options)
        made.append(fleet)
        return fleet

    yield make
    for fleet in made:
        await fleet.stop()
