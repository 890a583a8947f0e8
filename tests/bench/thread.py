"""From a host's notification to the parent message that people see.

`python -m tests.bench thread`: reports of different crashes, one after the other on an idle machine, posted with a
signature to the bot's own process; the clock stops when the stand-in's feed shows the parent. The whole path is
durable: report, panic, outbox and the claim of the post are each committed with synchronous=FULL.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from bot.demo.hosts import captures
from bot.demo.workspace.testing import running_workspace
from integrations.inbound import signed_headers
from tests.bench._figures import percentile
from tests.bench._process import REPORT_SECRET, bot_process

COUNT = 60


async def main() -> None:
    text = next(iter(captures.load("null-deref").crash_files.values()))
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        async with (
            running_workspace() as slack,
            bot_process(Path(folder), slack) as bot_url,
            aiohttp.ClientSession() as http,
        ):
            for number in range(COUNT):
                taken.append(await _one(http, bot_url, slack, text, number))
                await asyncio.sleep(
                    1.1
                )  # Slack takes one message a second a channel, and so does the printer
    p50, p99 = percentile(taken, 50), percentile(taken, 99)
    print(f"notification -> parent message visible: n={COUNT} p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms")


async def _one(http: aiohttp.ClientSession, bot_url: str, slack: object, text: str, number: int) -> float:
    host = f"bench-{number}"
    # Another function each time: another signature, so another thread.
    body = json.dumps(
        {"id": host, "host": host, "text": text.replace("labcrash_read_cookie", f"bench_fn_{number}x")}
    )
    headers = {
        "Content-Type": "application/json",
        **signed_headers(REPORT_SECRET, int(time.time()), body.encode()),
    }
    seen = asyncio.create_task(slack.message(f"{host} panicked", channel="C0INCIDENTS", timeout=30))  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    began = time.perf_counter()
    async with http.post(f"{bot_url}/v1/panics", data=body, headers=headers) as answer:
        if answer.status != 202:
            raise SystemExit(f"{answer.status}: {await answer.text()}")
    await seen
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
