"""From the workspace to the app: commands, interactions and events, over HTTP or Socket Mode."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import structlog

from bot.demo.workspace.directory import TEAM_ID
from bot.demo.workspace.faults import Faults
from bot.demo.workspace.feed import Feed
from bot.demo.workspace.identity import Ids
from bot.demo.workspace.slackapp import SlackApp
from bot.demo.workspace.sockets import SocketGone, SocketHub

log = structlog.get_logger(__name__)

Json = dict[str, Any]

#: How subscriptions name a message event, by its `channel_type`.
_MESSAGE_EVENTS = {"channel": "channels", "group": "groups", "im": "im"}


@dataclass(frozen=True)
class Ack:
    """The app's answer. `error` None: acknowledged, with `body` (JSON, or {"text": …} for plain text).

    Errors: not_connected, http_timeout, connection_failed, http_error, socket_closed.
    """

    body: Json
    error: str | None = None
    no_retry: bool = False

    @property
    def ok(self) -> bool:
        return self.error is None


def signature(secret: str, timestamp: str, body: str) -> str:
    """Slack's request signature, version v0."""
    digest = hmac.new(secret.encode(), f"v0:{timestamp}:{body}".encode(), hashlib.sha256)
    return "v0=" + digest.hexdigest()


class Delivery:
    """Delivers to `request_url` when it is set, else over the open sockets."""

    def __init__(
        self,
        *,
        app: SlackApp,
        clock: Callable[[], float],
        faults: Faults,
        feed: Feed,
        ids: Ids,
        sockets: SocketHub,
        request_url: str | None,
        retry_delays: tuple[float, ...],
        ack_timeout: float,
    ) -> None:
        self.request_url = request_url
        self.ack_timeout = ack_timeout
        self._app = app
        self._clock = clock
        self._faults = faults
        self._feed = feed
        self._ids = ids
        self._sockets = sockets
        self._retry_delays = retry_delays
        self._session: aiohttp.ClientSession | None = None
        self._reachable = False

    @property
    def connected(self) -> bool:
        """Whether the app is there: a socket is open, or the request URL answered last time."""
        return self._reachable if self.request_url is not None else self._sockets.connected > 0

    async def command(self, payload: dict[str, str]) -> Ack:
        """A slash command, delivered once."""
        if self.request_url is not None:
            return await self._post(urlencode(payload), "application/x-www-form-urlencoded")
        return await self._send("slash_commands", payload, accepts_response=True)

    async def interaction(self, payload: Json) -> Ack:
        """A click, a submission, a shortcut or a menu's question, delivered once."""
        if self.request_url is not None:
            body = urlencode({"payload": json.dumps(payload)})
            return await self._post(body, "application/x-www-form-urlencoded")
        return await self._send("interactive", payload, accepts_response=True)

    async def event(self, event: Json) -> None:
        """An event, if the app subscribes to it: delivered until acknowledged, with Slack's retries."""
        if not self._subscribed(event):
            return
        payload = self._envelope(event)
        copies = 2 if self._faults.take_duplicate() else 1
        acks = await asyncio.gather(*(self._event_once(payload, 0, "") for _ in range(copies)))
        ack = acks[0]
        for attempt, delay in enumerate(self._retry_delays, start=1):
            if ack.ok or ack.no_retry:
                return
            await asyncio.sleep(delay)
            ack = await self._event_once(payload, attempt, ack.error or "unknown_error")
        if not ack.ok:
            log.warning("workspace_event_lost", event=event["type"], error=ack.error)

    async def probe(self) -> None:
        """Ask the request URL whether it is there (`url_verification`); the page shows the answer."""
        if self.request_url is None:
            return
        challenge = self._ids.token()
        body = json.dumps({"token": "", "challenge": challenge, "type": "url_verification"})
        await self._post(body, "application/json")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _subscribed(self, event: Json) -> bool:
        kind: str = event["type"]
        if kind == "message":
            kind = f"message.{_MESSAGE_EVENTS[event['channel_type']]}"
        return kind in self._app.events

    async def _event_once(self, payload: Json, attempt: int, reason: str) -> Ack:
        if self.request_url is not None:
            headers = {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": reason} if attempt else {}
            ack = await self._post(json.dumps(payload), "application/json", headers)
        else:
            retry: Json = {"retry_attempt": attempt, "retry_reason": reason}
            ack = await self._send("events_api", payload, accepts_response=False, retry=retry)
        if ack.ok and self._faults.take_lost_ack():
            return Ack({}, "http_timeout")
        return ack

    async def _send(
        self, kind: str, payload: Json, *, accepts_response: bool, retry: Json | None = None
    ) -> Ack:
        socket = self._sockets.choose()
        if socket is None:
            return Ack({}, "not_connected")
        try:
            body = await self._sockets.send(
                socket,
                kind,
                payload,
                accepts_response=accepts_response,
                retry=retry,
                timeout=self.ack_timeout,
            )
        except TimeoutError:
            return Ack({}, "http_timeout")
        except SocketGone:
            return Ack({}, "socket_closed")
        return Ack(body)

    async def _post(self, body: str, content_type: str, headers: dict[str, str] | None = None) -> Ack:
        if self.request_url is None:
            return Ack({}, "not_connected")
        if self._session is None:
            self._session = aiohttp.ClientSession()
        timestamp = str(int(self._clock()))
        sent = {
            "Content-Type": content_type,
            "User-Agent": "Slackbot 1.0",
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": signature(self._app.signing_secret, timestamp, body),
            **(headers or {}),
        }
        ack = await self._exchange(self._session, self.request_url, body, sent)
        self._note_reachable(ack.error not in ("connection_failed", "http_timeout"))
        return ack

    async def _exchange(
        self, session: aiohttp.ClientSession, url: str, body: str, headers: dict[str, str]
    ) -> Ack:
        timeout = aiohttp.ClientTimeout(total=self.ack_timeout)
        try:
            async with session.post(
                url, data=body.encode(), headers=headers, allow_redirects=False, timeout=timeout
            ) as answer:
                text = await answer.text()
                no_retry = answer.headers.get("X-Slack-No-Retry") == "1"
                if answer.status != 200:
                    log.warning("workspace_app_refused", status=answer.status, body=text[:500])
                    return Ack({}, "http_error", no_retry)
                if not text.strip():
                    return Ack({})
                if answer.content_type == "application/json":
                    document = json.loads(text)
                    return Ack(document if isinstance(document, dict) else {})
                return Ack({"text": text})
        except TimeoutError:
            return Ack({}, "http_timeout")
        except (aiohttp.ClientError, json.JSONDecodeError) as error:
            log.info("workspace_app_unreachable", error=str(error))
            return Ack({}, "connection_failed")

    def _note_reachable(self, reachable: bool) -> None:
        if reachable != self._reachable:
            self._reachable = reachable
            self._feed.tell({"type": "bot", "connected": reachable})

    def _envelope(self, event: Json) -> Json:
        return {
            "token": "verification-token",
            "team_id": TEAM_ID,
            "context_team_id": TEAM_ID,
            "context_enterprise_id": None,
            "api_app_id": self._app.app_id,
            "event": event,
            "type": "event_callback",
            "event_id": self._ids.id("Ev"),
            "event_time": int(self._clock()),
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": TEAM_ID,
                    "user_id": self._app.bot_user_id,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
            "is_ext_shared_channel": False,
            "event_context": "4-" + self._ids.token(40),
        }
