"""`panicroom run` as a process, with one host in its inventory: the guest."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bot.demo.workspace.testing import RunningWorkspace
from tests import forks
from tests.vm.guest import NAME, Guest

SECRET = "of-the-guest-0123456789abcdef"


@dataclass(frozen=True)
class RunningBot:
    """What a test wants to know of the bot beside what people see in the workspace."""

    folder: Path
    config: Path
    port: int
    netconsole_port: int
    central: Path  # the store that dumps are copied to

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Of the bot's own database, read while it runs."""
        with sqlite3.connect(f"file:{self.folder / 'panicroom.db'}?mode=ro", uri=True) as database:
            return database.execute(query, values).fetchall()

    def reports(self) -> list[str]:
        """The source of each report, in the order of arrival."""
        return [source for (source,) in self.rows("select source from report order by id")]

    async def metric(self, line: str) -> float:
        """The value of the one line of /metrics that begins like this; 0 while there is none."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{self.port}/metrics") as answer,
        ):
            found = [m for m in (await answer.text()).splitlines() if m.startswith(f"{line} ")]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0

    def log(self) -> str:
        """Its last words, for whoever has to find out why a test failed."""
        return (self.folder / "bot.log").read_text(errors="replace")[-4000:]


def _free_udp_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running_bot(folder: Path, slack: RunningWorkspace, guest: Guest) -> AsyncIterator[RunningBot]:
    """Until the block ends; then it is told to stop, and must end with status 0."""
    folder.mkdir(exist_ok=True)
    central = folder / "central"
    central.mkdir(exist_ok=True)
    netconsole_port = _free_udp_port()
    config = folder / "panicroom.toml"
    config.write_text(
        f"""
[server]
port = 0
shared_secrets = [{json.dumps(SECRET)}]
[slack]
api_url = {json.dumps(slack.api_url)}
bot_token = {json.dumps(slack.bot_token)}
signing_secret = {json.dumps(slack.signing_secret)}
[routing]
channel = "C0INCIDENTS"
[access]
everyone = "responder"
[ssh]
user = "triage"
key_file = {json.dumps(str(guest.folder / "triage_key"))}
known_hosts = {json.dumps(str(guest.known_hosts))}
connect_timeout = 60
command_timeout = 120
[netconsole]
enabled = true
listen = "127.0.0.1"
port = {netconsole_port}
sources = {{ "127.0.0.1" = "{NAME}" }}
[central]
url = {json.dumps(central.as_uri())}
part_size = "4MiB"
keep_free = 0
[sweep]
enabled = false
[triage.patience]
longest = 5
[evidence.patience]
longest = 5
[[hosts]]
name = "{NAME}"
address = "127.0.0.1"
port = {guest.port}
ring = "lab"
"""
    )
    log = (folder / "bot.log").open("ab")
    process = forks.start("run", "--config", str(config), cwd=folder, stderr=log.fileno())
    try:
        async with asyncio.timeout(60):
            line = await asyncio.to_thread(process.line)
        assert line.startswith("panicroom is up at http://127.0.0.1:"), (folder / "bot.log").read_text()
        address = line.split()[-1]
        slack.request_url = f"{address}/slack/events"
        yield RunningBot(folder, config, int(address.rsplit(":", 1)[1]), netconsole_port, central)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)
        log.close()
    assert process.returncode == 0, (folder / "bot.log").read_text()
