"""POST /api/{method}: token, faults, dispatch, and a record of every call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from aiohttp import web

from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.faults import Fault
from bot.demo.workspace.webapi import chat, conversations, files, people, views
from bot.demo.workspace.webapi.arguments import Arguments
from bot.demo.workspace.workspace import Workspace

log = structlog.get_logger(__name__)

Json = dict[str, Any]
Method = Callable[[Workspace, Arguments], Awaitable[Json]]

#: How long an answer that never comes is held back when the fault does not say.
NEVER = 120.0
_POLL = 0.02


class WebApi:
    """The Web API's methods by name."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._methods: Mapping[str, Method] = {
            **chat.METHODS,
            **conversations.METHODS,
            **files.METHODS,
            **people.METHODS,
            **views.METHODS,
        }

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One call."""
        name = request.match_info["method"]
        try:
            arguments = await Arguments.of(request)
            self._authenticate(name, request, arguments)
        except ApiError as error:
            return self._answer(name, {}, error.answer(), error)
        fault = self._workspace.faults.take(name)
        if fault is not None:
            return await self._faulty(fault, request, name, arguments)
        limits = self._workspace.faults.limits
        if limits is not None:
            wait = limits.refuse(name, arguments.optional("channel") if "channel" in arguments else None)
            if wait is not None:
                return self._refused(name, arguments, ratelimited(wait))
        return await self._call(name, arguments)

    async def _call(self, name: str, arguments: Arguments) -> web.Response:
        method = self._methods.get(name)
        try:
            if method is None:
                raise ApiError("unknown_method")
            body = {"ok": True, **await method(self._workspace, arguments)}
        except ApiError as error:
            return self._answer(name, arguments.public(), error.answer(), error)
        return self._answer(name, arguments.public(), body)

    async def _faulty(
        self, fault: Fault, request: web.Request, name: str, arguments: Arguments
    ) -> web.StreamResponse:
        match fault.mode:
            case "ratelimited":
                return self._refused(name, arguments, ratelimited(fault.retry_after))
            case "500":
                return self._refused(name, arguments, ApiError("internal_error", status=500))
            case "error":
                return self._refused(name, arguments, ApiError(fault.error))
            case "reset":
                self._record(name, arguments.public(), {"ok": False, "error": "reset"})
                return _cut(request)
            case "reset_after_landing":
                await self._call(name, arguments)
                return _cut(request)
            case "timeout_after_landing":
                await self._call(name, arguments)
                await _until_gone(request, fault.delay or NEVER)
                return _cut(request)
            case "late_landing":
                await _until_gone(request, fault.hold)
                self._workspace.spawn(self._land_late(fault.delay, name, arguments))
                return _cut(request)
            case "slow":
                await asyncio.sleep(fault.delay)
                return await self._call(name, arguments)

    async def _land_late(self, delay: float, name: str, arguments: Arguments) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._workspace.faults.landing.wait()
        await self._call(name, arguments)

    def _authenticate(self, name: str, request: web.Request, arguments: Arguments) -> None:
        header = request.headers.get("Authorization", "")
        scheme, _, credential = header.partition(" ")
        token = credential.strip() if scheme.lower() == "bearer" else arguments.optional("token")
        app = self._workspace.app
        if name == "api.test":
            return
        if not token:
            raise ApiError("not_authed")
        if token not in (app.bot_token, app.app_token):
            raise ApiError("invalid_auth")
        if (token == app.app_token) != (name == "apps.connections.open"):
            raise ApiError("not_allowed_token_type")

    def _refused(self, name: str, arguments: Arguments, error: ApiError) -> web.Response:
        return self._answer(name, arguments.public(), error.answer(), error)

    def _answer(self, name: str, arguments: Json, body: Json, error: ApiError | None = None) -> web.Response:
        self._record(name, arguments, body)
        if error is None:
            return web.json_response(body)
        if error.code in ("invalid_blocks", "invalid_arguments", "msg_blocks_too_long", "unknown_method"):
            log.warning("workspace_call_refused", method=name, error=error.code, messages=error.messages)
        return web.json_response(body, status=error.status, headers=error.headers)

    def _record(self, name: str, arguments: Json, body: Json) -> None:
        self._workspace.calls.append(
            {
                "method": name,
                "at": self._workspace.clock(),
                "ok": body["ok"],
                "error": body.get("error"),
                "arguments": arguments,
                "ts": body.get("ts"),
            }
        )


def ratelimited(retry_after: int) -> ApiError:
    """HTTP 429 with Retry-After in whole seconds."""
    return ApiError("ratelimited", status=429, headers={"Retry-After": str(retry_after)})


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _until_gone(request: web.Request, seconds: float) -> None:
    """Until the client has closed its connection, or `seconds` have passed."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(_POLL)
