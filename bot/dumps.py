"""GET /v1/dumps/TOKEN: a dump of the central store, to whoever holds a link that was made for it."""

from __future__ import annotations

import base64
import re

import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from bot.central import make_store
from bot.http import Problem
from bot.settings import Settings
from commands.context import Context
from commands.fetch.desk import PATH, Damaged, FetchDesk
from commands.fetch.links import Closed, Opened
from commands.fetch.slack import register
from commands.router import Router
from integrations.stores import StoreError
from storage import DumpCopy, panic_ref

log = structlog.get_logger(__name__)

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})")
_LOOKERS = re.compile(r"slackbot|slack-imgproxy", re.IGNORECASE)  # Slack looks at addresses that it is shown


def make_fetch(context: Context, router: Router, settings: Settings) -> FetchDesk:
    store = make_store(settings.central, settings.ssh)
    desk = FetchDesk(context, store, settings.fetch, public_url=settings.server.public_url)
    register(router, desk)
    return desk


class DumpRoute:
    """Sends the parts in order as one file. Every refusal is JSON: 403 no link of ours, 410 it is over."""

    def __init__(self, desk: FetchDesk) -> None:
        self.desk = desk

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(PATH + "{token}", self.handle)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except Problem as problem:
            log.info("dump.refused", code=problem.code, why=problem.message, peer=request.remote)
            response = problem.response()
            response.headers["Cache-Control"] = "no-store"
            return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if _LOOKERS.search(request.headers.get("User-Agent", "")):
            raise Problem(403, "preview", "links to dumps are not previewed.")
        try:
            link, copy = await self.desk.look(request.match_info["token"])
            start = _start(request, copy)
            if request.method == "HEAD":
                return _head(panic_ref(link.panic_id), copy, 0)
            if self.desk.room.locked():
                raise Problem(503, "busy", "other dumps are being fetched. Try again.", retry_after=30)
            async with self.desk.room:
                opened = await self.desk.begin(link, start, request.remote or "unknown")
                return await self._send(request, opened, copy)
        except Closed as closed:
            raise Problem(410 if closed.gone else 403, closed.code, closed.message) from closed
        except SQLAlchemyError as error:
            log.error("dump.not_answered", error=f"{type(error).__name__}: {error}"[:500])
            raise Problem(503, "not_ready", "the bot's database does not answer.", retry_after=10) from error

    async def _send(self, request: web.Request, opened: Opened, copy: DumpCopy) -> web.StreamResponse:
        """The fetch is told to its end, whatever ends it."""
        reached, note = opened.start, "the other side or the bot ended it"
        response = _head(panic_ref(opened.panic_id), copy, opened.start)
        pieces = self.desk.pieces(opened)
        try:
            async for piece in pieces:
                if not response.prepared:  # a store that does not answer can be told in words until then
                    await response.prepare(request)
                await response.write(piece)
                reached += len(piece)
            await response.write_eof()
            note = ""
            return response
        except Damaged as error:
            note = f"damaged in the store: {error}"
            return _cut(request, response, Problem(410, "dump_damaged", f"the copy is {note}."))
        except StoreError as error:
            note = str(error)
            return _cut(request, response, Problem(503, "store_failed", note[:300], retry_after=30))
        except ConnectionError as error:
            note = f"the other side is gone ({type(error).__name__})"
            return response
        finally:
            await pieces.aclose()
            await self.desk.end(opened, reached, note)


def _cut(request: web.Request, response: web.StreamResponse, problem: Problem) -> web.StreamResponse:
    """A status that was sent cannot be taken back: the connection ends before the length that it promised."""
    if not response.prepared:
        raise problem
    if request.transport is not None:
        request.transport.abort()
    return response


def _start(request: web.Request, copy: DumpCopy) -> int:
    """The first byte that is wanted. One open range is understood; any other is answered with the whole."""
    found = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if found is None or request.method != "GET":
        return 0
    size = copy.size or 0
    if request.headers.get("If-Range", _etag(copy)) != _etag(copy) or found[2] not in ("", str(size - 1)):
        return 0
    if int(found[1]) >= size:
        raise Problem(416, "bad_range", f"the dump has {size} bytes.")
    return int(found[1])


def _etag(copy: DumpCopy) -> str:
    return f'"{copy.sha256}"'


def _head(ref: str, copy: DumpCopy, start: int) -> web.StreamResponse:
    response = web.StreamResponse()
    size = copy.size or 0
    response.set_status(206 if start else 200)
    if start:
        response.headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
    response.content_length = size - start
    response.content_type = "application/octet-stream"
    response.headers.update(
        {
            "Content-Disposition": f'attachment; filename="{ref}-vmcore"',
            "Accept-Ranges": "bytes",
            "ETag": _etag(copy),
            "X-Content-SHA256": copy.sha256 or "",
            "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(copy.sha256 or '')).decode()}:",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
    )
    return response
