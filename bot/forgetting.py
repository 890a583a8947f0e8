"""Links to dumps and erasures as the bot runs them: one thing for the composition root to start and stop."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing

from aiohttp import web
from dbos import DBOS
from sqlalchemy.engine import make_url

from bot.dumps import DumpRoute, make_fetch
from bot.retention import channel_of
from bot.settings import Settings
from bot.workflows import Workflows
from commands.context import Context
from commands.forget.desk import ErasureDesk
from commands.forget.hands import Hands
from commands.forget.slack import register
from commands.router import Router


class Privacy:
    """Who gets a host's memory, and that a host can be forgotten."""

    def __init__(self, context: Context, router: Router, settings: Settings, workflows: Workflows) -> None:
        self.fetch = make_fetch(context, router, settings)
        hands = Hands(context, self.fetch.store, forget_workflows)
        self.erasures = ErasureDesk(
            context,
            hands,
            channel=channel_of(settings),
            compact_more=lambda: compact_workflows(workflows.url),
        )
        register(router, self.erasures)

    def add_routes(self, app: web.Application) -> None:
        DumpRoute(self.fetch).add_to(app)

    async def run(self) -> None:
        await self.fetch.resume()
        await self.erasures.run()

    async def close(self) -> None:
        await self.fetch.close()


async def forget_workflows(beginnings: Sequence[str]) -> None:
    """What the workflows' own database holds of runs with such ids: arguments, steps, what each answered."""
    for beginning in beginnings:
        found = await DBOS.list_workflows_async(
            workflow_id_prefix=beginning, load_input=False, load_output=False
        )
        ids = [w.workflow_id for w in found if w.workflow_id.split("~")[0] == beginning]
        if ids:
            await DBOS.delete_workflows_async(ids)


def compact_workflows(url: str) -> None:
    """The same for its file as for the bot's own. Blocks."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return
    with closing(sqlite3.connect(parsed.database, timeout=30, isolation_level=None)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
