"""The workspace's one HTTP port: Web API, uploads, sockets, response URLs, the page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files as package_files
from pathlib import Path

from aiohttp import BodyPartReader, web
from aiohttp.typedefs import Handler

from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.page import HostHooks, PageApi
from bot.demo.workspace.responses import Responses
from bot.demo.workspace.webapi import WebApi
from bot.demo.workspace.workspace import Workspace

#: The largest request: an evidence bundle.
MAX_REQUEST = 256 * 1024**2

_INERT = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}


def make_app(workspace: Workspace, *, hosts: HostHooks | None = None) -> web.Application:
    """The aiohttp application; it closes `workspace` when it is cleaned up."""

    @web.middleware
    async def know_own_address(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not workspace.base_url:
            workspace.base_url = f"{request.scheme}://{request.host}"
        return await handler(request)

    async def until_closed(app: web.Application) -> AsyncIterator[None]:
        workspace.spawn(workspace.keep_probing())
        yield
        await workspace.close()

    app = web.Application(client_max_size=MAX_REQUEST, middlewares=[know_own_address])
    app.cleanup_ctx.append(until_closed)
    web_api, responses = WebApi(workspace), Responses(workspace)
    static = _page_directory()
    app.router.add_post("/api/{method}", web_api.serve)
    app.router.add_get("/api/{method}", web_api.serve)
    app.router.add_get("/socket/{ticket}", workspace.sockets.serve)
    app.router.add_post("/commands/{team}/{token}", responses.serve)
    app.router.add_post("/actions/{team}/{token}", responses.serve)
    app.router.add_post("/app/{team}/{token}", responses.serve)
    downloads = _Files(workspace)
    app.router.add_post("/upload/{ticket}", downloads.upload)
    app.router.add_get("/files/{file_id}/{name}", downloads.download)
    app.router.add_get("/files/{file_id}/download/{name}", downloads.download)
    app.router.add_routes(PageApi(workspace, hosts).routes())

    async def index(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(static / "index.html", headers={"Cache-Control": "no-cache"})

    async def alive(request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "bot_connected": workspace.delivery.connected})

    app.router.add_get("/", index)
    # The page itself opens what a permalink names.
    app.router.add_get("/archives/{channel}", index)
    app.router.add_get("/archives/{channel}/{packed:p[0-9]{7,}}", index)
    app.router.add_get("/healthz", alive)
    if static.is_dir():
        app.router.add_static("/static/", static)
    return app


class _Files:
    """Bytes in and out."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def upload(self, request: web.Request) -> web.Response:
        """The external upload: a raw body or the first part of a form."""
        ticket = request.match_info["ticket"]
        if self._workspace.files.expected(ticket) is None:
            raise web.HTTPNotFound(text="no such upload")
        fault = self._workspace.faults.take("upload")
        if fault is not None:
            raise web.HTTPInternalServerError(text="upload failed")
        content = await _content(request)
        try:
            await self._workspace.files.receive(ticket, content)
        except ApiError as error:
            return web.Response(status=400, text=error.code)
        return web.Response(text=f"OK - {len(content)}")

    async def download(self, request: web.Request) -> web.Response:
        """A file, for the app (bearer token) or for somebody on the page (?user=)."""
        workspace = self._workspace
        document = workspace.files.find(request.match_info["file_id"])
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token != workspace.app.bot_token and request.query.get("user") not in workspace.directory.users:
            raise web.HTTPForbidden(text="log in: send the bot token, or ?user=")
        if document is None or document.get("mode") == "tombstone":
            raise web.HTTPNotFound(text="no such file")
        name = re.sub(r"[^\w .()+-]", "_", document["name"], flags=re.ASCII)
        attached = "/download/" in request.path or not document["mimetype"].startswith("text/plain")
        kind = "attachment" if attached else "inline"
        headers = {**_INERT, "Content-Disposition": f'{kind}; filename="{name}"'}
        content = await workspace.files.content(document["id"])
        return web.Response(body=content, content_type=document["mimetype"], headers=headers)


async def _content(request: web.Request) -> bytes:
    if request.content_type != "multipart/form-data":
        return await request.read()
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader) and part.filename is not None:
            return bytes(await part.read())
    raise web.HTTPBadRequest(text="no file in the form")


def _page_directory() -> Path:
    return Path(str(package_files("bot.demo"))) / "page" / "static"


@asynccontextmanager
async def serving(
    workspace: Workspace, *, host: str = "127.0.0.1", port: int = 0, hosts: HostHooks | None = None
) -> AsyncIterator[str]:
    """Serve `workspace` until the block ends; gives its address. Port 0 takes a free one.

    Raises OSError when the port is taken.
    """
    runner = web.AppRunner(make_app(workspace, hosts=hosts), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        workspace.base_url = workspace.base_url or f"http://{host}:{runner.addresses[0][1]}"
        yield workspace.base_url
    finally:
        await runner.cleanup()
