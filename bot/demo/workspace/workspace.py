"""The workspace: all that is kept, and what everything else stands on."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from bot.demo.workspace.blockkit import settled
from bot.demo.workspace.delivery import Delivery
from bot.demo.workspace.directory import SLACKBOT, TEAM_ID, Channel, Directory, demo_directory
from bot.demo.workspace.faults import Faults
from bot.demo.workspace.feed import Feed
from bot.demo.workspace.files import FileCabinet
from bot.demo.workspace.identity import Ids
from bot.demo.workspace.journal import Journal
from bot.demo.workspace.messages import MessageBook
from bot.demo.workspace.slackapp import SlackApp
from bot.demo.workspace.sockets import SocketHub
from bot.demo.workspace.tickets import Tickets
from bot.demo.workspace.views import ViewBook

log = structlog.get_logger(__name__)

Json = dict[str, Any]

#: Web API calls that are remembered, for tests and for the page.
CALLS_KEPT = 20_000


class Workspace:
    """One Slack workspace with one installed app.

    `data_dir` None keeps everything in memory. `request_url` makes the app an HTTP app; None means Socket
    Mode. `base_url` (scheme, host and port, no slash at the end) is taken from the first request when it is
    not given. `clock` gives unix seconds; `event_retry_delays` are the seconds before each retry of an event;
    every `probe_every` seconds somebody's page asks whether an HTTP app is still there.
    """

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        app: SlackApp | None = None,
        directory: Directory | None = None,
        request_url: str | None = None,
        base_url: str = "",
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
        event_retry_delays: tuple[float, ...] = (0.0, 60.0, 300.0),
        ack_timeout: float = 3.0,
        probe_every: float = 5.0,
    ) -> None:
        self.app = app or SlackApp()
        self.directory = directory or demo_directory(bot_user_id=self.app.bot_user_id, bot_name=self.app.name)
        self.base_url = base_url
        self._probe_every = probe_every
        self.clock = clock
        self.ids = Ids(clock, rng or random.SystemRandom())
        self.journal = Journal(None if data_dir is None else data_dir / "workspace.sqlite3")
        self.feed = Feed()
        self.faults = Faults(clock)
        self.messages = MessageBook(ids=self.ids, journal=self.journal, feed=self.feed)
        self.views = ViewBook(app=self.app, ids=self.ids, journal=self.journal, feed=self.feed)
        self.files = FileCabinet(
            None if data_dir is None else data_dir / "files",
            app=self.app,
            ids=self.ids,
            journal=self.journal,
        )
        self.tickets = Tickets(clock=clock, ids=self.ids, journal=self.journal)
        self.sockets = SocketHub(app=self.app, ids=self.ids, feed=self.feed)
        self.delivery = Delivery(
            app=self.app,
            clock=clock,
            faults=self.faults,
            feed=self.feed,
            ids=self.ids,
            sockets=self.sockets,
            request_url=request_url,
            retry_delays=event_retry_delays,
            ack_timeout=ack_timeout,
        )
        self.calls: deque[Json] = deque(maxlen=CALLS_KEPT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._load()

    @property
    def request_url(self) -> str | None:
        """Where the app wants its requests (HTTP mode), or None (Socket Mode). May be set at any time."""
        return self.delivery.request_url

    @request_url.setter
    def request_url(self, url: str | None) -> None:
        self.delivery.request_url = url

    def bot_message(
        self,
        *,
        text: str,
        blocks: list[Json] | None = None,
        attachments: list[Json] | None = None,
        metadata: Json | None = None,
    ) -> Json:
        """A message object by the app, without ts: for `messages.post` or `messages.whisper`."""
        message: Json = {
            "type": "message",
            "user": self.app.bot_user_id,
            "bot_id": self.app.bot_id,
            "app_id": self.app.app_id,
            "team": TEAM_ID,
            "text": text,
            "bot_profile": {
                "id": self.app.bot_id,
                "app_id": self.app.app_id,
                "name": self.app.name,
                "team_id": TEAM_ID,
                "deleted": False,
            },
        }
        if blocks:
            message["blocks"] = settled(blocks, self.ids)
        if attachments:
            message["attachments"] = self.settled_attachments(attachments)
        if metadata:
            message["metadata"] = metadata
        return message

    def settled_attachments(self, attachments: list[Json] | None) -> list[Json] | None:
        """Attachments as Slack keeps them: with their blocks settled."""
        if attachments is None:
            return None
        return [
            {**entry, "blocks": settled(entry["blocks"], self.ids)} if entry.get("blocks") else dict(entry)
            for entry in attachments
        ]

    def announce(self, channel: str, text: str, blocks: list[Json] | None = None) -> Json:
        """A message by Slackbot: the workspace itself speaks, the demo's guide for one."""
        message: Json = {
            "type": "message",
            "user": SLACKBOT,
            "username": "Slackbot",
            "team": TEAM_ID,
            "text": text,
        }
        if blocks:
            message["blocks"] = settled(blocks, self.ids)
        return self.messages.post(channel, message, thread_ts=None)

    def tell_hosts(self, hosts: list[Json]) -> None:
        """The replayed hosts changed: the page shows them anew."""
        self.feed.tell({"type": "hosts", "hosts": hosts})

    def permalink(self, channel: str, message: Json) -> str:
        """The message's address; the page opens it."""
        link = f"{self.base_url}/archives/{channel}/p{message['ts'].replace('.', '')}"
        thread_ts = message.get("thread_ts")
        if thread_ts and thread_ts != message["ts"]:
            link += f"?thread_ts={thread_ts}&cid={channel}"
        return link

    def join(self, channel: Channel, user: str) -> None:
        """Make `user` a member of `channel`."""
        if user not in channel.members:
            channel.members.add(user)
            self._keep_channel(channel)

    def archive(self, channel: Channel, archived: bool = True) -> None:
        channel.is_archived = archived
        self._keep_channel(channel)

    def add_channel(self, channel: Channel) -> None:
        """A new channel, kept over a restart."""
        self.directory.channels[channel.id] = channel
        self._keep_channel(channel)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the requests until it is done or the workspace closes."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def notice(self, text: str, *, user: str | None = None) -> None:
        """A line that the page shows for a moment."""
        self.feed.tell({"type": "notice", "text": text}, only=user)

    async def keep_probing(self) -> None:
        """Ask an HTTP app now and then whether it is there, while a page is open to show it."""
        while True:
            await asyncio.sleep(self._probe_every)
            if self.request_url is not None and self.feed.watched:
                await self.delivery.probe()

    async def close(self) -> None:
        """End what runs and write everything down."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.delivery.close()
        await self.sockets.close()
        await self.journal.close()

    def _reap(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("workspace_task_failed", error=repr(error))

    def _keep_channel(self, channel: Channel) -> None:
        self.journal.put("channel", channel.id, channel.model_dump(mode="json"))

    def _load(self) -> None:
        for _, document in self.journal.load("channel"):
            channel = Channel.model_validate(document)
            self.directory.channels[channel.id] = channel
        self.messages.load()
        self.views.load()
        self.files.load()
        self.tickets.load()
