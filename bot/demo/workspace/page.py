"""The page's API: JSON in and out, and a websocket of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog
from aiohttp import WSMsgType, web
from pydantic import ValidationError

from bot.demo.workspace.acts import Acts
from bot.demo.workspace.directory import TEAM_DOMAIN, TEAM_ID, Channel
from bot.demo.workspace.errors import ActError, ApiError
from bot.demo.workspace.faults import Fault
from bot.demo.workspace.feed import EVERYBODY
from bot.demo.workspace.workspace import Workspace

log = structlog.get_logger(__name__)

Json = dict[str, Any]

HISTORY_SHOWN = 500
_OBJECTS = ("action", "state")
_TEXTS = (
    "user", "channel", "text", "thread_ts", "message_ts", "view_id", "action_id", "block_id", "value", "callback_id"
)  # fmt: skip


class HostHooks(Protocol):
    """The replayed hosts, as the page sees and steers them."""

    def hosts(self) -> list[Json]:
        """[{name, ring, hardware, case, title, state: up|rebooting|down, panics}]."""
        ...

    async def panic(self, host: str | None, case: str | None) -> Json:
        """Make `host` (None: any) panic with `case` (None: its own). Gives {host, case, …}."""
        ...


class PageApi:
    """Handlers below /page. A refused act is {"ok": false, "error": code, "detail": text}, status 400."""

    def __init__(self, workspace: Workspace, hosts: HostHooks | None) -> None:
        self._workspace = workspace
        self._acts = Acts(workspace)
        self._hosts = hosts

    def routes(self) -> list[web.RouteDef]:
        """All routes of the page's API."""
        reads = {
            "state": self.state,
            "history": self.history,
            "replies": self.replies,
            "hosts": self.hosts,
            "calls": self.calls,
            "control": self.armed,
        }
        acts = {
            "message": self.message,
            "action": self.action,
            "view_submit": self.view_submit,
            "view_close": self.view_close,
            "suggestion": self.suggestion,
            "shortcut": self.shortcut,
            "home_open": self.home_open,
            "hosts/panic": self.panic,
            "control": self.control,
        }
        return [
            web.get("/page/ws", self.events),
            *(web.get(f"/page/api/{name}", _readable(handler)) for name, handler in reads.items()),
            *(web.post(f"/page/api/{name}", _guarded(handler)) for name, handler in acts.items()),
        ]

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The websocket: what ?user=U may see, from now on; user=* sees all (for tests)."""
        if not _same_origin(request):
            raise web.HTTPForbidden(text="another site may not watch")
        user = request.query.get("user", "")
        if user != EVERYBODY and user not in self._workspace.directory.users:
            raise web.HTTPBadRequest(text="no such user")
        socket = web.WebSocketResponse(heartbeat=20.0)
        await socket.prepare(request)
        with self._workspace.feed.watch(user) as watcher:
            await socket.send_json({"type": "bot", "connected": self._workspace.delivery.connected})
            self._workspace.spawn(self._workspace.delivery.probe())
            sender = self._forward(socket, watcher.queue.get)
            task = asyncio.get_running_loop().create_task(sender)
            try:
                async for message in socket:
                    if message.type is WSMsgType.ERROR:
                        break
            finally:
                task.cancel()
        return socket

    async def state(self, request: web.Request) -> web.Response:
        workspace, me = self._workspace, self._me(request)
        if request.query.get("probe"):
            await workspace.delivery.probe()
        directory, app = workspace.directory, workspace.app
        return _ok(
            team={"id": TEAM_ID, "name": "Panicroom demo", "domain": TEAM_DOMAIN},
            me=me,
            users=[user.api() for user in directory.users.values()],
            channels=[channel.api(viewer=me) for channel in self._listed(me)],
            usergroups=[group.api(include_users=True) for group in directory.usergroups.values()],
            commands=[command.model_dump() for command in app.commands],
            shortcuts=[shortcut.model_dump() for shortcut in app.shortcuts],
            bot={
                "user_id": app.bot_user_id,
                "bot_id": app.bot_id,
                "app_id": app.app_id,
                "name": app.name,
                "connected": workspace.delivery.connected,
            },
            home=workspace.views.homes.get(me),
            modals=workspace.views.stack(me),
        )

    async def history(self, request: web.Request) -> web.Response:
        """The last messages of a channel, oldest first; `limit` (500) and `before` (a ts) for more."""
        log_ = self._workspace.messages.log(request.query.get("channel", ""))
        limit = int(request.query.get("limit", HISTORY_SHOWN))
        before = request.query.get("before")
        stamps = [ts for ts in log_.top if before is None or ts < before]
        whispers = self._workspace.messages.ephemerals(request.query.get("channel", ""), self._me(request))
        return _ok(
            messages=[log_.messages[ts] for ts in stamps[-limit:]],
            has_more=len(stamps) > limit,
            ephemerals=list(whispers),
        )

    async def replies(self, request: web.Request) -> web.Response:
        """A thread: the parent, then all replies, oldest first."""
        channel, ts = request.query.get("channel", ""), request.query.get("ts", "")
        parent = self._workspace.messages.find(channel, ts)
        if parent is None:
            return _refused("thread_not_found")
        return _ok(messages=[parent, *self._workspace.messages.replies(channel, ts)])

    async def hosts(self, request: web.Request) -> web.Response:
        return _ok(hosts=[] if self._hosts is None else self._hosts.hosts())

    async def calls(self, request: web.Request) -> web.Response:
        """Web API calls of the app, oldest first: {method, at, ok, error, arguments, ts}; ?method=, ?since=."""
        method = request.query.get("method")
        since = float(request.query.get("since", 0))
        calls = [c for c in self._workspace.calls if method in (None, c["method"]) and c["at"] >= since]
        return _ok(calls=calls)

    async def armed(self, request: web.Request) -> web.Response:
        return _ok(**self._workspace.faults.armed())

    async def message(self, body: Json) -> Json:
        return await self._acts.say(
            body["user"], body["channel"], body["text"], thread_ts=body.get("thread_ts")
        )

    async def action(self, body: Json) -> Json:
        return await self._acts.act(
            body["user"],
            body["action"],
            channel=body.get("channel"),
            message_ts=body.get("message_ts"),
            view_id=body.get("view_id"),
            state=body.get("state"),
        )

    async def view_submit(self, body: Json) -> Json:
        return await self._acts.submit(body["user"], body["view_id"], body.get("state") or {})

    async def view_close(self, body: Json) -> Json:
        return await self._acts.close(body["user"], body["view_id"])

    async def suggestion(self, body: Json) -> Json:
        return await self._acts.suggest(
            body["user"],
            action_id=body["action_id"],
            block_id=body["block_id"],
            value=body.get("value", ""),
            channel=body.get("channel"),
            message_ts=body.get("message_ts"),
            view_id=body.get("view_id"),
        )

    async def shortcut(self, body: Json) -> Json:
        return await self._acts.shortcut(
            body["user"],
            body["callback_id"],
            channel=body.get("channel"),
            message_ts=body.get("message_ts"),
        )

    async def home_open(self, body: Json) -> Json:
        return await self._acts.open_home(body["user"])

    async def panic(self, body: Json) -> Json:
        if self._hosts is None:
            raise ActError("no_hosts", "this workspace runs without replayed hosts")
        told = await self._hosts.panic(body.get("host"), body.get("case"))
        self._workspace.tell_hosts(self._hosts.hosts())
        return dict(told)

    async def control(self, body: Json) -> Json:
        """Arm faults, cut sockets, set limits. Gives what is armed then."""
        faults = self._workspace.faults
        if body.get("clear"):
            faults.clear()
        if limit := body.get("rate_limit"):
            faults.arm(Fault(**{**limit, "mode": "ratelimited"}))
        if failure := body.get("fail"):
            faults.arm(Fault(**failure))
        faults.duplicate_events += int(body.get("duplicate_events", 0))
        faults.lost_acks += int(body.get("lost_acks", 0))
        if "channel_limit" in body:
            limit = body["channel_limit"]
            settings: Json = limit if isinstance(limit, dict) else {"per_second": 1.0 if limit else None}
            faults.limit_channels(settings["per_second"], burst=int(settings.get("burst", 1)))
        if "real_limits" in body:
            faults.enforce_limits(bool(body["real_limits"]))
        if how := body.get("disconnect_sockets"):
            await self._workspace.sockets.disconnect(abruptly=how == "abruptly")
        if "request_url" in body:
            self._workspace.request_url = body["request_url"]
        return faults.armed()

    def _listed(self, me: str) -> list[Channel]:
        """The channels of the sidebar. The direct message with the app, which an opened home also makes, is among
        them from its first message on, as in Slack."""
        messages, directory = self._workspace.messages, self._workspace.directory
        directory.direct_message(me)
        return [
            channel
            for channel in directory.visible_to(me)
            if not channel.is_im or messages.log(channel.id).top or any(messages.ephemerals(channel.id, me))
        ]

    def _me(self, request: web.Request) -> str:
        user = request.query.get("user", "U0ONCALL")
        if user not in self._workspace.directory.users:
            raise web.HTTPBadRequest(
                text=json.dumps({"ok": False, "error": "user_not_found"}), content_type="application/json"
            )
        return user

    async def _forward(self, socket: web.WebSocketResponse, next_event: Callable[[], Awaitable[str]]) -> None:
        while not socket.closed:
            text = await next_event()
            try:
                await socket.send_str(text)
            except ConnectionError as error:
                log.debug("workspace_page_gone", error=str(error))
                return


def _readable(
    read: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        try:
            return await read(request)
        except ValueError as error:
            return _refused("invalid_arguments", str(error))

    return handler


def _guarded(act: Callable[[Json], Awaitable[Json]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        if not _same_origin(request):
            return _refused("cross_origin", "another site may not act here", status=403)
        try:
            body = await request.json()
        except json.JSONDecodeError:
            return _refused("invalid_json")
        if not isinstance(body, dict):
            return _refused("invalid_json", "an object is expected")
        for names, kind, shown in ((_TEXTS, str, "a string"), (_OBJECTS, dict, "an object")):
            for name in names:
                if body.get(name) is None:
                    body.pop(name, None)
                elif not isinstance(body[name], kind):
                    return _refused("invalid_arguments", f"{name} must be {shown}")
        try:
            return _ok(**await act(body))
        except KeyError as error:
            return _refused("invalid_arguments", f"missing field: {error.args[0]}")
        except (ValidationError, ValueError) as error:
            return _refused("invalid_arguments", str(error))
        except ActError as error:
            return _refused(error.code, error.detail)
        except ApiError as error:
            return _refused(error.code, "; ".join(error.messages))

    return handler


def _same_origin(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def _ok(**fields: Any) -> web.Response:
    return web.json_response({"ok": True, **fields})


def _refused(code: str, detail: str = "", *, status: int = 400) -> web.Response:
    body: Json = {"ok": False, "error": code, "detail": detail}
    if detail:
        body["message"] = f"{code.replace('_', ' ').capitalize()}: {detail}"
    return web.json_response(body, status=status)
