"""A person at a running workspace, for tests: acts through the page's API and waits for what appears."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp

from bot.demo.workspace.feed import EVERYBODY
from bot.demo.workspace.visible import element, option, visible_text

Json = dict[str, Any]
Match = Callable[[Json], bool] | str

#: The channel that acts and waits mean when none is named.
INCIDENTS = "C0INCIDENTS"
BOT = "U0PANICROOM"
DEADLINE = 10.0


class NotSeen(AssertionError):
    """What was waited for did not appear before the deadline."""


class Refused(AssertionError):
    """The workspace refused the act."""

    def __init__(self, path: str, answer: Json) -> None:
        super().__init__(f"{path}: {answer.get('error')} {answer.get('detail', '')}")
        self.error: str = answer.get("error", "")


def matches(thing: Json, match: Match) -> bool:
    """Whether `thing` satisfies the predicate, or shows the text."""
    return match in visible_text(thing) if isinstance(match, str) else match(thing)


class WorkspaceClient:
    """A workspace at `url`, in this process or another. Use `visiting` to get one."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url.rstrip("/")
        self.api_url = f"{self.url}/api/"
        self._session = session
        self._queues: list[asyncio.Queue[Json]] = []

    def person(self, user: str = "U0ONCALL") -> Person:
        """Somebody of the workspace: U0ONCALL, U0KERNEL, U0ADMIN, U0VIEWER in the demo."""
        return Person(self, user)

    async def message(self, match: Match, *, channel: str = INCIDENTS, timeout: float = DEADLINE) -> Json:
        """The first top-level message of `channel` that matches, now or within `timeout` seconds."""

        def from_event(event: Json) -> Json | None:
            message = event.get("message", {})
            top = message.get("thread_ts") in (None, message.get("ts"))
            here = event["type"] in ("message", "message_changed") and event["channel"] == channel
            return message if here and top else None

        return await self.first(lambda: self.history(channel), from_event, match, timeout, f"in {channel}")

    async def reply(
        self, parent: Json, match: Match, *, channel: str = INCIDENTS, timeout: float = DEADLINE
    ) -> Json:
        """The first reply in the thread of `parent` that matches."""
        ts = parent["ts"]

        def from_event(event: Json) -> Json | None:
            message = event.get("message", {})
            there = event["type"] in ("message", "message_changed") and event["channel"] == channel
            return message if there and message.get("thread_ts") == ts != message["ts"] else None

        return await self.first(
            lambda: self.replies(parent, channel=channel), from_event, match, timeout, f"in thread {ts}"
        )

    async def changed(
        self, message: Json, match: Match, *, channel: str = INCIDENTS, timeout: float = DEADLINE
    ) -> Json:
        """The message (parent or reply) once it has become one that matches."""

        async def now() -> list[Json]:
            if message.get("thread_ts") not in (None, message["ts"]):
                around = await self.replies({"ts": message["thread_ts"]}, channel=channel)
            else:
                around = await self.history(channel)
            return [m for m in around if m["ts"] == message["ts"]]

        def from_event(event: Json) -> Json | None:
            same = event.get("message", {}).get("ts") == message["ts"]
            return event["message"] if same and event["type"] == "message_changed" else None

        return await self.first(now, from_event, match, timeout, f"of message {message['ts']}")

    async def history(self, channel: str = INCIDENTS) -> list[Json]:
        """Top-level messages of `channel`, oldest first."""
        answer = await self.get("history", channel=channel, limit="10000")
        return list(answer["messages"])

    async def replies(self, parent: Json, *, channel: str = INCIDENTS) -> list[Json]:
        """The replies in the thread of `parent`, oldest first, without the parent."""
        answer = await self.get("replies", channel=channel, ts=parent["ts"])
        return list(answer["messages"][1:])

    async def download(self, file: Json, *, user: str = "U0ONCALL") -> bytes:
        """The bytes of an entry of a message's `files`."""
        address = f"{self.url}/files/" + file["url_private_download"].partition("/files/")[2]
        async with self._session.get(address, params={"user": user}) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def calls(self, method: str | None = None) -> list[Json]:
        """The app's Web API calls so far: {method, at, ok, error, arguments, ts}."""
        answer = await self.get("calls", **({"method": method} if method else {}))
        return list(answer["calls"])

    async def until_call(
        self, method: str, match: Callable[[Json], bool] = bool, *, timeout: float = DEADLINE
    ) -> Json:
        """The first call of `method` that matches, now or within `timeout` seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            for call in await self.calls(method):
                if match(call):
                    return call
            if asyncio.get_running_loop().time() > deadline:
                raise NotSeen(f"no such call of {method} within {timeout} s")
            await asyncio.sleep(0.02)

    async def until_connected(self, *, timeout: float = DEADLINE) -> None:
        """Until the app has an open socket (Socket Mode) or answers at its request URL."""
        deadline = asyncio.get_running_loop().time() + timeout
        while not (await self.get("state", probe="1"))["bot"]["connected"]:
            if asyncio.get_running_loop().time() > deadline:
                raise NotSeen(f"the app did not connect within {timeout} s")
            await asyncio.sleep(0.02)

    async def rate_limit(self, method: str, *, count: int = 1, retry_after: int = 1) -> None:
        """The next `count` calls of `method` get 429 with Retry-After."""
        await self.control(rate_limit={"method": method, "count": count, "retry_after": retry_after})

    async def fail(self, method: str, mode: str, **settings: Any) -> None:
        """The next calls of `method` fail as `mode` says (see `faults.Mode`); settings: count, delay, hold, error."""
        await self.control(fail={"method": method, "mode": mode, **settings})

    async def disconnect_sockets(self, *, abruptly: bool = False) -> None:
        """Ask all Socket Mode clients to reconnect, or cut them off."""
        await self.control(disconnect_sockets="abruptly" if abruptly else True)

    async def control(self, **settings: Any) -> Json:
        """/page/api/control: rate_limit, fail, disconnect_sockets, duplicate_events, lost_acks, channel_limit,
        real_limits, request_url, clear."""
        return await self.post("control", settings)

    async def get(self, path: str, **query: str) -> Json:
        """GET /page/api/{path}."""
        async with self._session.get(f"{self.url}/page/api/{path}", params=query) as answer:
            return _accepted(path, await answer.json())

    async def post(self, path: str, body: Json) -> Json:
        """POST /page/api/{path}. Raises Refused."""
        async with self._session.post(f"{self.url}/page/api/{path}", json=body) as answer:
            return _accepted(path, await answer.json())

    @contextmanager
    def events(self) -> Iterator[asyncio.Queue[Json]]:
        """All events of the workspace from now on, in order."""
        queue: asyncio.Queue[Json] = asyncio.Queue()
        self._queues.append(queue)
        try:
            yield queue
        finally:
            self._queues.remove(queue)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Follow the workspace's events until the block ends."""
        async with self._session.ws_connect(f"{self.url}/page/ws", params={"user": EVERYBODY}) as socket:
            pump = asyncio.create_task(self._pump(socket))
            try:
                yield
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)

    async def _pump(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                event = json.loads(message.data)
                for queue in self._queues:
                    queue.put_nowait(event)

    async def first(
        self,
        now: Callable[[], Awaitable[list[Json]]],
        from_event: Callable[[Json], Json | None],
        match: Match,
        timeout: float,
        where: str,
    ) -> Json:
        """The first thing that `now()` gives, or that `from_event` makes of a later event, and that matches."""
        seen: list[Json] = []
        with self.events() as queue:
            try:
                async with asyncio.timeout(timeout):
                    for thing in await now():
                        seen.append(thing)
                        if matches(thing, match):
                            return thing
                    while True:
                        candidate = from_event(await queue.get())
                        if candidate is not None:
                            seen.append(candidate)
                            if matches(candidate, match):
                                return candidate
            except TimeoutError:
                pass
        sought = repr(match) if isinstance(match, str) else "what the predicate wants"
        there = "\n---\n".join(visible_text(thing) for thing in seen[-5:]) or "nothing"
        raise NotSeen(f"{sought} did not appear {where} within {timeout} s; the last that did:\n{there}")


class Person:
    """Somebody at the page. Acts return when the app has acknowledged (or failed to)."""

    def __init__(self, workspace: WorkspaceClient, user: str) -> None:
        self.workspace = workspace
        self.id = user

    async def say(self, text: str, *, channel: str = INCIDENTS, thread: Json | None = None) -> Json:
        """Type `text`. Gives {message}, or for a slash command {acknowledged, error?}."""
        body: Json = {"user": self.id, "channel": channel, "text": text}
        if thread is not None:
            body["thread_ts"] = thread.get("thread_ts") or thread["ts"]
        return await self.workspace.post("message", body)

    async def command(self, text: str, *, channel: str = INCIDENTS) -> Json:
        """A slash command, `/panic list`: {acknowledged, error?}."""
        return await self.say(text, channel=channel)

    async def mention(self, text: str, *, channel: str = INCIDENTS, thread: Json | None = None) -> Json:
        """`@panicroom text`, in the channel or in the thread of a message."""
        return await self.say(f"<@{BOT}> {text}", channel=channel, thread=thread)

    async def click(
        self, thing: Json, name: str, *, channel: str = INCIDENTS, state: Json | None = None
    ) -> Json:
        """Press the button with that action id or label, in a message or a view."""
        block, button = element(thing, name)
        return await self._act(thing, block, button, {"value": button.get("value")}, channel, state)

    async def choose(
        self, thing: Json, name: str, choice: str | list[str] | None, *, channel: str = INCIDENTS
    ) -> Json:
        """Choose in the select, overflow menu, picker or boxes with that action id or label."""
        block, candidate = element(thing, name)
        return await self._act(thing, block, candidate, chosen(candidate, choice), channel, None)

    async def modal(self, match: Match = bool, *, timeout: float = DEADLINE) -> Json:
        """The modal that is open for this person, once it matches."""

        async def now() -> list[Json]:
            return list((await self.workspace.get("state", user=self.id))["modals"][-1:])

        return await self.workspace.first(now, self._view_event("modal"), match, timeout, "as a modal")

    async def home(self, match: Match = bool, *, timeout: float = DEADLINE) -> Json:
        """This person's App Home, once it matches."""

        async def now() -> list[Json]:
            view = (await self.workspace.get("state", user=self.id))["home"]
            return [] if view is None else [view]

        return await self.workspace.first(now, self._view_event("home"), match, timeout, "at home")

    async def ephemeral(
        self, match: Match = bool, *, channel: str = INCIDENTS, timeout: float = DEADLINE
    ) -> Json:
        """A message that only this person sees."""

        async def now() -> list[Json]:
            answer = await self.workspace.get("history", channel=channel, user=self.id)
            return list(answer["ephemerals"])

        def from_event(event: Json) -> Json | None:
            mine = event["type"] == "ephemeral" and event["user"] == self.id
            return event["message"] if mine and event["channel"] == channel else None

        return await self.workspace.first(now, from_event, match, timeout, f"to {self.id} in {channel}")

    async def submit(self, view: Json, values: Json | None = None) -> Json:
        """Submit a modal. `values` by action id, block id or label: text, an option's value or text, a list.

        Gives {} or {errors: {block_id: text}}. What is not named keeps its initial value.
        """
        state: Json = {}
        for name, value in (values or {}).items():
            block, candidate = element(view, name)
            entry = {"type": candidate["type"], **chosen(candidate, value)}
            state.setdefault(block["block_id"], {})[candidate["action_id"]] = entry
        body = {"user": self.id, "view_id": view["id"], "state": {"values": state}}
        answer = await self.workspace.post("view_submit", body)
        return {key: answer[key] for key in ("errors",) if answer.get(key)}

    async def close(self, view: Json) -> None:
        """Close a modal without submitting it."""
        await self.workspace.post("view_close", {"user": self.id, "view_id": view["id"]})

    async def open_home(self) -> None:
        """Open the App Home; then wait with `home`."""
        await self.workspace.post("home_open", {"user": self.id})

    async def shortcut(
        self, callback_id: str, message: Json | None = None, *, channel: str = INCIDENTS
    ) -> Json:
        """Use a message shortcut, or a global one when no message is given."""
        body: Json = {"user": self.id, "callback_id": callback_id}
        if message is not None:
            body.update(channel=channel, message_ts=message["ts"])
        return await self.workspace.post("shortcut", body)

    async def suggestions(
        self, thing: Json, name: str, value: str, *, channel: str = INCIDENTS
    ) -> list[Json]:
        """The options that the app offers in an external select for what was typed."""
        block, candidate = element(thing, name)
        body = {"action_id": candidate["action_id"], "block_id": block["block_id"], "value": value}
        answer = await self.workspace.post("suggestion", {**self._place(thing, channel), **body})
        return list(answer.get("options") or answer.get("option_groups") or [])

    async def _act(
        self, thing: Json, block: Json, used: Json, carried: Json, channel: str, state: Json | None
    ) -> Json:
        action = {
            "type": used["type"],
            "action_id": used["action_id"],
            "block_id": block["block_id"],
            **carried,
        }
        body: Json = {**self._place(thing, channel), "action": action}
        if state is not None:
            body["state"] = state
        return await self.workspace.post("action", body)

    def _place(self, thing: Json, channel: str) -> Json:
        if thing["type"] in ("modal", "home"):
            return {"user": self.id, "view_id": thing["id"]}
        return {"user": self.id, "channel": channel, "message_ts": thing["ts"]}

    def _view_event(self, kind: str) -> Callable[[Json], Json | None]:
        def from_event(event: Json) -> Json | None:
            return event["view"] if event["type"] == kind and event["user"] == self.id else None

        return from_event


def chosen(candidate: Json, value: Any) -> Json:
    """The state of an element after `value` was typed or chosen in it."""
    kind = str(candidate["type"]).removeprefix("multi_")
    many = str(candidate["type"]).startswith("multi_")
    if kind in ("static_select", "radio_buttons", "overflow", "checkboxes"):
        if many or kind == "checkboxes":
            return {"selected_options": [option(candidate, name) for name in value]}
        return {"selected_option": None if value is None else option(candidate, value)}
    if kind == "external_select":
        return {"selected_options" if many else "selected_option": value}
    for what in ("user", "channel", "conversation"):
        if kind == f"{what}s_select":
            return {f"selected_{what}s" if many else f"selected_{what}": value}
    pickers = {
        "datepicker": "selected_date",
        "timepicker": "selected_time",
        "datetimepicker": "selected_date_time",
    }
    return {pickers.get(kind, "value"): value}


def _accepted(path: str, answer: Json) -> Json:
    if not answer.get("ok"):
        raise Refused(path, answer)
    return answer


@asynccontextmanager
async def visiting(url: str) -> AsyncIterator[WorkspaceClient]:
    """A client of the workspace at `url`, until the block ends."""
    async with aiohttp.ClientSession() as session:
        client = WorkspaceClient(url, session)
        async with client.connected():
            yield client
