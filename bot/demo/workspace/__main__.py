"""The workspace as a process of its own: `python -m bot.demo.workspace --port 8065 --data DIR`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

import structlog

from bot.demo.workspace.server import serving
from bot.demo.workspace.slackapp import DEMO_APP_TOKEN, DEMO_BOT_TOKEN, DEMO_SIGNING_SECRET, SlackApp
from bot.demo.workspace.workspace import Workspace


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bot.demo.workspace", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--data", type=Path, help="directory that keeps everything; without it, memory")
    parser.add_argument("--request-url", help="the app's request URL (HTTP mode); without it, Socket Mode")
    parser.add_argument("--signing-secret", default=DEMO_SIGNING_SECRET, help="signs what goes to the app")
    parser.add_argument("--bot-token", default=DEMO_BOT_TOKEN, help="the app's xoxb token")
    parser.add_argument("--app-token", default=DEMO_APP_TOKEN, help="the app's xapp token (Socket Mode)")
    parser.add_argument(
        "--event-retry-delays",
        type=lambda text: tuple(float(part) for part in text.split(",")),
        default=(0.0, 60.0, 300.0),
        help="seconds before each retry of an event, as 0,60,300",
    )
    parser.add_argument("--real-limits", action="store_true", help="enforce Slack's published rate limits")
    parser.add_argument("--manifest", type=Path, help="app manifest (JSON) with commands and shortcuts")
    return parser


async def run(arguments: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM. Prints the address as one JSON line once it listens."""
    credentials = {
        "signing_secret": arguments.signing_secret,
        "bot_token": arguments.bot_token,
        "app_token": arguments.app_token,
    }
    if arguments.manifest is None:
        app = SlackApp(**credentials)
    else:
        app = SlackApp.from_manifest(json.loads(arguments.manifest.read_text("utf-8")), **credentials)
    workspace = Workspace(
        data_dir=arguments.data,
        app=app,
        request_url=arguments.request_url,
        event_retry_delays=arguments.event_retry_delays,
    )
    workspace.faults.enforce_limits(arguments.real_limits)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(workspace, host=arguments.host, port=arguments.port) as url:
        print(json.dumps({"url": url}), flush=True)
        await stop.wait()


def main() -> int:
    """Exit status 0, or 2 when the port is taken."""
    arguments = options().parse_args()
    # The address is the only line on stdout.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        asyncio.run(run(arguments))
    except OSError as error:
        print(f"cannot listen on {arguments.host}:{arguments.port}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
