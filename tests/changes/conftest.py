from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from bot.demo.tracker import Tracker, make_app, seed

NOW = 1795435200.0


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[tuple[Tracker, str]]]]:
    """Starts stand-ins: `tracker, url = await serve(flavour=…)`."""
    runners: list[web.AppRunner] = []

    async def start(**options: Any) -> tuple[Tracker, str]:
        options.setdefault("clock", lambda: NOW)
        tracker = Tracker(options.pop("tickets", seed(NOW)), **options)
        runner = web.AppRunner(make_app(tracker), shutdown_timeout=0.5)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        return tracker, f"http://{host}:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()
