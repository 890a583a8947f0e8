"""Socket Mode: the same front desk, behind a websocket that the bot opens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from bot.slack_front import Answer, FrontDesk
from bot.slack_payloads import BadPayload
from integrations.slack.client import SlackConfig

log = structlog.get_logger(__name__)


class SocketDoor:
    """slack_sdk's client keeps the connection; each envelope is acknowledged after it was stored."""

    def __init__(self, front: FrontDesk, config: SlackConfig) -> None:
        self.front = front
        self.on_acknowledged: Callable[[float], None] = lambda _seconds: None
        url = config.api_url if config.api_url.endswith("/") else config.api_url + "/"
        token = config.app_token.get_secret_value()
        self.client = SocketModeClient(
            app_token=token,
            web_client=AsyncWebClient(token=token, base_url=url, timeout=10),
            auto_reconnect_enabled=True,
        )
        self.client.socket_mode_request_listeners.append(self._on_request)

    async def start(self) -> None:
        """Slack being down is no reason not to start: `connect` goes on trying by itself, every few seconds."""
        self._connecting = asyncio.create_task(self.client.connect(), name="socket-mode-connect")  # type: ignore[no-untyped-call]

    async def stop(self) -> None:
        self._connecting.cancel()
        await asyncio.gather(self._connecting, return_exceptions=True)
        await self.client.close()  # type: ignore[no-untyped-call]

    async def problem(self) -> str | None:
        """Why nothing can come in, or None while the connection is open."""
        if await self.client.is_connected():
            return None
        return "the Socket Mode connection is not open: check [slack] app_token, and whether Slack can be reached"

    async def _on_request(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        began = time.perf_counter()
        if not isinstance(request.payload, dict):
            log.warning("slack.socket_odd_payload", type=request.type)
            return
        try:
            answer = await self.front.accept(request.payload)
        except BadPayload as error:
            log.warning("slack.socket_bad_payload", type=request.type, error=str(error))
            answer = Answer()  # it would not be better the next time
        if answer.status >= 500:
            return  # not acknowledged: Slack delivers it again
        await client.send_socket_mode_response(
            SocketModeResponse(envelope_id=request.envelope_id, payload=answer.body)
        )
        self.on_acknowledged(time.perf_counter() - began)
