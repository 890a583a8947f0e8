"""`panicroom run` as a process, against a stand-in workspace that the test owns."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bot.demo.workspace.testing import RunningWorkspace
from integrations.inbound import signed_headers
from tests import forks
from tests.forks import Forked

SECRET = "0123456789abcdef-reports"
OOPS = (
    "[  131.207455] BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
    "[  131.207899] RIP: 0010:nvme_irq+0x14/0x80 [nvme]\n"
    "[  131.209912] Kernel panic - not syncing: Fatal exception\n"
)


@dataclass
class BotProcess:
    address: str
    config: Path
    process: Forked

    async def report(self, report_id: str, host: str = "web-17") -> tuple[int, dict[str, str]]:
        body = json.dumps({"id": report_id, "host": host, "text": OOPS, "kernel": "6.1.0-31-amd64"}).encode()
        headers = signed_headers(SECRET, int(time.time()), body)
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.address}/v1/panics", data=body, headers=headers) as answer,
        ):
            return answer.status, await answer.json()

    async def get(self, path: str) -> str:
        async with aiohttp.ClientSession() as http, http.get(f"{self.address}{path}") as answer:
            return await answer.text()

    async def post(self, path: str, body: bytes) -> tuple[int, str]:
        """The status and the code of the refusal, for a body that nobody signed."""
        headers = {"Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.address}{path}", data=body, headers=headers) as answer,
        ):
            return answer.status, (await answer.json())["error"]

    async def metric(self, line: str) -> float:
        """The value of the one line of /metrics that begins like this."""
        (found,) = [m for m in (await self.get("/metrics")).splitlines() if m.startswith(f"{line} ")]
        return float(found.rsplit(" ", 1)[1])


async def panicroom(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of one command."""
    done = await asyncio.to_thread(forks.panicroom, *arguments, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


@asynccontextmanager
async def running_bot(
    directory: Path, ws: RunningWorkspace, *, mode: str = "http", database: str | None = None, extra: str = ""
) -> AsyncIterator[BotProcess]:
    """Until the block ends; then it is told to stop (SIGTERM), and must end with status 0."""
    config = directory / "panicroom.toml"
    url = f'database.url = "{database}"' if database is not None else ""
    config.write_text(
        f"""
        server.port = 0
        server.body_limit = 1024
        server.shared_secrets = ["{SECRET}"]
        {url}
        slack.mode = "{mode}"
        slack.api_url = "{ws.api_url}"
        slack.bot_token = "{ws.bot_token}"
        slack.app_token = "{ws.app_token}"
        slack.signing_secret = "{ws.signing_secret}"
        routing.channel = "C0INCIDENTS"
        access.everyone = "admin"
        ssh.known_hosts = "known_hosts"
        ssh.key_file = "no-such-key"
        triage.patience.first = 0.1
        triage.patience.give_up_after = 0.5
        [[hosts]]
        name = "web-17"
        address = "127.0.0.1"
        port = 1
        {extra}
        """
    )
    log = (directory / "bot.log").open("ab")
    process = forks.start("run", "--config", str(config), cwd=directory, stderr=log.fileno())
    try:
        async with asyncio.timeout(60):
            line = await asyncio.to_thread(process.line)
        assert line.startswith("panicroom is up at http://127.0.0.1:"), (directory / "bot.log").read_text()
        address = line.split()[-1]
        if mode == "http":
            ws.request_url = f"{address}/slack/events"
        else:
            await ws.until_connected()
        yield BotProcess(address, config, process)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)
        log.close()
    assert process.returncode == 0, (directory / "bot.log").read_text()
