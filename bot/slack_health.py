"""Whether Slack knows the bot: asked at the start, then each minute, or every few seconds while it does not."""

from __future__ import annotations

import asyncio

import structlog

from bot.slack_socket import SocketDoor
from integrations.slack.client import SlackClient
from integrations.slack.errors import SlackError

log = structlog.get_logger(__name__)


class SlackHealth:
    """`greet()` once before the start ends, then `run()`."""

    def __init__(self, slack: SlackClient, socket: SocketDoor | None) -> None:
        self.slack = slack
        self.socket = socket
        self._problem: str | None = "not asked yet"

    async def greet(self) -> None:
        """auth.test: the bot's own user id. Slack being down is no reason not to take reports."""
        try:
            await self.slack.who_am_i()
            self._problem = None
        except SlackError as error:
            if str(error) != self._problem:  # asked every few seconds, told when it changes
                log.error("slack.not_ready", error=str(error))
            self._problem = str(error)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(5.0 if self._problem else 60.0)
            await self.greet()

    async def check(self) -> str | None:
        if self._problem is None and self.socket is not None:
            return await self.socket.problem()
        return self._problem
