"""Lines of dying kernels: how many a second the bot takes without losing one, and how soon a panic line is a thread.

`python -m tests.bench netconsole`: the bot's own process; a thousand senders with addresses of their own
(127.1.x.y) speak to it over loopback from a second process. First at a steady pace that is raised until a datagram is
lost (by the socket, a limit, or a number missing in the stream); what is told is the fastest pace without loss. Then
one panic after the other on the idle bot: the clock runs from the panic line's sendto to the parent message in the
stand-in's feed.
"""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from tests.bench._figures import percentile
from tests.bench._process import bot_process, free_port
from tests.incident.texts import oops

SENDERS = 1000
SECONDS = 4.0
PACES = (5_000, 10_000, 15_000, 20_000, 30_000, 40_000, 50_000, 60_000, 80_000, 100_000, 120_000)
PANICS = 60
_SLICE = 0.005


def address(number: int) -> str:
    return f"127.1.{number // 250}.{number % 250 + 1}"


def socket_of(number: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address(number), 0))
    return made


# -- the senders' process -------------------------------------------------------------------------------------


def blast(port: int, pace: int, seq: int) -> None:
    """Sends for SECONDS, round robin; prints how many, and the seconds it took."""
    sockets = [socket_of(number) for number in range(SENDERS)]
    target = ("127.0.0.1", port)
    total = int(pace * SECONDS)
    began = time.perf_counter()
    sent = 0
    while sent < total:
        due = min(total, int((time.perf_counter() - began) * pace) + 1)
        while sent < due:
            round_, number = divmod(sent, SENDERS)
            usec = 1_000_000_000 + (seq + round_) * 1000
            line = f"6,{seq + round_},{usec},-;nvme nvme0: I/O {sent} QID 5 timeout, completion polled\n"
            sockets[number].sendto(line.encode(), target)
            sent += 1
        time.sleep(_SLICE)
    print(sent, time.perf_counter() - began)


# -- the bot ----------------------------------------------------------------------------------------------------


async def figures(http: aiohttp.ClientSession, bot: str) -> dict[str, float]:
    async with http.get(f"{bot}/metrics") as answer:
        text = await answer.text()
    found = re.findall(r'^panicroom_netconsole_(\w+?)_total\{\w+="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {f"{kind}.{label}": float(value) for kind, label, value in found}


async def settled(http: aiohttp.ClientSession, bot: str) -> dict[str, float]:
    """The figures once they stand still; gaps settle after two seconds, counters are shown once a second."""
    before: dict[str, float] = {}
    still = 0
    while still < 4:
        await asyncio.sleep(1.0)
        now = await figures(http, bot)
        still = still + 1 if now == before else 0
        before = now
    return before


async def pace_without_loss(http: aiohttp.ClientSession, bot: str, port: int) -> None:
    best = 0.0
    seq = 1
    for pace in PACES:
        before = await figures(http, bot)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.netconsole", "blast", str(port), str(pace), str(seq),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        told, _ = await process.communicate()
        sent, seconds = float(told.split()[0]), float(told.split()[1])
        seq += int(sent) // SENDERS
        after = await settled(http, bot)
        new = {name: after[name] - before.get(name, 0.0) for name in after}
        taken = new.get("datagrams.taken", 0.0)
        lost = sent - taken
        reached = sent / seconds
        print(
            f"  {SENDERS} senders, {reached:9,.0f} datagrams/s for {seconds:.1f} s: {taken:,.0f} of {sent:,.0f} taken, "
            f"lost {lost:,.0f} (socket {new.get('lost.kernel', 0):,.0f}, by numbers {new.get('lost.network', 0):,.0f}, "
            f"limits {new.get('datagrams.limited', 0) + new.get('datagrams.refused', 0):,.0f})",
            flush=True,
        )
        if lost or new.get("lost.network"):
            break
        best = max(best, reached)
        if reached < pace * 0.9:
            print("  the senders cannot send faster on this machine")
            break
    print(f"sustained without loss: {best:,.0f} datagrams/s from {SENDERS} senders")


async def panic_to_thread(slack: RunningWorkspace, port: int) -> None:
    taken: list[float] = []
    target = ("127.0.0.1", port)
    for number in range(PANICS):
        # Another function each time: another signature, so another thread.
        text = oops(f"bench_fn_{number}x", uptime=5000.25 + number)
        host = address(SENDERS + number)
        seen = asyncio.create_task(slack.message(f"{host} is panicking", channel="C0INCIDENTS", timeout=30))
        await asyncio.sleep(0)
        with socket_of(SENDERS + number) as kernel:
            began = time.perf_counter()
            for at, line in enumerate(text.splitlines()):
                stamp, _, words = line.partition("] ")
                usec = round(float(stamp.strip("[ ")) * 1e6)
                kernel.sendto(f"4,{100 + at},{usec},-;{words}\n".encode(), target)
            await seen
        taken.append(time.perf_counter() - began)
        await asyncio.sleep(1.1)  # Slack takes one message a second a channel, and so does the printer
    p50, p99 = percentile(taken, 50), percentile(taken, 99)
    print(
        f"panic line -> thread visible: n={PANICS} p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms "
        f"(250 ms of it the first look's debounce)"
    )


async def main() -> None:
    port = free_port()
    extra = f"""
[netconsole]
enabled = true
listen = "127.0.0.1"
port = {port}
allow_unknown = true
senders = 8192
resolve = false
"""
    with tempfile.TemporaryDirectory() as folder:
        async with (
            running_workspace() as slack,
            bot_process(Path(folder), slack, extra=extra) as bot,
            aiohttp.ClientSession() as http,
        ):
            await panic_to_thread(slack, port)
            await pace_without_loss(http, bot, port)


if __name__ == "__main__":
    if sys.argv[1:2] == ["blast"]:
        blast(*map(int, sys.argv[2:5]))
    else:
        sys.exit(asyncio.run(main()))
