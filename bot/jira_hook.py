"""POST /v1/jira: the tracker rings when a ticket has changed; the desk then reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import structlog
from aiohttp import web
from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError

from bot.http import Problem, read_bounded
from bot.metrics import Metrics
from integrations.changes.webhook import BadHook, authentic, changed_keys, needs_body

log = structlog.get_logger(__name__)


class JiraRoute:
    """`on_changed(keys)` returns how many links of ours are read again; nothing but the keys is taken from the body."""

    def __init__(
        self,
        secret: SecretStr | None,
        *,
        body_limit: int,
        metrics: Metrics,
        on_changed: Callable[[Iterable[str]], Awaitable[int]],
    ) -> None:
        self.secret = secret
        self.body_limit = body_limit
        self.metrics = metrics
        self.on_changed = on_changed

    async def handle(self, request: web.Request) -> web.Response:
        try:
            body = await self._authenticated(request)
            try:
                keys = changed_keys(body)
            except BadHook as error:
                raise Problem(400, "bad_json", f"{error}.") from error
            try:
                links = await self.on_changed(keys) if keys else 0
            except SQLAlchemyError as error:
                log.error("jira.hook_not_stored", error=f"{type(error).__name__}: {error}"[:500])
                message = "the bot's database cannot store it now. Send it again."
                raise Problem(503, "not_stored", message, retry_after=10) from error
        except Problem as problem:
            self.metrics.jira_hooks.labels(problem.code).inc()
            log.info("jira.hook_refused", code=problem.code, why=problem.message, peer=request.remote)
            response = problem.response()
            if not request.content.is_eof():
                response.force_close()  # the rest of the body is not worth reading
            return response
        self.metrics.jira_hooks.labels("accepted" if links else "ignored").inc()
        log.info("jira.hook", keys=sorted(keys), links=links)
        return web.json_response({"status": "ok", "links": links})

    async def _authenticated(self, request: web.Request) -> bytes:
        """The body: of a sender that sends the secret itself, it is read afterwards."""
        if self.secret is None:
            raise Problem(404, "not_enabled", "set jira.webhook_secret to open this route.")
        secret = self.secret.get_secret_value()
        refused = Problem(401, "unauthorized", "the secret is missing or wrong: see docs/changes.md.")
        signed = needs_body(request.headers)
        if not signed and not authentic(request.headers, request.query, b"", secret):
            raise refused
        body = await read_bounded(request, self.body_limit)
        if signed and not authentic(request.headers, request.query, body, secret):
            raise refused
        return body
