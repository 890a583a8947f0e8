"""A bad kernel reaches a ring: 2,000 hosts panic within 60 s, and Slack keeps to its published limits.

`python -m tests.bench.storm [--hosts N] [--seconds S] [--database sqlite|postgresql] [--kill] [--text BYTES]`.
The bot is `panicroom run`, its Slack the stand-in with the real limits enforced (one message a second a channel, each
method's tier). `--kill` ends the bot with kill -9 in the middle and starts it again; hosts send again what was not
answered, as their spool does. Prints; asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from sqlalchemy import create_engine, text

from bot.demo.hosts import captures
from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from integrations.inbound import signed_headers
from tests.bench._bot import BotProcess, database
from tests.bench._figures import percentile
from tests.bench._process import REPORT_SECRET

_INVENTORY = """
[[hosts]]
name = "storm-0*"
ring = "canary"
hardware = "R640"
[[hosts]]
name = "storm-1*"
ring = "prod-1"
hardware = "R640"
[[hosts]]
name = "storm-*"
ring = "prod-2"
hardware = "R750"
"""


class Fleet:
    """Hosts that report at their moment, and again until they are answered."""

    def __init__(self, address: str, words: str) -> None:
        self.address = address
        self.words = words
        self.seconds: list[float] = []
        self.again = 0
        self.last_answered = 0.0

    async def report(self, http: aiohttp.ClientSession, number: int, at: float) -> None:
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        host = f"storm-{number % 10}{number:05}"
        body = json.dumps(
            {
                "id": f"{host}-boot", "host": host, "occurred_at": datetime.now(UTC).isoformat(),
                "text": self.words.replace("@TIME@", f"{1000 + number * 1.25:.2f}"),
            }
        ).encode()  # fmt: skip
        while True:
            began = time.monotonic()
            headers = signed_headers(REPORT_SECRET, int(time.time()), body)
            try:
                async with http.post(f"{self.address}/v1/panics", data=body, headers=headers) as answer:
                    if answer.status in (200, 202):
                        self.last_answered = time.monotonic()
                        self.seconds.append(self.last_answered - began)
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            self.again += 1
            await asyncio.sleep(0.5)


async def storm(kind: str, hosts: int, seconds: float, kill: bool, size: int) -> None:
    words = next(iter(captures.load("null-deref").crash_files.values()))
    padding = "".join(f"[    1.{n:06}] filler: driver initialised\n" for n in range(size // 42))
    scratch = tempfile.TemporaryDirectory(prefix="panicroom-storm-", ignore_cleanup_errors=True)
    with scratch as name, database(kind, Path(name)) as url:
        async with running_workspace() as slack:
            slack.workspace.faults.enforce_limits(True)
            bot = BotProcess(Path(name), url, slack, extra=_INVENTORY)
            await bot.start()
            try:
                await _one(bot, slack, url, Fleet(bot.address, padding + words), hosts, seconds, kill)
            finally:
                await bot.stop()


async def _one(
    bot: BotProcess, slack: RunningWorkspace, url: str, fleet: Fleet, hosts: int, seconds: float, kill: bool
) -> None:
    slack.workspace.calls.clear()
    bot.look()
    idle = bot.peak_mib
    began, began_wall = time.monotonic() + 0.5, time.time() + 0.5
    connector = aiohttp.TCPConnector(limit=200)
    async with aiohttp.ClientSession(connector=connector) as http:
        sending = [
            asyncio.create_task(fleet.report(http, n, began + n * seconds / hosts)) for n in range(hosts)
        ]
        watching = asyncio.create_task(_watch(bot))
        if kill:
            await asyncio.sleep(seconds / 2)
            await bot.kill()
            fallen = time.monotonic()
            await bot.start()
            print(f"  kill -9 after {seconds / 2:.0f} s; ready again after {time.monotonic() - fallen:.1f} s")
        await asyncio.gather(*sending)
        last = fleet.last_answered
        counted = await _until_counted(slack, hosts, 120)
        watching.cancel()
    calls = [call for call in slack.workspace.calls if call["method"] != "auth.test"]
    posts = [c for c in calls if c["method"] == "chat.postMessage" and c["ok"]]
    first = min((c["at"] for c in posts if not c["arguments"].get("thread_ts")), default=0) - began_wall
    early = Counter(c["method"] for c in calls if c["at"] - began_wall <= 10)
    parents = [c for c in posts if not c["arguments"].get("thread_ts")]
    print(f"  first thread                 {first:6.2f} s after the first report (aim 2)")
    print(f"  Slack calls in the first 10 s {sum(early.values()):5}   (aim 10)  {dict(early)}")
    late = "never within 120 s" if counted is None else f"{counted - last:6.2f} s"
    print(f"  all {hosts} in the count      {late} after the last report was answered (aim 5)")
    print(f"  peak memory                  {bot.peak_mib:6.0f} MiB (aim 300), {idle:.0f} before the storm")
    print(f"  accept                       p50 {percentile(fleet.seconds, 50) * 1e3:.1f} ms, "
          f"p99 {percentile(fleet.seconds, 99) * 1e3:.1f} ms; {fleet.again} sent again")  # fmt: skip
    refused = Counter(c["method"] for c in calls if c["error"] == "ratelimited")
    print(f"  Slack calls in all           {len(calls):6}   {dict(Counter(c['method'] for c in calls))}; "
          f"429: {dict(refused) or 'none'}")  # fmt: skip
    print(f"  threads                      {len(parents):6}   (aim 1)")
    engine = create_engine(url)
    with engine.connect() as connection:
        known = connection.execute(text("SELECT count(*), count(DISTINCT host) FROM panic")).one()
        left = connection.execute(text("SELECT count(*) FROM report WHERE state != 'done'")).scalar_one()
    engine.dispose()
    print(
        f"  nothing lost                 {known[0]} panics of {known[1]} hosts, {left} reports unread",
        flush=True,
    )


async def _until_counted(slack: RunningWorkspace, hosts: int, seconds: float) -> float | None:
    """When the head of the thread says all of them."""
    wanted = f"{hosts:,} hosts panicked"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        log = slack.workspace.messages.log("C0INCIDENTS")
        if any(wanted in log.messages[ts]["text"] for ts in log.top):
            return time.monotonic()
        await asyncio.sleep(0.05)
    return None


async def _watch(bot: BotProcess) -> None:
    while True:
        with contextlib.suppress(FileNotFoundError):  # killed between two looks
            bot.look()
        await asyncio.sleep(0.5)


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--hosts", type=int, default=2000)
    reader.add_argument("--seconds", type=float, default=60)
    reader.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    reader.add_argument("--kill", action="store_true")
    reader.add_argument("--text", type=int, default=20_000, help="bytes of dmesg before the crash")
    asked = reader.parse_args()
    ending = ", kill -9 in the middle" if asked.kill else ""
    print(f"{asked.hosts} hosts in {asked.seconds:.0f} s, {asked.database}{ending}", flush=True)
    asyncio.run(storm(asked.database, asked.hosts, asked.seconds, asked.kill, asked.text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
