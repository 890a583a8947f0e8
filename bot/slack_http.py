"""POST /slack/events: all of Slack's HTTP traffic, verified and handed to the front desk."""

from __future__ import annotations

import time

import structlog
from aiohttp import web
from slack_sdk.signature import SignatureVerifier

from bot.http import Problem, read_bounded
from bot.metrics import Metrics
from bot.slack_front import FrontDesk
from bot.slack_payloads import BadPayload, from_http

log = structlog.get_logger(__name__)

BODY_LIMIT = 1024 * 1024  # bytes; Slack's largest payloads are far below it, whatever reports may be


class SlackRoute:
    """Answers 401 to a wrong or stale signature (Slack's v0 scheme, five minutes), 400 to what is no payload.

    `server.body_limit` is for reports alone and does not count here.
    """

    def __init__(self, front: FrontDesk, verifier: SignatureVerifier, metrics: Metrics) -> None:
        self.front = front
        self.verifier = verifier
        self.metrics = metrics

    async def handle(self, request: web.Request) -> web.Response:
        began = time.perf_counter()
        try:
            body = await read_bounded(request, BODY_LIMIT)
        except Problem as problem:
            log.warning("slack.not_read", code=problem.code, peer=request.remote)
            response = problem.response()
            response.force_close()
            return response
        timestamp = request.headers.get("X-Slack-Request-Timestamp", "")
        signature = request.headers.get("X-Slack-Signature", "")
        if not self._is_valid(body, timestamp, signature):
            log.warning("slack.bad_signature", peer=request.remote)
            return web.json_response(
                {
                    "error": "bad_signature",
                    "message": "Check [slack] signing_secret and this machine's clock.",
                },
                status=401,
            )
        try:
            payload = from_http(body.decode("utf-8", "replace"), request.content_type)
            answer = await self.front.accept(payload)
        except BadPayload as error:
            return web.json_response({"error": "bad_payload", "message": str(error)[:200]}, status=400)
        self.metrics.slack_ack_seconds.observe(time.perf_counter() - began)
        if answer.body is None:
            return web.Response(status=answer.status)
        return web.json_response(answer.body, status=answer.status)

    def _is_valid(self, body: bytes, timestamp: str, signature: str) -> bool:
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12 and signature.isascii()):
            return False
        return bool(self.verifier.is_valid(body, timestamp, signature))
