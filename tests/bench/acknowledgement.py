"""How fast Slack's requests are acknowledged, against a bare aiohttp handler that only checks the signature.

`python -m tests.bench acknowledgement`: three servers as processes of their own in one run, the same 2,000 signed
slash commands to each, serially and at concurrency 20, in rounds that take turns.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from slack_sdk.signature import SignatureVerifier

from bot.demo.workspace.testing import running_workspace
from tests.bench._figures import percentile
from tests.bench._process import bot_process, free_port, python_process

REQUESTS = 2000
ROUNDS = 4
SECRET = "demo-signing-secret"
_numbers = itertools.count()


def bare(port: int) -> None:
    """The yardstick: read, check the signature, answer 200."""
    verifier = SignatureVerifier(SECRET)

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        timestamp, signature = (
            request.headers["X-Slack-Request-Timestamp"],
            request.headers["X-Slack-Signature"],
        )
        return web.Response(status=200 if verifier.is_valid(body, timestamp, signature) else 401)

    app = web.Application()
    app.router.add_post("/slack/events", handle)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=lambda _text: None)


def signed(text: str, response_url: str) -> tuple[bytes, dict[str, str]]:
    number = next(_numbers)
    body = urlencode(
        {
            "command": "/panic",
            "text": text,
            "user_id": "U0ONCALL",
            "channel_id": "C0INCIDENTS",
            "team_id": "T0PANICROOM",
            "response_url": response_url,
            "trigger_id": f"{os.getpid()}.{number}",
            "api_app_id": "A0PANICROOM",
        }
    )
    timestamp = str(int(time.time()))
    signature = SignatureVerifier(SECRET).generate_signature(timestamp=timestamp, body=body)
    return body.encode(), {
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": str(signature),
        "Content-Type": "application/x-www-form-urlencoded",
    }


async def load(
    http: aiohttp.ClientSession, url: str, text: str | None, sink: str, count: int, concurrency: int
) -> list[float]:
    """Seconds from the first byte sent to the status read, one figure a request."""
    prepared = [signed(text or "help", sink) for _ in range(count)]
    taken: list[float] = []
    todo = iter(prepared)

    async def client() -> None:
        for body, headers in todo:
            began = time.perf_counter()
            async with http.post(url, data=body, headers=headers) as answer:
                await answer.read()
                if answer.status != 200:
                    raise SystemExit(f"{url} answered {answer.status}")
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return taken


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running_workspace() as slack, _Sink() as sink:
            bare_port = free_port()
            async with (
                python_process(
                    "-c", f"from tests.bench.acknowledgement import bare; bare({bare_port})", port=bare_port
                ),
                bot_process(Path(folder), slack) as bot_url,
            ):
                targets = {
                    "bare handler": (f"http://127.0.0.1:{bare_port}/slack/events", None),
                    "nothing to store (/panic help)": (f"{bot_url}/slack/events", "help"),
                    "committed first (/panic note)": (f"{bot_url}/slack/events", "note P-999 bench"),
                }
                for label, concurrency in (("serially", 1), ("concurrency 20", 20)):
                    await _compare(targets, sink, label, concurrency)


async def _compare(
    targets: dict[str, tuple[str, str | None]], sink: _Sink, label: str, concurrency: int
) -> None:
    figures: dict[str, list[float]] = {name: [] for name in targets}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        for _ in range(ROUNDS):
            for name, (url, text) in targets.items():
                figures[name] += await load(http, url, text, sink.url, REQUESTS // ROUNDS, concurrency)
                if text is not None:
                    await sink.until_answered(REQUESTS // ROUNDS)
    base = percentile(figures["bare handler"], 50)
    for name, taken in figures.items():
        p50, p99 = percentile(taken, 50), percentile(taken, 99)
        print(
            f"{label:15} {name:34} n={len(taken)} p50 {p50 * 1e3:7.2f} ms  p99 {p99 * 1e3:7.2f} ms  "
            f"p50 / bare p50 = {p50 / base:.2f}"
        )


class _Sink:
    """Takes the answers to response_urls, in this process, so that the bot does its work to the end."""

    async def __aenter__(self) -> _Sink:
        self.answers = 0
        self.expected = 0
        app = web.Application()
        app.router.add_post("/answer", self._take)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/answer"
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.runner.cleanup()

    async def until_answered(self, more: int) -> None:
        """Until the bot has worked off what it acknowledged: nothing is measured beside its backlog."""
        self.expected += more
        async with asyncio.timeout(120):
            while self.answers < self.expected:
                await asyncio.sleep(0.05)

    async def _take(self, request: web.Request) -> web.Response:
        json.loads(await request.read())
        self.answers += 1
        return web.Response(text="ok")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
