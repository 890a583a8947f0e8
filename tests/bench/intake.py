"""How many reports a second are taken in for good, and how long a host waits for its answer.

`python -m tests.bench.intake [--reports N] [--rate R] [--seconds S] [--database sqlite|postgresql] [--text BYTES]`.
The bot is `panicroom run`; a report counts when it was answered 2xx, which the bot does after the commit. First a burst
of N from two processes, then R a second for S seconds. The senders share the machine's cores with the bot, and what
they cost is printed. Prints; asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from bot.demo.workspace.testing import running_workspace
from tests.bench._bot import BotProcess, database
from tests.bench._figures import percentile

_SENDERS = 2


async def send(port: int, count: int, rate: int, first: int, size: int, connections: int) -> dict[str, Any]:
    """From `_SENDERS` processes at once; what they say, taken together."""
    each = count // _SENDERS
    senders = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench._sender", str(port), str(each), str(rate // _SENDERS),
            str(connections), str(first + number * each), str(size),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
        )
        for number in range(_SENDERS)
    ]  # fmt: skip
    for sender in senders:
        assert sender.stdout is not None
        bytes_each = int(await sender.stdout.readline())
    told = [json.loads(out) for out, _ in await asyncio.gather(*(s.communicate(b"\n") for s in senders))]
    statuses: Counter[str] = Counter()
    for one in told:
        statuses.update(one["statuses"])
    return {
        "bytes": bytes_each,
        "span": max(one["ended"] for one in told) - min(one["began"] for one in told),
        "seconds": [second for one in told for second in one["seconds"]],
        "busy": sum(one["busy"] for one in told),
        "statuses": dict(statuses),
    }


async def measure(kind: str, reports: int, rate: int, seconds: int, size: int) -> None:
    scratch = tempfile.TemporaryDirectory(prefix="panicroom-intake-", ignore_cleanup_errors=True)
    with scratch as name, database(kind, Path(name)) as url:
        async with running_workspace() as slack:
            slack.workspace.faults.enforce_limits(True)
            bot = BotProcess(Path(name), url, slack)
            await bot.start()
            try:
                before = bot.cpu_seconds()
                burst = await send(bot.port, reports, 0, 0, size, 64)
                print(f"  burst of {reports:,}, {burst['bytes']:,} bytes each, 128 connections")
                print(f"    accepted   {reports / burst['span']:6.0f} a second (aim 2,000)")
                _print(burst, bot.cpu_seconds() - before)
                await _until_read(url, 0.2)
                before = bot.cpu_seconds()
                steady = await send(bot.port, rate * seconds, rate, 500_000, size, 32)
                print(f"  {rate} a second for {seconds} s, while what came is read and told of")
                print(f"    accepted   {rate * seconds / steady['span']:6.0f} a second")
                _print(steady, bot.cpu_seconds() - before)
                _check(url, reports + rate * seconds)
                bot.look()
                print(f"  peak memory  {bot.peak_mib:6.0f} MiB", flush=True)
            finally:
                await bot.stop()


def _print(found: dict[str, Any], bot_busy: float) -> None:
    p50, p99, most = (percentile(found["seconds"], p) * 1e3 for p in (50, 99, 100))
    print(f"    answered   p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {most:.1f} ms; {found['statuses']}")
    print(
        f"    processor  bot {bot_busy:.1f} s, senders {found['busy']:.1f} s, of {2 * found['span']:.1f} s",
        flush=True,
    )


async def _until_read(url: str, share: float) -> None:
    """The rest of a burst would be what is measured next: until `share` of it at most is unread, a minute at most."""
    engine = create_engine(url)
    query = text("SELECT count(*) FILTER (WHERE state = 'new') * 1.0 / count(*) FROM report")
    began = time.monotonic()
    while time.monotonic() - began < 120:
        with engine.connect() as connection:
            if float(connection.execute(query).scalar_one()) <= share:
                break
        await asyncio.sleep(0.5)
    print(f"    all but {share:.0%} read {time.monotonic() - began:.1f} s after the last answer", flush=True)
    engine.dispose()


def _check(url: str, wanted: int) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT count(*) FROM report")).scalar_one()
    engine.dispose()
    print(f"  stored       {stored:,} of {wanted:,}")


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--reports", type=int, default=10_000)
    reader.add_argument("--rate", type=int, default=500)
    reader.add_argument("--seconds", type=int, default=20)
    reader.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    reader.add_argument("--text", type=int, default=0, help="bytes of dmesg; default: the crash's own lines")
    asked = reader.parse_args()
    print(asked.database, flush=True)
    asyncio.run(measure(asked.database, asked.reports, asked.rate, asked.seconds, asked.text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
