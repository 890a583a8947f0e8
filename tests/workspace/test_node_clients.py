"""The workspace against Slack's Node clients, @slack/web-api and @slack/socket-mode, and the schema's source."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bot.demo.workspace.testing import RunningWorkspace, running_workspace, visible_text

HERE = Path(__file__).parent
PACKAGES = {"@slack/web-api": "8.2.0", "@slack/socket-mode": "3.1.0"}
NPM_SECONDS = 240
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "panicroom-tests"


def unavailable(why: str) -> NoReturn:
    """Skip, saying why; fail under CI, where everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def needed(tool: str) -> str:
    """The tool's path, if it is installed."""
    found = shutil.which(tool)
    if found is None:
        unavailable(f"{tool} is not installed: apt-get install nodejs npm (node 20 or newer)")
    return found


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Slack's Node clients, installed once into the user's cache."""
    needed("node")
    npm = needed("npm")
    name = "-".join(f"{package.partition('/')[2]}-{version}" for package, version in PACKAGES.items())
    directory = CACHE / name
    if not directory.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=CACHE))
        (fresh / "package.json").write_text(json.dumps({"private": True, "dependencies": PACKAGES}))
        installed = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--silent"],
            cwd=fresh,
            capture_output=True,
            text=True,
            timeout=NPM_SECONDS,
        )
        if installed.returncode != 0:
            shutil.rmtree(fresh)
            unavailable(f"npm could not install {', '.join(PACKAGES)}: {installed.stderr[-300:]}")
        try:
            fresh.rename(directory)
        except OSError:  # another test process was faster
            shutil.rmtree(fresh)
    return directory / "node_modules"


class NodeClient:
    """The running script, with what it has told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.told: list[dict[str, Any]] = []

    async def until(self, what: str, *, timeout: float = 30) -> dict[str, Any]:
        """The next line about `what`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(timeout):
            while True:
                line = await self._process.stdout.readline()
                assert line, f"the script ended before {what!r}; it told {self.told}"
                self.told.append(json.loads(line))
                if self.told[-1]["what"] == what:
                    return self.told[-1]


@asynccontextmanager
async def node_client(ws: RunningWorkspace, node_modules: Path) -> AsyncIterator[NodeClient]:
    environment = {
        "PATH": os.environ["PATH"],
        "NODE_PATH": str(node_modules),
        "SLACK_API_URL": ws.api_url,
        "BOT_TOKEN": ws.bot_token,
        "APP_TOKEN": ws.app_token,
    }
    process = await asyncio.create_subprocess_exec(
        needed("node"),
        str(HERE / "node_client.js"),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield NodeClient(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(45):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@pytest.mark.timeout(NPM_SECONDS + 60)
async def test_slacks_node_clients(node_modules: Path) -> None:
    async with running_workspace(event_retry_delays=(0.2, 0.5, 1.0, 2.0)) as ws:
        await ws.rate_limit("chat.update", retry_after=0)
        async with node_client(ws, node_modules) as node:
            await node.until("connected")
            posted = await node.until("posted")
            assert posted["replies"] == [f"reply {n}" for n in range(5)]
            assert posted["metadata"]["event_payload"] == {"id": "I-1"}
            await node.until("uploaded")
            refused = await node.until("refused")
            assert refused["error"] == "invalid_blocks"
            assert refused["messages"] == ["[ERROR] unsupported type: popup [json-pointer:/blocks/0/type]"]
            await node.until("ready")

            parent = await ws.message("from node, edited")
            file = (await ws.reply(parent, "the log"))["files"][0]
            assert await ws.download(file) == b"Kernel panic - not syncing\n"

            on_call = ws.person()
            await on_call.command("/panic list")
            await on_call.ephemeral("node heard list")
            assert (await node.until("command"))["user"] == "U0ONCALL"
            await on_call.click(parent, "Note")
            form = await on_call.modal("Add a note")
            assert (await node.until("clicked"))["value"] == "P-1"
            assert await on_call.submit(form, {"Note": "no"}) == {"errors": {"note": "Not that one."}}
            assert await on_call.submit(form, {"Note": "yes"}) == {}

            await ws.disconnect_sockets()
            await ws.until_connected()
            said = (await on_call.mention("are you back?"))["message"]
            reply = await ws.reply(said, "node heard you")
            assert "node heard you" in visible_text(reply)


@pytest.mark.timeout(NPM_SECONDS + 60)
def test_the_schema_is_what_the_types_give() -> None:
    needed("node")
    needed("npm")
    script = str(HERE / "schema" / "derive.py")
    derive = [sys.executable, script, "--check", "--directory", str(CACHE / "slack-types")]
    compared = subprocess.run(derive, capture_output=True, text=True, timeout=NPM_SECONDS)
    if compared.returncode == 3:
        unavailable(f"npm could not install @slack/types: {compared.stderr[-300:]}")
    assert compared.returncode == 0, compared.stderr[-2000:]
