"""Changes told by others: POST /v1/changes, which a deploy pipeline calls, and files that are read when they change."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog
from aiohttp import web
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlmodel import Session

from bot.http import Problem, read_bounded
from bot.metrics import Metrics
from bot.settings import ServerConfig, Settings
from commands.changes import records
from integrations.changes import BadFeed
from integrations.changes.feed import FORMATS, FeedChange, Format, read_feed
from integrations.changes.feed_config import FeedConfig
from integrations.inbound import Secret, Stale, Unsigned, verify
from storage import Database, utc_now

log = structlog.get_logger(__name__)

_BATCH = 50  # changes in one transaction: reports are committed in between
_LARGEST = 16 * 1024 * 1024  # bytes of a file


class ChangesRoute:
    """Idempotent on source and key: a later post of the same change updates it. All of a request is kept, or none."""

    def __init__(
        self,
        config: FeedConfig,
        *,
        server: ServerConfig,
        db: Database,
        metrics: Metrics,
        on_fed: Callable[[], None],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.config = config
        self.server = server
        self.db = db
        self.metrics = metrics
        self.on_fed = on_fed
        self.clock = clock

    async def handle(self, request: web.Request) -> web.Response:
        try:
            changes = await self._read(request)
            counts = await self._keep(changes)
        except Problem as problem:
            self.metrics.changes_told.labels(problem.code).inc()
            log.info("changes.refused", code=problem.code, why=problem.message, peer=request.remote)
            response = problem.response()
            if problem.status == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
            if not request.content.is_eof():
                response.force_close()  # the rest of the body is not worth reading
            return response
        told = {outcome: counts[outcome] for outcome in (records.NEW, records.UPDATED, records.UNCHANGED)}
        log.info("changes.told", sources=sorted({c.source for c in changes}), **told)
        return web.json_response({"status": "ok", **told}, status=201 if told[records.NEW] else 200)

    async def _read(self, request: web.Request) -> list[FeedChange]:
        form = FORMATS.get(request.content_type)
        if form is None:
            message = f"Content-Type must be one of {', '.join(FORMATS)}, not {request.content_type[:60]}."
            raise Problem(415, "unsupported_media_type", message, field="Content-Type")
        bearer = request.headers.get("Authorization")
        if bearer is not None:
            self._check_token(bearer)  # before a stranger's body is read
        body = await read_bounded(request, self.server.body_limit)
        if bearer is None:
            self._check_signature(request, body)
        try:
            return await asyncio.to_thread(read_feed, body, form)
        except BadFeed as error:
            raise Problem(422, "bad_feed", str(error)) from error

    def _check_token(self, header: str) -> None:
        """Each token is compared, hashed, so that the time taken tells neither which one fits nor how long it is."""
        scheme, _, given = header.strip().partition(" ")
        digest = _digest(given.strip())
        fitting = [hmac.compare_digest(digest, _digest(t.get_secret_value())) for t in self.config.tokens]
        if scheme.lower() != "bearer" or not any(fitting):
            message = "the token is wrong; Authorization: Bearer with one of feed.tokens is taken here."
            raise Problem(401, "bad_credentials", message, field="Authorization")

    def _check_signature(self, request: web.Request, body: bytes) -> None:
        now = self.clock().timestamp()
        secrets = [Secret(s.get_secret_value()) for s in (*self.config.tokens, *self.server.shared_secrets)]
        try:
            verify(request.headers, body, secrets, now=now, window=self.server.time_window.total_seconds())
        except Stale as error:
            raise Problem(401, error.code, error.message, field=error.field, server_time=int(now)) from error
        except Unsigned as error:
            raise Problem(401, error.code, error.message, field=error.field) from error

    async def _keep(self, changes: Sequence[FeedChange]) -> Counter[str]:
        now = self.clock()
        try:
            counts = await self._write(changes, now)
        except SQLAlchemyError as error:
            log.error("changes.not_stored", error=f"{type(error).__name__}: {error}"[:500])
            message = "the bot's database cannot store it now; nothing was kept. Send it again."
            raise Problem(503, "not_stored", message, retry_after=10) from error
        _count(self.metrics, counts)
        if counts[records.NEW] or counts[records.UPDATED]:
            self.on_fed()
        return counts

    async def _write(self, changes: Sequence[FeedChange], now: datetime) -> Counter[str]:
        """Two requests that tell of one new change at once (PostgreSQL): the second finds what the first has made."""
        try:
            return await self.db.write(lambda s: take_all(s, changes, now))
        except IntegrityError:
            return await self.db.write(lambda s: take_all(s, changes, now))


@dataclass
class FeedFiles:
    """Reads each file when its time or size has changed. One that cannot be read is logged, and looked at again."""

    config: FeedConfig
    db: Database
    metrics: Metrics
    on_fed: Callable[[], None]
    clock: Callable[[], datetime] = utc_now
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)

    async def run(self) -> None:
        while self.config.files:
            await self.look()
            await asyncio.sleep(self.config.every)

    async def look(self) -> None:
        """One look at all files."""
        for file in self.config.files:
            try:
                await self._look_at(file)
            except (OSError, BadFeed, SQLAlchemyError) as error:
                if not isinstance(error, BadFeed):
                    self._seen.pop(file, None)
                self.metrics.changes_told.labels("bad_file").inc()
                log.error("changes.file_not_read", file=str(file), error=str(error)[:500])

    async def _look_at(self, file: Path) -> None:
        found = await asyncio.to_thread(_stamp, file)
        if found == self._seen.get(file):
            return
        self._seen[file] = found  # one that is wrong is told of once, until somebody writes it anew
        changes = await asyncio.to_thread(read_file, file)
        now, counts = self.clock(), Counter[str]()
        for at in range(0, len(changes), _BATCH):
            part = changes[at : at + _BATCH]
            counts += await self.db.write(partial(take_all, changes=part, now=now))
        _count(self.metrics, counts)
        log.info("changes.file_read", file=str(file), **counts)
        if counts[records.NEW] or counts[records.UPDATED]:
            self.on_fed()


def read_file(file: Path) -> list[FeedChange]:
    """The changes of a file, by its ending; its name without that is the source of those that give none.

    Raises OSError, and BadFeed.
    """
    if file.stat().st_size > _LARGEST:
        raise BadFeed(f"{file.name} is larger than {_LARGEST} bytes")
    forms: dict[str, Format] = {".toml": "toml", ".csv": "csv", ".json": "json"}
    return read_feed(file.read_bytes(), forms[file.suffix.lower()], source=file.stem[:60])


def take_all(session: Session, changes: Sequence[FeedChange], now: datetime) -> Counter[str]:
    """How many were new, updated or unchanged."""
    return Counter(records.take(session, change, now) for change in changes)


def make_feed(
    settings: Settings, db: Database, metrics: Metrics, on_fed: Callable[[], None]
) -> tuple[ChangesRoute, FeedFiles]:
    """The two ways in. `on_fed()` is called after the commit of what is new."""
    route = ChangesRoute(settings.feed, server=settings.server, db=db, metrics=metrics, on_fed=on_fed)
    return route, FeedFiles(settings.feed, db, metrics, on_fed)


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_mtime_ns, found.st_size


def _count(metrics: Metrics, counts: Counter[str]) -> None:
    for outcome, count in counts.items():
        metrics.changes_told.labels(outcome).inc(count)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
