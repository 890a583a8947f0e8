"""The bot's HTTP routes that are not Slack's: POST /v1/panics, GET /healthz, /readyz, /metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_exceptions import HTTPException
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from bot.metrics import Metrics
from bot.settings import ServerConfig, reporting_secrets
from commands.inventory import Inventory
from integrations.inbound import (
    HOST_HEADER,
    InvalidReport,
    PanicReport,
    Secret,
    Stale,
    Unsigned,
    host_name,
    read_report,
    verify,
)
from storage import Database, ReportState, report_ref, utc_now
from storage.inbox import InboxError, InboxFull, ReportInbox, Stored

log = structlog.get_logger(__name__)

ReadyCheck = Callable[[], Awaitable[str | None]]  # None: ready; text: why not

_BODY_SECONDS = 30.0  # a host that sends slower than this gives up its connection
_CHECK_SECONDS = 3.0
_BIG_BODY = 64 * 1024  # larger ones are hashed and parsed beside the event loop


class Problem(Exception):
    """A refusal as the sender sees it: `{"error": code, "field": …, "message": …}`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        server_time: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.server_time = server_time
        self.retry_after = retry_after
        super().__init__(message)

    def response(self) -> web.Response:
        body: dict[str, Any] = {"error": self.code, "field": self.field, "message": self.message}
        if self.server_time is not None:
            body["server_time"] = self.server_time
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else None
        return web.json_response(body, status=self.status, headers=headers)


def make_http(
    *,
    server: ServerConfig,
    inventory: Inventory,
    inbox: ReportInbox,
    metrics: Metrics,
    checks: Mapping[str, ReadyCheck],
    on_report: Callable[[Sequence[int]], None] = lambda _ids: None,
    count_waiting: Callable[[], Awaitable[Mapping[ReportState, int]]] | None = None,
    clock: Callable[[], datetime] = utc_now,
    version: str = "",
) -> web.Application:
    """The application; Slack's route is added to it by the composition root.

    `inbox` must be started. `on_report(report_ids)` is called after the commit of rows that are new, also
    those in quarantine; it only wakes somebody up. `checks` are asked by /readyz, each for at most 3 s.
    `count_waiting` says at each scrape of /metrics how many stored reports are no panics yet, by state.
    """
    front = _Front(server, inventory, inbox, metrics, checks, on_report, count_waiting, clock, version)
    app = web.Application(middlewares=[_json_errors])
    app.router.add_post("/v1/panics", front.take_panic)
    app.router.add_get("/healthz", front.alive)
    app.router.add_get("/readyz", front.ready)
    app.router.add_get("/metrics", front.show_metrics)
    return app


def database_check(db: Database) -> ReadyCheck:
    """Writes for real (the schema's version, onto itself): a full disk or a read-only file is found, too."""

    async def check() -> str | None:
        try:
            await db.write(lambda s: s.execute(text("UPDATE alembic_version SET version_num = version_num")))
        except SQLAlchemyError as error:
            return f"not writable: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
        return None

    return check


@dataclass
class _Front:
    server: ServerConfig
    inventory: Inventory
    inbox: ReportInbox
    metrics: Metrics
    checks: Mapping[str, ReadyCheck]
    on_report: Callable[[Sequence[int]], None]
    count_waiting: Callable[[], Awaitable[Mapping[ReportState, int]]] | None
    clock: Callable[[], datetime]
    version: str
    _checking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _checked: tuple[float, dict[str, str | None]] | None = None

    # -- POST /v1/panics ------------------------------------------------------------------------------

    async def take_panic(self, request: web.Request) -> web.Response:
        began = time.perf_counter()
        try:
            _check_media(request)
            body = await read_bounded(request, self.server.body_limit)
            owner, report = await self._authenticate(request, body)
            self._check_owner(owner, report)
            known = not self.inventory.closed or self.inventory.knows(report.host)
            stored = await self._store(
                report, len(body), ReportState.NEW if known else ReportState.QUARANTINED
            )
        except Problem as problem:
            self.metrics.reports.labels(problem.code).inc()
            log.info(
                "report.refused",
                code=problem.code,
                field=problem.field,
                why=problem.message,
                peer=request.remote,
            )
            response = problem.response()
            if not request.content.is_eof():
                response.force_close()  # the rest of the body is not worth reading
            return response
        status = "duplicate" if stored.duplicate else "accepted" if known else "quarantined"
        if not stored.duplicate:
            self.on_report([stored.id])
        self.metrics.reports.labels(status).inc()
        self.metrics.report_seconds.observe(time.perf_counter() - began)
        answer: dict[str, Any] = {"report_id": report_ref(stored.id), "status": status}
        if report.ignored:
            answer["ignored"] = list(report.ignored)
        log.info("report.stored", report=answer["report_id"], host=report.host, status=status)
        return web.json_response(answer, status=200 if stored.duplicate else 202)

    async def _authenticate(self, request: web.Request, body: bytes) -> tuple[Secret, PanicReport]:
        now = self.clock().timestamp()
        window = self.server.time_window.total_seconds()
        secrets = self._secrets_for(request.headers.get(HOST_HEADER))

        def check_and_read() -> tuple[Secret, PanicReport]:
            return verify(request.headers, body, secrets, now=now, window=window), read_report(body)

        try:
            return await asyncio.to_thread(check_and_read) if len(body) > _BIG_BODY else check_and_read()
        except Stale as error:
            raise Problem(401, error.code, error.message, field=error.field, server_time=int(now)) from error
        except Unsigned as error:
            raise Problem(401, error.code, error.message, field=error.field) from error
        except InvalidReport as error:
            status = 400 if error.code == "bad_json" else 422
            raise Problem(status, error.code, error.message, field=error.field) from error

    def _secrets_for(self, header: str | None) -> list[Secret]:
        """The host's own secrets first, then the shared ones."""
        shared = [Secret(s.get_secret_value()) for s in self.server.shared_secrets]
        if header is None:
            return shared
        try:
            name = host_name(header)
        except ValueError as error:
            raise Problem(401, Unsigned.code, f"{HOST_HEADER} {error}.", field=HOST_HEADER) from error
        entry = self.inventory.find(name)
        if entry is None:
            return shared
        return [*(Secret(own, entry.name) for own in reporting_secrets(entry)), *shared]

    def _check_owner(self, secret: Secret, report: PanicReport) -> None:
        """A host's own secret speaks for that host alone (a pattern's: for the hosts of the pattern)."""
        if secret.owner is None:
            return
        entry = self.inventory.find(report.host)
        if entry is None or entry.name != secret.owner:
            raise Problem(
                403,
                "wrong_host",
                f"this secret may report for {secret.owner} only; sign with that host's own secret or a shared one.",
                field="host",
            )

    async def _store(self, report: PanicReport, size: int, state: ReportState) -> Stored:
        try:
            return await self.inbox.add(
                host=report.host,
                external_id=report.id,
                body=report.as_body(),
                source=report.source,
                state=state,
                size=size,
            )
        except InboxFull as error:
            raise Problem(503, "inbox_full", str(error), retry_after=error.retry_after) from error
        except InboxError as error:
            raise Problem(503, "stopping", str(error), retry_after=5) from error
        except SQLAlchemyError as error:
            log.error("report.not_stored", host=report.host, error=f"{type(error).__name__}: {error}"[:500])
            message = "the bot's database cannot store it now; nothing was kept. Send it again."
            raise Problem(503, "not_stored", message, retry_after=10) from error

    # -- health ---------------------------------------------------------------------------------------

    async def alive(self, _request: web.Request) -> web.Response:
        """The process answers. Whether it can do its work is /readyz."""
        return web.json_response({"alive": True, "version": self.version})

    async def ready(self, _request: web.Request) -> web.Response:
        found = await self._check_all()
        for name, why in found.items():
            self.metrics.ready.labels(name).set(0 if why else 1)
        ready = not any(found.values())
        shown = {name: why or "ok" for name, why in found.items()}
        return web.json_response({"ready": ready, "checks": shown}, status=200 if ready else 503)

    async def _check_all(self) -> dict[str, str | None]:
        """Asked by many at once, the checks run once a second."""
        async with self._checking:
            now = time.monotonic()
            if self._checked is None or now - self._checked[0] >= 1.0:
                names = list(self.checks)
                whys = await asyncio.gather(*(_ask(self.checks[name]) for name in names))
                self._checked = (now, dict(zip(names, whys, strict=True)))
            return self._checked[1]

    async def show_metrics(self, _request: web.Request) -> web.Response:
        self.metrics.inbox_waiting.labels("reports").set(self.inbox.waiting)
        await self._count_waiting()
        return web.Response(
            body=self.metrics.exposition(), headers={"Content-Type": self.metrics.content_type}
        )

    async def _count_waiting(self) -> None:
        """A database that does not answer leaves the figure out: an old one would look like a good one."""
        if self.count_waiting is None:
            return
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                counts = await self.count_waiting()
        except (TimeoutError, SQLAlchemyError) as error:
            log.warning("metrics.not_counted", error=f"{type(error).__name__}: {error}"[:300])
            self.metrics.reports_waiting.clear()
            return
        for state, count in counts.items():
            self.metrics.reports_waiting.labels(state.value).set(count)


async def _ask(check: ReadyCheck) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:g} s"
    except Exception as error:
        log.exception("ready.check_failed")
        return f"{type(error).__name__}: {error}"[:200]


def _check_media(request: web.Request) -> None:
    if request.content_type != "application/json":
        given = request.content_type[:60]
        raise Problem(
            415,
            "unsupported_media_type",
            f"Content-Type must be application/json, not {given}.",
            field="Content-Type",
        )
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        message = "the body must not be compressed: the signature covers the bytes as sent."
        raise Problem(415, "unsupported_encoding", message, field="Content-Encoding")


async def read_bounded(request: web.Request, limit: int) -> bytes:
    """Stops as soon as the limit (bytes) is passed, also for a chunked body that announces no length.

    Raises Problem: 413 too large, 408 too slow, 400 broken off.
    """
    too_large = Problem(
        413, "body_too_large", f"the body is larger than {limit} bytes: send the last part of the text only."
    )
    if request.content_length is not None and request.content_length > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError as error:
        raise Problem(408, "too_slow", f"the body did not arrive within {_BODY_SECONDS:g} s.") from error
    except web.RequestPayloadError as error:
        raise Problem(400, "bad_body", f"the body could not be read: {error}"[:200]) from error
    return bytes(body)


@web.middleware
async def _json_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every error leaves as JSON, also those that aiohttp raises itself and those that nobody expected."""
    try:
        return await handler(request)
    except HTTPException as error:
        if error.status < 400 or error.content_type == "application/json":
            raise
        code = error.reason.lower().replace(" ", "_")
        response = Problem(error.status, code, f"{request.method} {request.path}: {error.reason}.").response()
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        log.exception("http.failed", method=request.method, path=request.path)
        return Problem(
            500, "internal", "the bot failed on this request; it is logged. Send it again."
        ).response()
