"""The bot's HTTP routes on a real port in a thread, for tests whose client is another process."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from aiohttp import web
from pydantic import SecretStr

from bot.http import database_check, make_http
from bot.metrics import Metrics
from bot.settings import ServerConfig
from commands.inventory import Inventory
from storage import Database, migrations
from storage.inbox import ReportInbox


class RunningRoutes:
    """`run()` blocks in its thread until `stop()`; `up` is set once `url` answers."""

    def __init__(self, file: Path, secrets: tuple[SecretStr, ...], inventory: Inventory) -> None:
        self.database_url = f"sqlite:///{file}"
        self.server = ServerConfig(shared_secrets=secrets)
        self.inventory = inventory
        self.up = threading.Event()
        self.url = ""
        self.routes: list[tuple[str, str]] = []

    def run(self) -> None:
        asyncio.run(self._run())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        migrations.upgrade(self.database_url)
        db = Database(self.database_url)
        inbox = ReportInbox(db)
        inbox.start()
        app = make_http(
            server=self.server,
            inventory=self.inventory,
            inbox=inbox,
            metrics=Metrics(),
            checks={"database": database_check(db)},
        )
        self.routes = [
            (route.method, route.resource.canonical)
            for route in app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        ]
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self.up.set()
        await self._stopping.wait()
        await runner.cleanup()
        await inbox.close()
        db.close()
