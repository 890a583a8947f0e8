"""POST /v1/alertmanager: each firing alert that means "down" becomes a report without a text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any

import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from bot.http import Problem, read_bounded
from bot.metrics import Metrics
from bot.settings import ServerConfig
from commands.intake.senders import Senders, guest_name
from commands.inventory import Inventory
from integrations.inbound import InvalidReport, Unsigned
from integrations.inbound.alertmanager import (
    Alert,
    AlertmanagerConfig,
    Webhook,
    authenticate,
    host_of,
    read_webhook,
)
from storage import ReportState, report_ref, utc_now
from storage.inbox import InboxError, InboxFull, ReportInbox, Stored

log = structlog.get_logger(__name__)

_NAMED = 20  # alerts that are named in an answer


class AlertRoute:
    """Idempotent on fingerprint and startsAt: Alertmanager repeats what it was not answered, and what still fires."""

    def __init__(
        self,
        config: AlertmanagerConfig,
        *,
        server: ServerConfig,
        inventory: Inventory,
        inbox: ReportInbox,
        metrics: Metrics,
        on_report: Callable[[Sequence[int]], None],
        tell_admins: Callable[[str, str], Awaitable[None]],
        sources: dict[str, str] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.config = config
        self.server = server
        self.inventory = inventory
        self.inbox = inbox
        self.metrics = metrics
        self.on_report = on_report
        self.tell_admins = tell_admins
        self.clock = clock
        self._addresses = Senders(inventory, sources)

    async def handle(self, request: web.Request) -> web.Response:
        try:
            if not self.config.enabled:
                message = "set alertmanager.bearer_token or alertmanager.basic_password to open this route."
                raise Problem(404, "not_enabled", message)
            webhook = self._read(request, await self._authenticated(request))
            counts, invalid = await self._store_all(webhook)
        except Problem as problem:
            self.metrics.alerts.labels(problem.code).inc()
            log.info("alerts.refused", code=problem.code, why=problem.message, peer=request.remote)
            response = problem.response()
            if problem.status == 401:
                response.headers["WWW-Authenticate"] = 'Bearer, Basic realm="panicroom", charset="UTF-8"'
            if not request.content.is_eof():
                response.force_close()
            return response
        if webhook.truncated:
            await self._tell_truncated(webhook)
        log.info("alerts.stored", group=webhook.group_key[:200], truncated=webhook.truncated, **counts)
        answer: dict[str, Any] = {"status": "ok", **counts, "truncated": webhook.truncated}
        if invalid:
            answer["problems"] = invalid[:_NAMED]
        return web.json_response(answer)

    async def _authenticated(self, request: web.Request) -> bytes:
        """The body, read only of a sender who knows the secret."""
        try:
            authenticate(request.headers.get("Authorization"), self.config)
        except Unsigned as error:
            raise Problem(401, error.code, error.message, field=error.field) from error
        if request.content_type != "application/json":
            message = f"Content-Type must be application/json, not {request.content_type[:60]}."
            raise Problem(415, "unsupported_media_type", message, field="Content-Type")
        return await read_bounded(request, self.server.body_limit)

    def _read(self, request: web.Request, body: bytes) -> Webhook:
        try:
            return read_webhook(body)
        except InvalidReport as error:
            status = 400 if error.code == "bad_json" else 422
            raise Problem(status, error.code, error.message, field=error.field) from error

    async def _store_all(self, webhook: Webhook) -> tuple[dict[str, int], list[str]]:
        counts = dict.fromkeys(("accepted", "duplicate", "quarantined", "ignored", "no_host", "invalid"), 0)
        problems = list(webhook.invalid)
        counts["invalid"] = len(problems)
        for alert in webhook.alerts:
            if not self.config.fits(alert.labels):
                counts["ignored"] += 1
                continue
            host = self._host(alert)
            if host is None:
                counts["no_host"] += 1
                wanted = ", ".join(self.config.host_labels)
                problems.append(f"{alert.name or alert.fingerprint}: no label of {wanted} names a host")
                continue
            outcome = await self._store(alert, host, webhook)
            counts[outcome] += 1
        for outcome, count in counts.items():
            self.metrics.alerts.labels(outcome).inc(count)
        return counts, problems

    def _host(self, alert: Alert) -> str | None:
        """An address is looked up in the inventory; one that is not there names no host but itself."""
        named = host_of(alert.labels, self.config.host_labels)
        if named is None:
            return None
        try:
            address = str(ip_address(named))
        except ValueError:
            entry = self.inventory.find(named)
            return named if entry is None or entry.is_pattern else entry.name.lower()
        return self._addresses.host_of(address) or guest_name(address)

    async def _store(self, alert: Alert, host: str, webhook: Webhook) -> str:
        known = not self.inventory.closed or self.inventory.knows(host)
        state = ReportState.NEW if known else ReportState.QUARANTINED
        body = report_body(alert, host, webhook.group_key, self.config)
        try:
            stored: Stored = await self.inbox.add(
                host=host,
                external_id=body["id"],
                body=body,
                source="alertmanager",
                state=state,
                size=500,
            )
        except InboxFull as error:
            raise Problem(503, "inbox_full", str(error), retry_after=error.retry_after) from error
        except InboxError as error:
            raise Problem(503, "stopping", str(error), retry_after=5) from error
        except SQLAlchemyError as error:
            log.error("alerts.not_stored", host=host, error=f"{type(error).__name__}: {error}"[:500])
            message = "the bot's database cannot store it now. Alertmanager sends it again."
            raise Problem(503, "not_stored", message, retry_after=10) from error
        if stored.duplicate:
            return "duplicate"
        self.on_report([stored.id])
        log.info(
            "alert.stored", report=report_ref(stored.id), host=host, alert=alert.name, firing=alert.firing
        )
        return "accepted" if known else "quarantined"

    async def _tell_truncated(self, webhook: Webhook) -> None:
        self.metrics.alerts.labels("truncated").inc(webhook.truncated)
        log.warning("alerts.truncated", count=webhook.truncated, group=webhook.group_key[:200])
        await self.tell_admins(
            f"alerts-truncated:{self.clock():%Y%m%d%H}",
            f":warning: Alertmanager left {webhook.truncated} alerts out of a notification: hosts that went down are "
            "missing here. Set `max_alerts: 0` in the webhook of its receiver.",
        )


def report_body(alert: Alert, host: str, group_key: str, config: AlertmanagerConfig) -> dict[str, Any]:
    """As stored in `Report.body`. A resolved alert only adds when the host was back to a panic that is known."""
    body: dict[str, Any] = {
        "id": alert.ident,
        "host": host,
        "text": "",
        "source": "alertmanager",
        "occurred_at": alert.starts_at.isoformat(),
        "not_before": (alert.starts_at - timedelta(minutes=config.lag_minutes)).isoformat(),
        "alert": {"name": alert.name, "group_key": group_key, "fingerprint": alert.fingerprint},
    }
    if not alert.firing:
        body |= {"id": f"{alert.ident}:resolved", "continues": alert.ident, "closes": True}
        if alert.ends_at is not None:
            body["back_at"] = alert.ends_at.isoformat()
    return body
