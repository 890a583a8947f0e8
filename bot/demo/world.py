"""The demo's surroundings in one process: a workspace like Slack, change tickets like Jira's, hosts that panicked.

`python -m bot.demo.world --data DIR …`. The bot is another process and knows none of this: it is given addresses.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from bot.demo import tracker
from bot.demo.hosts import Fleet, HostNotUp, UnknownCase, UnknownHost
from bot.demo.hosts.history import Crash, History, Life
from bot.demo.workspace import SlackApp, User, Workspace, demo_directory
from bot.demo.workspace.errors import ActError
from bot.demo.workspace.server import serving

GUIDE = "U0GUIDE"
CHANNEL = "C0INCIDENTS"
FIRST_HOST = "web-17"
UNHEARD_HOST = "cache-2"
_GUIDE_TEXT = (
    ":wave: *This is a demo of Panicroom.* The workspace, the tickets and the hosts are stand-ins that replay what "
    "real Debian machines left behind when their kernels panicked. The bot is the real one.\n"
    f"• `{FIRST_HOST}` has just panicked: open its thread, press *Run triage*, then *Collect evidence*, "
    "and *Copy vmcore* behind the three dots.\n"
    "• Type `/panic list host:web-*` or `/panic show P-1` here; `/panic help` tells the rest.\n"
    "• `/panic link P-1 OPS-1182` puts a change ticket beside the panic, and a comment on the ticket.\n"
    "• One host panicked before anybody listened, and told nobody: `/panic sweep` finds its dump.\n"
    "• Make more of them panic with *Panic another host*. Three of one kind share a thread.\n"
    "• Switch the person at the top left: a viewer may look, a responder may act, an admin may correct the bot."
)


class Hosts:
    """The fleet as the page steers it, with the page's own errors."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def hosts(self) -> list[dict[str, Any]]:
        return self.fleet.hosts()

    async def panic(self, host: str | None, case: str | None) -> dict[str, Any]:
        try:
            return await self.fleet.panic(host, case)
        except (UnknownHost, UnknownCase, HostNotUp) as error:
            raise ActError("host_not_available", str(error)) from error


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bot.demo.world", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory that keeps everything")
    parser.add_argument("--page-port", type=int, default=0)
    parser.add_argument("--tracker-port", type=int, default=0)
    parser.add_argument("--ssh-port-base", type=int, default=0)
    parser.add_argument("--bot-url", required=True, help="where the bot will listen")
    parser.add_argument(
        "--secret-file", type=Path, required=True, help="what the hosts sign their reports with"
    )
    parser.add_argument(
        "--client-key", type=Path, required=True, help="the public key that may log in to the hosts"
    )
    parser.add_argument("--manifest", type=Path, help="the app's manifest (JSON)")
    parser.add_argument("--socket-mode", action="store_true", help="deliver over Socket Mode instead of HTTP")
    return parser


async def live(arguments: argparse.Namespace) -> None:
    """Until SIGINT or SIGTERM. Prints one JSON line once everything listens."""
    data: Path = arguments.data
    directory = demo_directory()
    directory.users[GUIDE] = User(id=GUIDE, name="guide", real_name="Guide", is_bot=True)
    app = (
        SlackApp.from_manifest(json.loads(arguments.manifest.read_text("utf-8")))
        if arguments.manifest
        else SlackApp()
    )
    workspace = Workspace(
        data_dir=data / "workspace",
        app=app,
        directory=directory,
        request_url=None if arguments.socket_mode else f"{arguments.bot_url}/slack/events",
    )
    tickets = tracker.Tracker(tracker.seed(time.time()), clock=time.time, data=data / "tickets.json")
    fleet = Fleet(
        data / "hosts",
        client_key=arguments.client_key.read_text("utf-8"),
        report_url=f"{arguments.bot_url}/v1/panics",
        secret=arguments.secret_file.read_text("utf-8").strip(),
        port_base=arguments.ssh_port_base,
        on_change=lambda hosts: workspace.feed.tell({"type": "hosts", "hosts": hosts}),
    )
    leave_one_unheard(data / "hosts" / "hosts.json", time.time())
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(tracker.make_app(tickets), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", arguments.tracker_port).start()
        await fleet.start()
        async with serving(workspace, port=arguments.page_port, hosts=Hosts(fleet)) as page:
            ready = {
                "page": page,
                "tracker": f"http://127.0.0.1:{runner.addresses[0][1]}",
                "tracker_email": tickets.email,
                "tracker_token": tickets.token,
                "slack": {
                    "bot_token": app.bot_token,
                    "app_token": app.app_token,
                    "signing_secret": app.signing_secret,
                },
                "known_hosts": fleet.known_hosts(),
                "inventory": fleet.inventory(),
            }
            print(json.dumps(ready), flush=True)
            story = asyncio.create_task(_begin(workspace, fleet, data / "begun"))
            story.add_done_callback(_told)
            await stop.wait()
            story.cancel()
            await asyncio.gather(story, return_exceptions=True)
    finally:
        await fleet.stop()
        await runner.cleanup()


def leave_one_unheard(history: Path, now: float) -> None:
    """Before the very first start: a host that panicked three hours ago, came back, and told nobody."""
    if not history.exists():
        crashed_at = now - 3 * 3600
        unheard = Life(1, Crash("oom", crashed_at, crashed_at + 180))
        History(now, {UNHEARD_HOST: unheard}).write(history)


def _told(story: asyncio.Task[None]) -> None:
    """A story that broke off is said in the log, or nobody would know why the channel stays empty."""
    if not story.cancelled() and (error := story.exception()) is not None:
        print(f"the demo's first panic failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


async def _begin(workspace: Workspace, fleet: Fleet, begun: Path) -> None:
    """Once, at the very first start: the guide's message, and the first panic."""
    if begun.exists():  # noqa: ASYNC240 - one stat at the start
        return
    guide = {"type": "message", "user": GUIDE, "text": _GUIDE_TEXT}
    workspace.messages.post(CHANNEL, guide, thread_ts=None)
    await fleet.panic(FIRST_HOST, back_in=0.5)
    await fleet.reported(FIRST_HOST)
    begun.write_text("")  # noqa: ASYNC240


def main() -> int:
    """Exit status 0, or 2 when a port is taken."""
    arguments = options().parse_args()
    try:
        asyncio.run(live(arguments))
    except OSError as error:
        print(f"the demo's surroundings could not start: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
