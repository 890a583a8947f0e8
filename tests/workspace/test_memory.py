"""A second start keeps everything; the workspace alone as a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from slack_sdk.web.async_client import AsyncWebClient

from bot.demo.workspace import Channel
from bot.demo.workspace.testing import running_workspace, visible_text, visiting

INCIDENTS = "C0INCIDENTS"
HOME = {
    "type": "home",
    "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "3 open panics"}}],
}


async def test_a_second_start_keeps_everything(tmp_path: Path) -> None:
    async with running_workspace(data_dir=tmp_path) as ws:
        client = AsyncWebClient(token=ws.bot_token, base_url=ws.api_url)
        parent = (await client.chat_postMessage(channel=INCIDENTS, text="parent"))["ts"]
        gone = (await client.chat_postMessage(channel=INCIDENTS, text="gone"))["ts"]
        await client.chat_delete(channel=INCIDENTS, ts=gone)
        await client.chat_update(channel=INCIDENTS, ts=parent, text="parent, edited")
        await client.files_upload_v2(
            content="log",
            filename="dmesg.txt",
            channel=INCIDENTS,
            thread_ts=parent,
            initial_comment="the log",
        )
        await client.chat_postEphemeral(channel=INCIDENTS, user="U0VIEWER", text="only you")
        await client.views_publish(user_id="U0ONCALL", view=HOME)
        ws.workspace.add_channel(Channel(id="C0NEW", name="new"))

    async with running_workspace(data_dir=tmp_path) as ws:
        assert [m["text"] for m in await ws.history()] == ["parent, edited"]
        (reply,) = await ws.replies({"ts": parent})
        assert "dmesg.txt" in visible_text(reply)
        assert await ws.download(reply["files"][0]) == b"log"
        await ws.person("U0VIEWER").ephemeral("only you")
        await ws.person("U0ONCALL").home("3 open panics")
        client = AsyncWebClient(token=ws.bot_token, base_url=ws.api_url)
        await client.conversations_join(channel="C0NEW")
        later = (await client.chat_postMessage(channel=INCIDENTS, text="later", thread_ts=parent))["ts"]
        assert later > reply["ts"]
        assert (await ws.message("parent"))["reply_count"] == 2


async def test_time_that_goes_backwards_between_starts(tmp_path: Path) -> None:
    async with running_workspace(data_dir=tmp_path, clock=lambda: 1_800_000_000.0) as ws:
        first = (await ws.person().say("first"))["message"]["ts"]
    async with running_workspace(data_dir=tmp_path, clock=lambda: 1_700_000_000.0) as ws:
        assert (await ws.person().say("second"))["message"]["ts"] > first


@asynccontextmanager
async def workspace_process(
    data: Path, port: int = 0
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    command = [sys.executable, "-m", "bot.demo.workspace", "--data", str(data), "--port", str(port)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            line = await process.stdout.readline()
        yield json.loads(line)["url"], process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def test_alone_and_killed(tmp_path: Path) -> None:
    async with workspace_process(tmp_path) as (url, process):
        async with visiting(url) as ws:
            await ws.person().say("kept")
            client = AsyncWebClient(token="xoxb-demo-bot-token", base_url=ws.api_url)
            await client.chat_postMessage(channel=INCIDENTS, text="kept too")
            await stored(tmp_path, 2)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    async with workspace_process(tmp_path) as (url, process):
        async with visiting(url) as ws:
            assert [m["text"] for m in await ws.history()] == ["kept", "kept too"]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(45):
            assert await process.wait() == 0


async def stored(data: Path, messages: int) -> None:
    """Until the journal, which is written behind, holds so many messages."""
    async with asyncio.timeout(45):
        while True:
            with sqlite3.connect(data / "workspace.sqlite3") as database:
                (count,) = database.execute("SELECT count(*) FROM document WHERE kind = 'message'").fetchone()
            if count >= messages:
                return
            await asyncio.sleep(0.01)


async def test_a_taken_port_is_told(tmp_path: Path) -> None:
    async with running_workspace() as ws:
        port = ws.url.rpartition(":")[2]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot.demo.workspace", "--port", port, stderr=asyncio.subprocess.PIPE
        )
        _, error = await process.communicate()
    assert process.returncode == 2
    assert error.decode().strip().startswith(f"cannot listen on 127.0.0.1:{port}")
