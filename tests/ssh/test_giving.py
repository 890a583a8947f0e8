"""What is given to a command on its standard input: a key, which stands in no process list and in no audit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bot.demo.hosts import client_key
from bot.demo.hosts.answers import Answer
from bot.demo.hosts.sshd import HostPort, host_key
from integrations.ssh import SshClient, SshConfig, SshHost
from tests.ssh.conftest import Sshd

Clients = Callable[[SshConfig], SshClient]
KEY = b"drill key of this host\n"


async def test_a_command_reads_what_it_is_given_and_then_the_end(sshd: Sshd, clients: Clients) -> None:
    async with clients(sshd.config()).connect(sshd.host) as session:
        await session.run(["true"])  # a shell for commands in one go stands now; this is not for it
        done = await session.give(["cat"], KEY, timeout=45)
        words = await session.give(["sh", "-c", "tr '\\0' ' ' < /proc/$PPID/cmdline; cat"], KEY, timeout=45)
    assert (done.stdout, done.exit_status, done.argv) == (KEY, 0, ("cat",))
    assert words.stdout.endswith(KEY)
    assert words.stdout.count(b"drill key") == 1  # on its input, in no process's words


async def test_one_that_ends_unread_has_its_own_status_and_reason(sshd: Sshd, clients: Clients) -> None:
    async with clients(sshd.config()).connect(sshd.host) as session:
        for _ in range(20):  # it may have ended before or after it was given anything
            done = await session.give(["sh", "-c", "echo no drill host >&2; exit 1"], KEY * 2000, timeout=45)
            assert (done.exit_status, done.stderr) == (1, b"no drill host\n")
        assert (await session.run(["echo", "on"])).text == "on\n"


async def test_what_it_said_before_it_went_silent_is_told(sshd: Sshd, clients: Clients) -> None:
    """As a host does that crashes: it says so, and nothing more ever comes."""
    async with clients(sshd.config()).connect(sshd.host) as session:
        done = await session.give(["sh", "-c", "cat; exec sleep 600"], KEY, timeout=3)
    assert done.timed_out
    assert done.exit_status is None
    assert done.stdout == KEY


async def test_a_replayed_host_takes_what_it_is_given_once_and_whole(tmp_path: Path) -> None:
    given: list[tuple[str, bytes]] = []

    def take(command: str, text: bytes) -> Answer:
        given.append((command, text))
        return Answer(b"taken\n")

    key = host_key(tmp_path / "host_key")
    port = HostPort(
        "127.0.0.1",
        0,
        host_key=key,
        client_keys=client_key(tmp_path / "client_key"),
        answer=lambda command: Answer(f"replayed {command}\n".encode()),
        answer_input=take,
        reads_input=lambda command: command.startswith("take "),
    )
    await port.open()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port.port} {key.export_public_key().decode().strip()}\n")
    client = SshClient(
        SshConfig(user="triage", key_file=tmp_path / "client_key", known_hosts=known, connect_timeout=10)
    )
    try:
        async with client.connect(SshHost("web-3", "127.0.0.1", port.port)) as session:
            assert (await session.run(["uptime"])).text == "replayed uptime\n"
            assert (await session.give(["take", "it"], KEY, timeout=45)).text == "taken\n"
            assert (await session.give(["uptime"], KEY, timeout=45)).text == "replayed uptime\n"
            assert (await session.run(["uptime"])).text == "replayed uptime\n"
    finally:
        client.close()
        await port.close()
    assert given == [("take it", KEY)]
