"""The replayed fleet alone: `python -m bot.demo.hosts --data DIR [--report-url URL --secret S] [--panic HOST]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from bot.demo.hosts import Fleet, FleetError, client_key


def main() -> None:
    """Run until SIGINT or SIGTERM. The inventory goes to stdout as one JSON line; at a terminal, typed lines
    `panic [HOST [CASE]]` make hosts panic.
    """
    parser = argparse.ArgumentParser(prog="python -m bot.demo.hosts", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder for host keys and state")
    parser.add_argument("--report-url", help="the bot's POST /v1/panics; without it nothing is sent")
    parser.add_argument("--secret", default="", help="what reports are signed with")
    parser.add_argument("--port-base", type=int, default=2201, help="first SSH port (0: any)")
    parser.add_argument(
        "--client-key", type=Path, help="the public key that may log in; made in DIR when left out"
    )
    parser.add_argument("--reboot-seconds", type=float, default=8.0, help="how long a panicked host is away")
    parser.add_argument(
        "--panic", action="append", default=[], metavar="HOST", help="make this host panic at once"
    )
    options = parser.parse_args()
    try:
        asyncio.run(_run(options))
    except FleetError as problem:
        sys.exit(str(problem))


async def _run(options: argparse.Namespace) -> None:
    if options.client_key:
        public = options.client_key.read_text()
    else:
        public = client_key(options.data / "client_key")
    fleet = Fleet(
        options.data,
        client_key=public,
        report_url=options.report_url,
        secret=options.secret,
        port_base=options.port_base,
        reboot_seconds=options.reboot_seconds,
    )
    await fleet.start()
    try:
        (options.data / "known_hosts").write_text(fleet.known_hosts())
        print(json.dumps(fleet.inventory()), flush=True)
        for host in options.panic:
            print(json.dumps(await fleet.panic(host)), flush=True)
        await _until_stopped(fleet)
    finally:
        await fleet.stop()


async def _until_stopped(fleet: Fleet) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    tasks: set[asyncio.Task[None]] = set()

    def typed() -> None:
        line = sys.stdin.readline()
        if not line:
            loop.remove_reader(sys.stdin)
        elif line.split():
            task = asyncio.create_task(_obey(fleet, line.split()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    if sys.stdin.isatty():
        loop.add_reader(sys.stdin, typed)
    await stopped.wait()


async def _obey(fleet: Fleet, words: list[str]) -> None:
    if words[0] != "panic" or len(words) > 3:
        print("panic [HOST [CASE]]", flush=True)
        return
    try:
        print(json.dumps(await fleet.panic(*words[1:])), flush=True)
    except FleetError as problem:
        print(problem, flush=True)


if __name__ == "__main__":
    main()
