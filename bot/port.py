"""The bot's HTTP port: every route there is, with what each needs of the bot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from slack_sdk.signature import SignatureVerifier

from bot.alertmanager import AlertRoute
from bot.http import database_check, make_http
from bot.jira_hook import JiraRoute
from bot.lag import lag_check
from bot.slack_http import SlackRoute
from bot.version import VERSION
from storage.queries import reports_waiting

if TYPE_CHECKING:
    from bot.app import Bot


class Port:
    """`open()` gives the address; `close()` lets nothing in any more."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._runner: web.AppRunner | None = None

    async def open(self) -> str:
        server = self._bot.settings.server
        self._runner = web.AppRunner(make_app(self._bot), access_log=None, shutdown_timeout=3.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, server.listen, server.port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


def make_app(bot: Bot) -> web.Application:
    """Followers have all the routes, too: what they take in is worked on by the one that leads."""
    settings, server, replica = bot.settings, bot.settings.server, bot.replica

    async def workflows() -> str | None:
        return None if bot.workflows.running or not replica.leads else "not running"

    app = make_http(
        server=server,
        inventory=bot.inventory,
        inbox=bot.reports,
        metrics=bot.metrics,
        checks={
            "database": database_check(bot.db),
            "slack": bot.health.check,
            "workflows": workflows,
            "inbox": lag_check(bot.db, lambda: bot.reports.waiting, lambda: replica.works),
        },
        on_report=lambda _ids: bot.read_reports(),
        count_waiting=lambda: bot.db.read(reports_waiting),
        version=VERSION,
    )
    alerts = AlertRoute(
        settings.alertmanager,
        server=server,
        inventory=bot.inventory,
        inbox=bot.reports,
        metrics=bot.metrics,
        on_report=lambda _ids: bot.read_reports(),
        tell_admins=bot.intake.tell,
        sources=settings.netconsole.sources,
    )
    app.router.add_post("/v1/alertmanager", alerts.handle)
    rung = JiraRoute(
        settings.jira.webhook_secret if settings.jira is not None else None,
        body_limit=server.body_limit,
        metrics=bot.metrics,
        on_changed=replica.ringing("tickets", bot.changes.wake, bot.changes.on_ticket_changed),
    )
    app.router.add_post("/v1/jira", rung.handle)
    app.router.add_post("/v1/changes", bot.feed_route.handle)
    bot.privacy.add_routes(app)
    if settings.slack.mode == "http":
        verifier = SignatureVerifier(settings.slack.signing_secret.get_secret_value())
        app.router.add_post("/slack/events", SlackRoute(bot.front, verifier, bot.metrics).handle)
    return app
