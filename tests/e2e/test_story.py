"""Notification, thread, triage, bundle, link, list: the main job, as the people in the channel see it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import signal
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.demo.supervisor import Demo
from bot.demo.workspace.testing import visible_text, visiting

pytestmark = pytest.mark.timeout(300)  # its steps have deadlines of their own
Start = Callable[..., tuple[Demo, str]]


async def start(start_demo: Start, **options: Any) -> tuple[Demo, str]:
    return await asyncio.to_thread(lambda: start_demo(**options))


@pytest.mark.parametrize("socket_mode", [False, True], ids=["http", "socket-mode"])
async def test_a_panic_becomes_a_thread_and_the_thread_does_the_work(
    start_demo: Start, socket_mode: bool
) -> None:
    demo, page = await start(start_demo, socket_mode=socket_mode)
    async with visiting(page) as slack:
        parent = await slack.message(
            "web-17 panicked: NULL pointer dereference in labcrash_read_cookie", timeout=60
        )
        seen = visible_text(parent)
        for fact in (
            "6.1.0-56-cloud-amd64",
            "prod-2",
            "Dell PowerEdge R640",
            "critical",
            "P-1",
            "I-1",
            "first panic",
        ):
            assert fact in seen
        text = await slack.reply(parent, "Modules linked in: labcrash(OE)", timeout=60)
        assert "labcrash_do_null+0xc/0x20 [labcrash]" in visible_text(text)
        whole = await slack.reply(
            parent, lambda m: any(f["name"] == "P-1-dmesg.txt" for f in m.get("files", [])), timeout=60
        )
        assert b"labcrash_read_cookie" in await slack.download(whole["files"][0])

        on_call = slack.person("U0ONCALL")
        await on_call.click(parent, "Run triage")
        done = await slack.reply(
            parent,
            lambda m: "kexec_crash_loaded" in json.dumps(m) or "next panic" in visible_text(m).lower(),
            timeout=60,
        )
        parent = await slack.changed(
            parent, lambda m: "Runbook 6/6" in visible_text(m) or "done" in visible_text(m), timeout=60
        )
        assert "web-17" in visible_text(done) or "P-1" in visible_text(done)

        await on_call.click(parent, "Collect evidence")
        bundle = await slack.reply(
            parent, lambda m: any(f["name"].endswith(".tar.gz") for f in m.get("files", [])), timeout=60
        )
        _check_bundle(await slack.download(bundle["files"][0]))

        await on_call.command("/panic link P-1 ops-1182")
        card = await slack.reply(
            parent, lambda m: "OPS-1182" in visible_text(m) and "prod-2" in visible_text(m), timeout=60
        )
        assert "6.1.0-56" in visible_text(card)
        await _ticket_was_told(demo, "OPS-1182")

        await on_call.command("/panic list host:web-*")
        listed = await on_call.ephemeral("P-1", timeout=60)
        assert "web-17" in visible_text(listed)
        await on_call.command("/panic list kernel:5.4.*")
        assert "P-1" not in visible_text(await on_call.ephemeral("5.4", timeout=60))


def _check_bundle(content: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        files = {
            m.name.split("/")[-1]: archive.extractfile(m).read() for m in archive.getmembers() if m.isfile()
        }  # type: ignore[union-attr]
    manifest = json.loads(files["manifest.json"])
    listed = {entry["file"]: entry for entry in manifest["files"]}
    checked = 0
    for name, entry in listed.items():
        if entry.get("sha256") and name in files:
            assert hashlib.sha256(files[name]).hexdigest() == entry["sha256"], name
            checked += 1
    assert checked >= 8
    assert any(b"labcrash_read_cookie" in body for body in files.values())
    assert "U0ONCALL" in json.dumps(manifest)


async def _ticket_was_told(demo: Demo, key: str) -> None:
    """One comment and one remote link on the ticket, as the tracker's own REST interface shows them."""
    ports = json.loads((demo.data / "ports.json").read_text())
    auth = {"Authorization": aiohttp.encode_basic_auth("bot@demo.invalid", "demo-tracker-token")}
    base = f"http://127.0.0.1:{ports['tracker']}/rest/api/2/issue/{key}"
    async with asyncio.timeout(60), aiohttp.ClientSession(headers=auth) as http:
        while True:
            async with http.get(f"{base}/comment") as answer:
                comments = (await answer.json())["comments"]
            async with http.get(f"{base}/remotelink") as answer:
                links = await answer.json()
            if comments and links:
                break
            await asyncio.sleep(0.1)
    mine = [c for c in comments if "P-1" in json.dumps(c)]
    assert len(mine) == 1
    assert len(links) == 1


async def test_a_killed_bot_loses_nothing_and_repeats_nothing(start_demo: Start) -> None:
    """kill -9 while triage waits for a host that is still rebooting; the demo starts the bot again."""
    demo, page = await start(start_demo)
    async with visiting(page) as slack:
        await slack.message("web-17 panicked", timeout=60)
        async with aiohttp.ClientSession() as http:
            await http.post(f"{page}/page/api/hosts/panic", json={"host": "db-3"})
        assert demo.bot is not None
        os.kill(demo.bot.pid, signal.SIGKILL)
        await asyncio.to_thread(demo.bot.wait)
        demo._start_bot(demo.data / "panicroom.toml")
        parent = await slack.message("db-3 panicked: ", timeout=60)
        on_call = slack.person("U0ONCALL")
        await on_call.click(parent, "Run triage")
        await slack.reply(
            parent,
            lambda m: "triage" in visible_text(m).lower() or "runbook" in visible_text(m).lower(),
            timeout=30,
        )
        os.kill(demo.bot.pid, signal.SIGKILL)
        await asyncio.to_thread(demo.bot.wait)
        demo._start_bot(demo.data / "panicroom.toml")
        async with asyncio.timeout(90):
            while triage_runs(demo) != [("done", 1)]:
                await asyncio.sleep(0.1)
        parents = [m for m in await slack.history() if "db-3 panicked" in m.get("text", "")]
        assert len(parents) == 1
    assert triage_runs(demo) == [("done", 1)]


def triage_runs(demo: Demo) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(demo.data / "panicroom.db")) as database:
        return database.execute(
            "select state, count(*) from runbook_run where kind = 'triage' group by state"
        ).fetchall()


async def test_a_second_start_keeps_what_was(start_demo: Start, tmp_path: Path) -> None:
    demo, page = await start(start_demo)
    async with visiting(page) as slack:
        await slack.message("web-17 panicked", timeout=60)
    await asyncio.to_thread(demo.stop)
    _again, page = await start(start_demo, data=tmp_path / "demo")
    async with visiting(page) as slack:
        history = await slack.history()
        assert len([m for m in history if "web-17 panicked" in m.get("text", "")]) == 1
        await slack.person("U0ONCALL").command("/panic show P-1")
        assert "labcrash_read_cookie" in visible_text(
            await slack.person("U0ONCALL").ephemeral("P-1", timeout=60)
        )


async def test_two_demos_do_not_share_a_directory(start_demo: Start, tmp_path: Path) -> None:
    await start(start_demo)
    from bot.demo.supervisor import DemoError

    with pytest.raises(DemoError, match="running already"):
        await start(start_demo, data=tmp_path / "demo")
