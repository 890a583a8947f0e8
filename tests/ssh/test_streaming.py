"""Long streams: against a real sshd that changes keys in the middle, and what waits between the two threads."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paramiko.buffered_pipe import PipeTimeout

from integrations.ssh import SshClient, SshConfig
from integrations.ssh.pieces import ENOUGH, Pieces
from tests.ssh.conftest import Sshd

Clients = Callable[[SshConfig], SshClient]
MIB = 1024 * 1024


async def test_a_server_that_changes_keys_in_mid_stream_costs_nothing(
    start_sshd: Callable[..., Sshd], clients: Clients
) -> None:
    sshd = start_sshd("RekeyLimit 4M")
    whole, came, largest = hashlib.sha256(), 0, 0

    def take(piece: bytes) -> None:
        nonlocal came, largest
        whole.update(piece)
        came += len(piece)
        largest = max(largest, len(piece))

    size = 96 * MIB
    async with clients(sshd.config()).connect(sshd.host) as session:
        end = await asyncio.to_thread(session.stream, ["head", "-c", str(size), "/dev/zero"], take, idle=20)
        after = await session.run(["echo", "still", "here"])
    assert (end.exit_status, came) == (0, size)
    assert whole.hexdigest() == hashlib.sha256(bytes(size)).hexdigest()
    assert largest <= 2 * MIB
    assert after.text == "still here\n"


async def test_little_comes_at_once_and_a_stop_is_seen_before_what_comes_after_it(
    sshd: Sshd, clients: Clients
) -> None:
    pieces: list[bytes] = []
    stopped = threading.Event()

    def take(piece: bytes) -> None:
        pieces.append(piece)
        stopped.set()

    async with clients(sshd.config()).connect(sshd.host) as session:
        began = time.monotonic()
        end = await asyncio.to_thread(
            session.stream, ["sh", "-c", "echo one; sleep 600"], take, idle=60, stop=stopped.is_set
        )
        assert time.monotonic() - began < 30, "the stop waited for the command"
    assert (end.stopped, end.exit_status, pieces) == (True, None, [b"one\n"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=30), st.integers(1, 4000))
def test_what_is_fed_is_read_whatever_the_pieces(fed: list[bytes], at_most: int) -> None:
    pipe = Pieces()

    def feed() -> None:
        for data in fed:
            pipe.feed(data)
        pipe.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    out = []
    while piece := pipe.read(at_most, 10):
        assert len(piece) <= at_most
        out.append(piece)
    feeder.join()
    assert b"".join(out) == b"".join(fed)
    assert (len(pipe), pipe.read_ready(), pipe.read(1)) == (0, False, b"")


def test_nothing_in_time_is_told_and_much_is_not_waited_for() -> None:
    pipe = Pieces()
    with pytest.raises(PipeTimeout):
        pipe.read(10, 0.01)
    with pytest.raises(PipeTimeout):
        pipe.read(10, 0)
    pipe.feed(bytes(ENOUGH))
    assert len(pipe.read(2 * ENOUGH)) == ENOUGH
    told = threading.Event()
    pipe.feed(b"x")
    pipe.set_event(told)
    assert told.is_set()
    assert pipe.empty() == b"x"
    assert not told.is_set()
    pipe.close()
    assert told.is_set()
