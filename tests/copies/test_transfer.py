"""The pipeline between stream and store: parts cut right whatever the pieces, the cap held, a slow store bounded."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.central import make_store
from commands.copies.config import CentralConfig
from commands.copies.progress import SLOW_STORE
from commands.copies.transfer import Flow, PartSink, read_back, standing
from integrations.stores import CentralStore, Pace, Part, StoreFull
from storage import CopyState
from tests.copies.conftest import MIB, Make, Scene, no_sftp
from tests.stores.sftpserver import SftpServer


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 5000), max_size=20), st.integers(1, 7000))
def test_pieces_become_parts(sizes: list[int], part_size: int) -> None:
    body = os.urandom(sum(sizes))
    with (
        tempfile.TemporaryDirectory() as folder,
        CentralStore(Path(folder).as_uri(), sftp=no_sftp).open("x") as shelf,
    ):
        shelf.make()
        parts: list[Part] = []
        sink = PartSink(shelf, part_size, 1, parts.append, Flow())
        at = 0
        for size in sizes:
            sink.take(body[at : at + size])
            at += size
        sink.finish()
        sink.close()
        assert [p.number for p in parts] == list(range(1, len(parts) + 1))
        assert all(p.size == part_size for p in parts[:-1])
        assert b"".join(b"".join(shelf.read(p.number)) for p in parts) == body
        assert standing(shelf, parts) == len(parts)
        assert read_back(shelf, parts, Flow()) is not None


def test_what_was_not_finished_is_not_there(tmp_path: Path) -> None:
    with CentralStore(tmp_path.as_uri(), sftp=no_sftp).open("x") as shelf:
        shelf.make()
        sink = PartSink(shelf, 1000, 1, lambda _part: None, Flow())
        sink.take(bytes(2500))
        sink.close()
        assert set(shelf.sizes()) <= {1, 2}
    assert not list(tmp_path.rglob(".unfinished-*"))


def test_a_part_whose_row_cannot_be_written_stops_the_stream(tmp_path: Path) -> None:
    def refuse(_part: Part) -> None:
        raise StoreFull("no.")

    with CentralStore(tmp_path.as_uri(), sftp=no_sftp).open("x") as shelf:
        shelf.make()
        sink = PartSink(shelf, 10, 1, refuse, Flow())
        with pytest.raises(StoreFull):
            sink.take(bytes(20))
        sink.close()
        assert set(shelf.sizes()) <= {1, 2}

        last = PartSink(shelf, 10, 1, refuse, Flow())
        last.take(bytes(5))
        with pytest.raises(StoreFull):
            last.finish()
        last.close()


def test_a_damaged_last_part_does_not_stand(tmp_path: Path) -> None:
    with CentralStore(tmp_path.as_uri(), sftp=no_sftp).open("x") as shelf:
        shelf.make()
        parts: list[Part] = []
        sink = PartSink(shelf, 1000, 1, parts.append, Flow())
        sink.take(os.urandom(3000))
        sink.finish()
        (tmp_path / "x" / "vmcore.part-000003").write_bytes(bytes(1000))
        assert standing(shelf, parts) == 2
        (tmp_path / "x" / "vmcore.part-000001").write_bytes(b"")
        assert standing(shelf, parts) == 0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=60))
def test_the_cap_is_held_over_all_copies(sizes: list[int]) -> None:
    clock = Clock()
    pace = Pace(100_000, monotonic=lambda: clock.now, sleep=clock.sleep)
    began = clock.now
    for size in sizes:
        pace.spend(size)
    assert sum(sizes) <= 100_000 * (clock.now - began) + 100_000


def test_no_cap_waits_for_nobody_and_a_stop_ends_the_wait() -> None:
    clock = Clock()
    Pace(None, monotonic=lambda: clock.now, sleep=clock.sleep).spend(10**12)
    Pace(1, monotonic=lambda: clock.now, sleep=clock.sleep).spend(10**6, stop=lambda: True)
    assert clock.now == 100.0


@pytest.fixture
def slow_server(tmp_path: Path) -> SftpServer:
    folder = tmp_path / "sftp"
    folder.mkdir()
    return SftpServer(folder, seconds_a_write=0.02)


async def test_a_slow_store_is_told_and_costs_no_memory(make_scene: Make, slow_server: SftpServer) -> None:
    await asyncio.to_thread(slow_server.start)
    try:
        (slow_server.root / "panics").mkdir()
        config = CentralConfig(url=f"sftp://store@127.0.0.1:{slow_server.port}/panics")
        store = make_store(config, slow_server.ssh())
        body = os.urandom(8 * MIB)
        scene: Scene = await make_scene(store=store, content=body)
        await scene.desk.begin(scene.panic_id, "U0ONCALL", "r")
        told = await scene.when(lambda c: c.note == SLOW_STORE)
        assert told.state is CopyState.COPYING
        assert told.bytes_done < len(body)
        assert threading.active_count() < 60
        slow_server.seconds_a_write = 0.0
        assert (await scene.ended()).state is CopyState.VERIFIED
    finally:
        await asyncio.to_thread(slow_server.stop)
