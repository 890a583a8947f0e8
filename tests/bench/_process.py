"""Processes to measure: any Python program, and the bot as `panicroom run` starts it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support_ports import free_port

__all__ = ["REPORT_SECRET", "bot_process", "free_port", "python_process"]

REPORT_SECRET = "bench-secret-" + "0" * 32


@asynccontextmanager
async def python_process(*arguments: str, port: int, path: str = "/") -> AsyncIterator[None]:
    """Runs `python ARGUMENTS`, waits until the port answers, and stops it in the end."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PANICROOM_")}
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as http:
            while True:
                if process.returncode is not None:
                    raise RuntimeError(f"python {' '.join(arguments)[:80]} ended with {process.returncode}")
                try:
                    async with http.get(f"http://127.0.0.1:{port}{path}") as answer:
                        if path == "/" or answer.status == 200:
                            break
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def bot_process(folder: Path, slack: Any, *, extra: str = "") -> AsyncIterator[str]:
    """The bot in HTTP mode against the stand-in `slack`; gives its address."""
    port = free_port()
    config = folder / "panicroom.toml"
    config.write_text(
        f"""
[server]
port = {port}
shared_secrets = ["{REPORT_SECRET}"]
[slack]
api_url = {json.dumps(slack.api_url)}
bot_token = {json.dumps(slack.bot_token)}
signing_secret = {json.dumps(slack.signing_secret)}
[routing]
channel = "C0INCIDENTS"
[access]
everyone = "responder"
[log]
level = "error"
{extra}
"""
    )
    async with python_process("-m", "bot.cli", "run", "--config", str(config), port=port, path="/readyz"):
        slack.request_url = f"http://127.0.0.1:{port}/slack/events"
        yield f"http://127.0.0.1:{port}"
