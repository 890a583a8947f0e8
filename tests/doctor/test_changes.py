"""What `panicroom doctor` finds of feed files and of the PromQL endpoint."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from bot.doctor_changes import feed_findings, workload_findings
from bot.machine import Finding
from bot.settings import Settings
from commands.inventory import HostEntry
from integrations.changes.feed_config import FeedConfig
from integrations.workload.config import WorkloadConfig

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CHANGE = '[[change]]\nkey = "a"\nring = "prod-1"\n'


def feed(*files: Path) -> list[Finding]:
    return feed_findings(Settings(feed=FeedConfig(files=files)), NOW)


def written(file: Path, text: str, ago: timedelta) -> Path:
    file.write_text(text)
    at = (NOW - ago).timestamp()
    os.utime(file, (at, at))
    return file


def test_no_files_are_no_fault() -> None:
    (found,) = feed()
    assert found.verdict == "ok"


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=40), "last changed 2026-11-23 11:59Z, 40s ago"),
        (timedelta(hours=3, minutes=12, seconds=5), "last changed 2026-11-23 08:47Z, 3h12m ago"),
        (timedelta(days=40, hours=1, minutes=5), "40d1h ago"),
        (timedelta(minutes=-1), "0s ago"),
    ],
)
def test_a_file_says_how_much_it_tells_and_since_when(tmp_path: Path, ago: timedelta, words: str) -> None:
    (found,) = feed(written(tmp_path / "changes.toml", CHANGE, ago))
    assert (found.verdict, words in found.said) == ("ok", True), found
    assert "1 changes (1 of changes)" in found.said


def test_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    missing, broken, unknown, empty, early = feed(
        tmp_path / "no.csv",
        written(tmp_path / "broken.json", "{", timedelta(0)),
        written(tmp_path / "unknown.toml", '[[change]]\nkey = "a"\nrnig = "x"\n', timedelta(0)),
        written(tmp_path / "empty.toml", "", timedelta(0)),
        written(tmp_path / "early.toml", CHANGE, timedelta(hours=-2)),
    )
    assert "No such file" in missing.said
    assert "it is no JSON" in broken.said
    assert "rnig is no field of a change" in unknown.said
    assert "holds no change" in empty.said
    assert "in the future" in early.said
    found = (missing, broken, unknown, empty, early)
    assert [f.verdict for f in found] == ["fail", "fail", "fail", "warn", "warn"]
    assert all(f.remedy for f in found)


def test_a_directory_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "changes.toml").mkdir()
    (found,) = feed(tmp_path / "changes.toml")
    assert (found.verdict, bool(found.remedy)) == ("fail", True)


# -- the PromQL endpoint ----------------------------------------------------------------------------------

Serve = Callable[[Callable[[web.Request], Any]], Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(handler)` is the address of a server that answers range queries so."""
    runners = []

    async def start(handler: Callable[[web.Request], Any]) -> str:
        app = web.Application()
        app.router.add_post("/prom/api/v1/query_range", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/prom"

    yield start
    for runner in runners:
        await runner.cleanup()


async def workload(url: str, *hosts: str, **config: Any) -> Finding:
    made = Settings(
        workload=WorkloadConfig(prometheus_url=url, **config),
        hosts=tuple(HostEntry(name=name) for name in hosts),
    )
    (found,) = await workload_findings(made, NOW)
    assert (found.verdict == "ok") != bool(found.remedy)
    return found


def series(form: Any, *names: str) -> dict[str, Any]:
    """The answer of an endpoint that knows these hosts, and of them no network."""
    known = any(name in form["query"] for name in names) and "network" not in form["query"]
    values = [[NOW.timestamp(), "4.5"]]
    return {
        "status": "success",
        "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}] if known else []},
    }


async def test_no_endpoint_is_no_fault() -> None:
    (found,) = await workload_findings(Settings(), NOW)
    assert (found.verdict, "sysstat's records" in found.said) == ("ok", True)
    (found,) = await workload_findings(Settings(workload=WorkloadConfig(sysstat=False)), NOW)
    assert (found.verdict, "not checked" in found.said) == ("ok", True)


async def test_an_endpoint_is_asked_for_a_host_of_the_inventory(serve: Serve) -> None:
    tokens = []

    async def answer(request: web.Request) -> web.Response:
        tokens.append(request.headers.get("Authorization"))
        return web.json_response(series(await request.post(), "web-17"))

    url = await serve(answer)
    token = SecretStr("token-of-the-endpoint")
    queries = {name: q for name, q in WorkloadConfig().queries.items() if name != "network"}
    found = await workload(url, "web-*", "web-17", queries=queries, bearer_token=token)
    assert (found.verdict, "knows cpu, load, memory, disk of web-17" in found.said) == ("ok", True), found
    assert set(tokens) == {"Bearer token-of-the-endpoint"}
    found = await workload(url, "web-17")
    assert (found.verdict, "has no network of web-17" in found.said) == ("warn", True)
    found = await workload(url, "db-1")
    assert (found.verdict, "knows nothing of db-1" in found.said) == ("warn", True)
    found = await workload(url)
    assert (found.verdict, "no host of the inventory" in found.said) == ("ok", True)


@pytest.mark.parametrize(("status", "text"), [(401, "log in"), (500, "{}"), (200, "<html>")])
async def test_what_answers_otherwise(serve: Serve, status: int, text: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    found = await workload(await serve(answer), "web-17")
    assert (found.verdict, f"HTTP {status}" in found.said) == ("fail", True), found


async def test_an_endpoint_that_is_not_there() -> None:
    found = await workload("http://127.0.0.1:1", "web-17")
    assert (found.verdict, "workload.prometheus_url" in found.remedy) == ("fail", True)
