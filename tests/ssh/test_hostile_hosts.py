"""Hosts that mean us harm, or are half dead: memory and time stay bounded, and the error says what it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh
import pytest

from integrations.ssh import BadAddress, ConnectionLost, HostUnreachable, SshClient, SshConfig, SshHost
from tests.ssh.conftest import Stage

Stages = Callable[..., Awaitable[Stage]]
Clients = Callable[[SshConfig], SshClient]


async def test_the_command_line_is_quoted_word_by_word(stage: Stages, clients: Clients) -> None:
    heard: list[str | None] = []

    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        heard.append(process.command)
        process.stdout.write(b"fine")
        process.exit(0)

    there = await stage(answer)
    async with clients(there.config).connect(there.host) as session:
        done = await session.run(["cat", "a b", "$HOME;id", "it's"])
    assert heard == ["""cat 'a b' '$HOME;id' 'it'"'"'s'"""]
    assert done.ok


async def test_a_stream_without_end_is_cut_and_the_rest_is_not_kept(stage: Stages, clients: Clients) -> None:
    async def flood(process: asyncssh.SSHServerProcess[bytes]) -> None:
        try:
            while True:
                process.stdout.write(b"\xff\x00<!channel>" * 4096)
                await process.stdout.drain()
        except (asyncssh.BreakReceived, BrokenPipeError, ConnectionError, asyncssh.Error):
            return

    there = await stage(flood)
    async with clients(there.config).connect(there.host) as session:
        done = await session.run(["dmesg"], timeout=30, cap=100_000)
    assert done.truncated
    assert len(done.stdout) == 100_000
    assert done.exit_status is None


async def test_a_command_that_never_ends_and_never_speaks_times_out(stage: Stages, clients: Clients) -> None:
    killed = asyncio.Event()

    async def sulk(process: asyncssh.SSHServerProcess[bytes]) -> None:
        try:
            await process.stdin.read()
        except asyncssh.SignalReceived as signal:
            if signal.signal == "KILL":
                killed.set()

    there = await stage(sulk)
    async with clients(there.config).connect(there.host) as session:
        done = await session.run(["df"], timeout=0.5)
        await asyncio.wait_for(killed.wait(), 45)
    assert done.timed_out
    assert done.exit_status is None


async def test_a_stream_that_drips_does_not_outlive_the_time_out(stage: Stages, clients: Clients) -> None:
    async def drip(process: asyncssh.SSHServerProcess[bytes]) -> None:
        for _ in range(2000):
            process.stdout.write(b".")
            await asyncio.sleep(0.05)

    there = await stage(drip)
    async with clients(there.config).connect(there.host) as session:
        done = await session.run(["dmesg"], timeout=1)
    assert done.timed_out
    assert done.stdout.strip(b".") == b""
    assert 1 <= done.seconds < 60  # it drips for 100 s


async def test_a_command_killed_by_a_signal_has_no_status(stage: Stages, clients: Clients) -> None:
    async def die(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(b"half")
        process.exit_with_signal("KILL")

    there = await stage(die)
    async with clients(there.config).connect(there.host) as session:
        done = await session.run(["dmesg"], timeout=20)
    assert done.stdout == b"half"
    assert done.exit_status is None
    assert not done.ok


async def test_a_connection_that_breaks_in_mid_command_is_told(stage: Stages, clients: Clients) -> None:
    async def vanish(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(b"last words")
        await asyncio.sleep(0.1)
        process.channel.get_connection().abort()

    there = await stage(vanish)
    async with clients(there.config).connect(there.host) as session:
        with pytest.raises(ConnectionLost) as lost:
            await session.run(["dmesg"], timeout=20)
        assert not lost.value.permanent
        with pytest.raises(ConnectionLost):
            await session.run(["dmesg"], timeout=20)


async def test_sessions_that_are_refused_are_a_lost_connection(stage: Stages, clients: Clients) -> None:
    class Full(asyncssh.SSHServer):
        def session_requested(self) -> Any:
            return False

    there = await stage(None, server_factory=Full)
    async with clients(there.config).connect(there.host) as session:
        with pytest.raises(ConnectionLost, match="no session"):
            await session.run(["dmesg"], timeout=5)


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-x\r\n" + b"\xff" * 4096,
        b"\x00" * 100_000,
        b"A" * 70_000,
    ],
)
async def test_a_port_that_does_not_speak_ssh(greeting: bytes, clients: Clients) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        try:
            await writer.drain()
            await reader.read()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        started = time.monotonic()
        with pytest.raises(HostUnreachable) as failed:
            await clients(SshConfig(connect_timeout=1)).open(SshHost("odd", "127.0.0.1", port))
        assert not failed.value.permanent
        assert time.monotonic() - started < 45
    finally:
        server.close()


@pytest.mark.parametrize("name", ["-oProxyCommand=id", "a b", "a;b", "", "$(id)", "x" * 400, "a\nb", "ho/st"])
async def test_a_host_name_that_is_no_name_is_refused_before_any_connection(
    name: str, clients: Clients
) -> None:
    with pytest.raises(BadAddress):
        await clients(SshConfig()).open(SshHost(name))


async def test_the_event_loop_stays_free_while_hosts_hang(stage: Stages, clients: Clients) -> None:
    heard, ticked = 0, asyncio.Event()

    async def sulk(process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Answers once the loop has turned for a while; a blocking call in it would run into its time-out."""
        nonlocal heard
        heard += 1
        await ticked.wait()
        process.exit(0)

    there = await stage(sulk)
    async with clients(there.config).connect(there.host) as session:
        hanging = asyncio.gather(*(session.run(["df"], timeout=45) for _ in range(3)))
        while heard < 3 and not hanging.done():
            await asyncio.sleep(0.01)
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert not hanging.done(), "a blocking call ran in the event loop"
        ticked.set()
        assert [d.exit_status for d in await hanging] == [0, 0, 0]


async def test_a_host_that_falls_silent_at_login_is_one_to_try_again(stage: Stages, clients: Clients) -> None:
    class Silent(asyncssh.SSHServer):
        async def begin_auth(self, username: str) -> bool:
            await asyncio.sleep(20)
            return True

    there = await stage(None, server_factory=Silent)
    config = there.config.model_copy(update={"connect_timeout": 1.0})
    with pytest.raises(HostUnreachable) as failed:
        await clients(config).open(there.host)
    assert not failed.value.permanent


async def test_a_host_that_hangs_up_at_login_is_one_to_try_again(stage: Stages, clients: Clients) -> None:
    class Rude(asyncssh.SSHServer):
        connection: asyncssh.SSHServerConnection

        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self.connection = conn

        def begin_auth(self, username: str) -> bool:
            self.connection.abort()
            return True

    there = await stage(None, server_factory=Rude)
    with pytest.raises(HostUnreachable) as failed:
        await clients(there.config).open(there.host)
    assert not failed.value.permanent
