"""What `panicroom doctor` finds of the programs and the debug information that an analysis needs."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bot.doctor_analysis import analysis_findings
from bot.machine import Finding
from bot.settings import Settings, StoreConfig
from commands.analysis.config import AnalysisConfig
from commands.copies.config import CentralConfig
from tests.debuginfo.elves import elf

ALL = {"crash": "/usr/bin/crash", "makedumpfile": "/usr/sbin/makedumpfile"}


class Machine:
    """A bot's machine: what is installed, and its settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.debug = folder / "debug"
        self.debug.mkdir()
        self.programs = dict(ALL)
        self.python = sys.executable

    def without_drgn(self) -> None:
        script = self.folder / "python"
        script.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'drgn'\" >&2\nexit 1\n")
        script.chmod(0o755)
        self.python = str(script)

    async def ask(self, **config: Any) -> list[Finding]:
        made = Settings(
            analysis=AnalysisConfig(**{"debuginfo_dirs": (self.debug,), **config}),
            central=CentralConfig(url=self.folder.as_uri()),
            store=StoreConfig(dir=self.folder / "store"),
        )
        return await analysis_findings(made, python=self.python, find=self.programs.get)

    async def bad(self, **config: Any) -> list[Finding]:
        """All that is not in order, but for the room of the machine that runs the tests."""
        found = await self.ask(**config)
        wrong = [f for f in found if f.verdict != "ok" and f.name != "analysis room"]
        assert all(f.remedy for f in wrong), wrong
        return wrong


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


Serve = Callable[[Callable[[web.Request], Any]], Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(handler)` is the address of a server that answers everything so."""
    runners = []

    async def start(handler: Callable[[web.Request], Any]) -> str:
        app = web.Application()
        app.router.add_get("/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_nothing_is_set_up_and_that_is_said() -> None:
    (found,) = await analysis_findings(Settings(), find=lambda _name: None)
    assert found.verdict == "ok"
    assert "not set up: without [central]" in found.said


async def test_all_that_is_needed_is_there(machine: Machine) -> None:
    (machine.debug / "vmlinux-6.1.0-31-amd64").write_bytes(elf("11" * 20))
    found = await machine.ask()
    said = {f.name: f.said for f in found}
    assert await machine.bad() == []
    assert said["analysis tool"].startswith("drgn ")
    assert "crash (/usr/bin/crash) stands by" in said["analysis tool"]
    assert "has the vmlinux of 1 kernel" in said["debuginfo"]
    assert "needs its whole size" in said["analysis room"]
    assert not (machine.folder / "store").exists(), "the doctor makes nothing"


@pytest.mark.parametrize(
    ("tool", "crash", "verdict", "said"),
    [
        (
            "auto",
            True,
            "warn",
            "drgn cannot be imported (ModuleNotFoundError: No module named 'drgn'): crash",
        ),
        ("auto", False, "fail", "and crash is not installed: no dump is read"),
        ("drgn", True, "fail", "analysis.tool is drgn, which cannot be imported"),
        ("crash", True, "ok", "reads dumps, as analysis.tool says"),
    ],
)
async def test_no_drgn(machine: Machine, tool: str, crash: bool, verdict: str, said: str) -> None:
    machine.without_drgn()
    if not crash:
        del machine.programs["crash"]
    (found,) = [f for f in await machine.ask(tool=tool) if f.name == "analysis tool"]
    assert (found.verdict, said in found.said) == (verdict, True), found
    assert bool(found.remedy) == (verdict != "ok")


async def test_no_crash_though_the_settings_ask_for_it(machine: Machine) -> None:
    del machine.programs["crash"]
    (found,) = await machine.bad(tool="crash")
    assert "analysis.tool is crash, which is not installed" in found.said
    assert "drgn is there" in found.remedy
    assert await machine.bad(tool="auto") == []


async def test_no_makedumpfile_costs_the_kernels_log(machine: Machine) -> None:
    del machine.programs["makedumpfile"]
    (found,) = await machine.bad()
    assert (found.name, found.verdict) == ("makedumpfile", "warn")
    assert "a panic without a text stays without one" in found.said


async def test_directories_that_cannot_be_used(machine: Machine) -> None:
    file = machine.folder / "file"
    file.write_text("")
    missing, wrong, none = await machine.bad(debuginfo_dirs=(machine.folder / "no", file))
    assert "no does not exist" in missing.said
    assert "file is no directory" in wrong.said
    assert "no backtraces, blocked tasks or memory" in none.said
    assert {f.verdict for f in (missing, wrong, none)} == {"fail"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every directory: no mode shuts it out")
async def test_a_directory_that_may_not_be_read(machine: Machine) -> None:
    machine.debug.chmod(0)
    found = await machine.bad()
    machine.debug.chmod(0o700)
    assert "cannot be read by this user" in found[0].said


async def test_a_debuginfod_that_answers_stands_for_directories(machine: Machine, serve: Serve) -> None:
    asked = []

    async def unknown(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=404)

    url = await serve(unknown)
    assert await machine.bad(debuginfo_dirs=(), debuginfod_urls=(f"{url}/a/",)) == []
    assert asked == [f"/a/buildid/{'0' * 40}/debuginfo"]


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "does not answer as debuginfod does"), (503, "HTTP 503"), (200, "does not answer as debuginfod")],
)
async def test_what_is_no_debuginfod(machine: Machine, serve: Serve, status: int, said: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text="<html>log in</html>")

    url = await serve(answer)
    (found,) = await machine.bad(debuginfod_urls=(url.replace("//", "//user:geheimnis@"),))
    assert (found.name, found.verdict, said in found.said) == ("debuginfod", "fail", True), found
    assert "geheimnis" not in found.said


async def test_a_debuginfod_that_says_nothing_is_not_waited_for(machine: Machine) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with asyncio.timeout(60):
            (found,) = await machine.bad(debuginfod_urls=(url,))
    assert "gives no answer within 8 s" in found.said


@pytest.mark.parametrize("url", ["http://[::1", "http://:80", "https://a:b/", "https://a?x=1", "https://a#x"])
async def test_an_address_that_cannot_be_one(machine: Machine, url: str) -> None:
    (found,) = await machine.bad(debuginfod_urls=(url,))
    assert (found.name, found.verdict) == ("debuginfod", "fail")
    assert "analysis.debuginfod_urls" in found.remedy


async def test_a_place_to_work_in_that_cannot_be_written(machine: Machine) -> None:
    (machine.folder / "file").write_text("")
    found = await machine.ask(work_dir=machine.folder / "file")
    (room,) = [f for f in found if f.name == "analysis room"]
    assert room.verdict == "fail"
    assert "no dump can be put together" in room.said
