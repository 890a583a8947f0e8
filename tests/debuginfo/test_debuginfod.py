"""Against a server that speaks debuginfod's protocol, well and badly."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from integrations.debuginfo import (
    Cache,
    Debuginfod,
    DebuginfodDown,
    DebuginfodRefused,
    NotServed,
    TooLarge,
    WrongFile,
)
from tests.debuginfo.elves import elf

ID = "3b43fad5034874490492495d552c0af6a5fab235"
OTHER = "17" * 20


class Server:
    """Serves what is in `files` by build id; a callable answers by itself."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | Callable[[web.Request], web.StreamResponse]] = {}
        self.asked: list[str] = []
        self.url = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        build_id = request.match_info["id"]
        self.asked.append(build_id)
        found = self.files.get(build_id)
        if found is None:
            raise web.HTTPNotFound(text="not found")
        if callable(found):
            return found(request)
        response = web.StreamResponse(headers={"X-DEBUGINFOD-SIZE": str(len(found))})
        await response.prepare(request)
        for at in range(0, len(found), 4096):
            await response.write(found[at : at + 4096])
        return response


async def _start() -> tuple[Server, web.AppRunner]:
    server = Server()
    app = web.Application()
    app.router.add_get("/buildid/{id}/debuginfo", server.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return server, runner


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made, runner = await _start()
    yield made
    await runner.cleanup()


def client(
    tmp_path: Path, *urls: str, limit: int = 1_000_000, cache: int = 10_000_000, timeout: float = 20
) -> Debuginfod:
    return Debuginfod(urls, Cache(tmp_path / "cache", cache), limit=limit, timeout=timeout)


def left(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "cache").glob("*"))


async def test_a_build_is_fetched_once_and_then_kept(tmp_path: Path, server: Server) -> None:
    data = elf(ID, padding=100_000)
    server.files[ID] = data
    ours = client(tmp_path, server.url + "/")
    seen: list[int] = []

    async def progress(done: int, _total: int | None) -> None:
        seen.append(done)

    path = await ours.fetch(ID, progress)
    assert path.read_bytes() == data
    assert seen[-1] == len(data)
    assert await ours.fetch(ID) == path
    assert server.asked == [ID]
    assert left(tmp_path) == [f"{ID}.debug"]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (elf(OTHER), f"has build id {OTHER}, not {ID}"),
        (elf(None), "has build id \\(none\\)"),
        (elf(ID, debug=False), "holds no debug information"),
        (b"<html>log in</html>", "no ELF file"),
        (elf(ID, padding=50_000)[:5000], "damaged"),
    ],
)
async def test_a_wrong_file_is_refused_and_not_kept(
    tmp_path: Path, server: Server, sent: bytes, why: str
) -> None:
    server.files[ID] = sent
    with pytest.raises(WrongFile, match=why):
        await client(tmp_path, server.url).fetch(ID)
    assert left(tmp_path) == []


async def test_a_build_that_nobody_has(tmp_path: Path, server: Server) -> None:
    with pytest.raises(NotServed, match=ID) as told:
        await client(tmp_path, server.url).fetch(ID)
    assert told.value.permanent
    with pytest.raises(NotServed):
        await client(tmp_path).fetch(ID)


async def test_more_than_the_limit_is_not_taken(tmp_path: Path, server: Server) -> None:
    server.files[ID] = elf(ID, padding=200_000)
    with pytest.raises(TooLarge, match="more than 50000 bytes"):
        await client(tmp_path, server.url, limit=50_000).fetch(ID)
    server.files[ID] = lambda _request: web.Response(body=elf(ID, padding=200_000))
    with pytest.raises(TooLarge, match="announces"):
        await client(tmp_path, server.url, limit=50_000).fetch(ID)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "kind"), [(500, DebuginfodDown), (429, DebuginfodDown), (403, DebuginfodRefused)]
)
async def test_a_server_that_fails_is_told_as_what_it_is(
    tmp_path: Path, server: Server, status: int, kind: type[Exception]
) -> None:
    server.files[ID] = lambda _request: web.Response(status=status)
    with pytest.raises(kind, match=str(status)):
        await client(tmp_path, server.url).fetch(ID)


async def test_a_server_that_is_not_there_or_never_ends(tmp_path: Path, server: Server) -> None:
    with pytest.raises(DebuginfodDown):
        await client(tmp_path, "http://127.0.0.1:9").fetch(ID)
    held = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"\x7fELF")
        await held.wait()
        return response

    app = web.Application()
    app.router.add_get("/buildid/{id}/debuginfo", slow)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with pytest.raises(DebuginfodDown):
        await client(tmp_path, f"http://127.0.0.1:{runner.addresses[0][1]}", timeout=0.3).fetch(ID)
    held.set()
    await runner.cleanup()
    assert left(tmp_path) == []


async def test_the_next_server_is_asked_and_one_that_may_be_mended_is_what_is_told(
    tmp_path: Path, server: Server
) -> None:
    second, runner = await _start()
    second.files[ID] = elf(ID)
    try:
        assert (await client(tmp_path, server.url, second.url).fetch(ID)).is_file()
        server.files[OTHER] = lambda _request: web.Response(status=503)
        with pytest.raises(DebuginfodDown):
            await client(tmp_path, server.url, second.url).fetch(OTHER)
        server.files[OTHER] = elf(ID)
        with pytest.raises(WrongFile):
            await client(tmp_path, server.url, second.url).fetch(OTHER)
    finally:
        await runner.cleanup()


async def test_the_cache_stays_within_its_bound(tmp_path: Path, server: Server) -> None:
    ids = [f"{n:02x}" * 20 for n in range(1, 5)]
    for build_id in ids:
        server.files[build_id] = elf(build_id, padding=100_000)
    ours = client(tmp_path, server.url, cache=250_000)
    for number, build_id in enumerate(ids[:2]):
        path = await ours.fetch(build_id)
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    await ours.fetch(ids[0])  # used again: the other one goes first
    await ours.fetch(ids[2])
    assert left(tmp_path) == sorted(f"{i}.debug" for i in (ids[0], ids[2]))
    assert ours.cache.size() <= 250_000
    with pytest.raises(TooLarge, match="the cache may hold"):
        await client(tmp_path, server.url, cache=50_000).fetch(ids[3])


async def test_a_cached_file_that_was_damaged_is_fetched_again(tmp_path: Path, server: Server) -> None:
    server.files[ID] = elf(ID)
    ours = client(tmp_path, server.url)
    (await ours.fetch(ID)).write_bytes(b"half")
    assert (await ours.fetch(ID)).read_bytes() == elf(ID)
    assert server.asked == [ID, ID]


@pytest.mark.parametrize("build_id", ["../../etc/passwd", "ABCDEF0123456789", "", "12"])
async def test_what_is_no_build_id_is_not_asked_for(tmp_path: Path, server: Server, build_id: str) -> None:
    with pytest.raises(WrongFile, match="no build id"):
        await client(tmp_path, server.url).fetch(build_id)
    assert server.asked == []
