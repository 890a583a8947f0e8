"""Socket Mode: the app's websockets, the envelopes on them and their acknowledgements."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import WSMsgType, web

from bot.demo.workspace.feed import Feed
from bot.demo.workspace.identity import Ids
from bot.demo.workspace.slackapp import SlackApp

log = structlog.get_logger(__name__)

Json = dict[str, Any]

MAX_SOCKETS = 10
TICKET_LIMIT = 1000
_HEARTBEAT = 10.0
#: Seconds that a client has to leave by itself after it was told to.
_GRACE = 1.0


class SocketGone(ConnectionError):
    """The socket was closed before the envelope on it was acknowledged."""


@dataclass(eq=False)
class _Socket:
    response: web.WebSocketResponse
    waiting: dict[str, asyncio.Future[Json]] = field(default_factory=dict)


class SocketHub:
    """The open sockets of the app. Envelopes go to one of them in turn, as Slack spreads them."""

    def __init__(self, *, app: SlackApp, ids: Ids, feed: Feed) -> None:
        self._app = app
        self._ids = ids
        self._feed = feed
        self._tickets: set[str] = set()
        self._sockets: list[_Socket] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._turn = 0

    @property
    def connected(self) -> int:
        """How many sockets are open."""
        return len(self._sockets)

    def ticket(self) -> str:
        """One right to connect (`apps.connections.open`)."""
        if len(self._tickets) >= TICKET_LIMIT:
            self._tickets.clear()
        ticket = self._ids.token(32)
        self._tickets.add(ticket)
        return ticket

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """The websocket's end at /socket/{ticket}."""
        ticket = request.match_info["ticket"]
        if ticket not in self._tickets:
            raise web.HTTPForbidden(text="this ticket was used or never given: call apps.connections.open")
        self._tickets.remove(ticket)
        response = web.WebSocketResponse(heartbeat=_HEARTBEAT)
        await response.prepare(request)
        if len(self._sockets) >= MAX_SOCKETS:
            await response.send_json({"type": "disconnect", "reason": "too_many_websockets"})
            await response.close()
            return response
        socket = _Socket(response)
        self._sockets.append(socket)
        try:
            await response.send_json(self._hello())
            self._tell_connected()
            async for message in response:
                if message.type is WSMsgType.TEXT:
                    self._acknowledged(socket, message.data)
        finally:
            if socket in self._sockets:
                self._sockets.remove(socket)
            for future in socket.waiting.values():
                if not future.done():
                    future.set_exception(SocketGone("the socket was closed before the acknowledgement"))
            self._tell_connected()
        return response

    def choose(self) -> _Socket | None:
        """The next socket in turn, or None when none is open."""
        if not self._sockets:
            return None
        self._turn += 1
        return self._sockets[self._turn % len(self._sockets)]

    async def send(
        self,
        socket: _Socket,
        kind: str,
        payload: Json,
        *,
        accepts_response: bool,
        retry: Json | None,
        timeout: float,
    ) -> Json:
        """Send one envelope and wait for its acknowledgement: the payload that came with it, or {}.

        Raises TimeoutError after `timeout` seconds, SocketGone when the socket closes first.
        """
        envelope_id = _uuid(self._ids)
        envelope: Json = {
            "envelope_id": envelope_id,
            "type": kind,
            "payload": payload,
            "accepts_response_payload": accepts_response,
            **(retry or {}),
        }
        future: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        socket.waiting[envelope_id] = future
        try:
            async with asyncio.timeout(timeout):
                try:
                    await socket.response.send_json(envelope)
                except ConnectionError as error:
                    raise SocketGone("the socket was closed before the envelope went out") from error
                return await future
        finally:
            socket.waiting.pop(envelope_id, None)

    async def disconnect(self, *, reason: str = "refresh_requested", abruptly: bool = False) -> None:
        """Ask every client to reconnect, or cut every socket without a word.

        No envelope goes to a socket that was told; what it still acknowledges counts.
        """
        for socket in list(self._sockets):
            self._sockets.remove(socket)
            if abruptly:
                _cut(socket.response)
                continue
            task = asyncio.get_running_loop().create_task(self._see_off(socket, reason))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        self._tell_connected()

    async def close(self) -> None:
        """Close every socket, also those that were about to leave."""
        for task in list(self._leaving):
            task.cancel()
        for socket in list(self._sockets):
            await socket.response.close(code=1001, message=b"the workspace closes")

    async def _see_off(self, socket: _Socket, reason: str) -> None:
        goodbye = {"type": "disconnect", "reason": reason, "debug_info": {"host": "workspace"}}
        try:
            await socket.response.send_json(goodbye)
        except ConnectionError as error:
            log.info("workspace_socket_was_gone", error=str(error))
            return
        try:
            await asyncio.sleep(_GRACE)
        finally:
            await socket.response.close()

    def _acknowledged(self, socket: _Socket, text: str) -> None:
        try:
            answer = json.loads(text)
        except json.JSONDecodeError:
            log.warning("workspace_socket_bad_json", text=text[:200])
            return
        future = socket.waiting.get(answer.get("envelope_id", "")) if isinstance(answer, dict) else None
        if future is not None and not future.done():
            payload = answer.get("payload")
            future.set_result(payload if isinstance(payload, dict) else {})

    def _hello(self) -> Json:
        return {
            "type": "hello",
            "num_connections": len(self._sockets),
            "connection_info": {"app_id": self._app.app_id},
            "debug_info": {"host": "workspace", "build_number": 1, "approximate_connection_time": 18060},
        }

    def _tell_connected(self) -> None:
        self._feed.tell({"type": "bot", "connected": bool(self._sockets)})


def _uuid(ids: Ids) -> str:
    raw = ids.token(32).lower()
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


def _cut(response: web.WebSocketResponse) -> None:
    transport = response._req.transport if response._req is not None else None
    if transport is not None:
        transport.abort()
