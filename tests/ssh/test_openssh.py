"""Against a real OpenSSH server: what it verifies, we verify; what it refuses, we say."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from integrations.ssh import (
    AuthRefused,
    ConnectionLost,
    HostKeyChanged,
    HostKeyRevoked,
    HostKeyUnknown,
    HostUnreachable,
    KeyUnusable,
    SshClient,
    SshConfig,
    SshHost,
)
from tests.ssh.conftest import Sshd, free_port, keygen, public

Clients = Callable[[SshConfig], SshClient]


def fingerprint_of(sshd: Sshd) -> str:
    out = subprocess.run(
        ["ssh-keygen", "-lf", sshd.folder / "host_key.pub"], check=True, capture_output=True, text=True
    )
    return out.stdout.split()[1]


async def test_a_command_answers_with_both_streams_and_its_status(sshd: Sshd, clients: Clients) -> None:
    async with clients(sshd.config()).connect(sshd.host) as session:
        done = await session.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
        again = await session.run(["echo", "second"])
    assert (done.stdout, done.stderr, done.exit_status) == (b"out\n", b"err\n", 3)
    assert not done.ok
    assert again.ok
    assert again.text == "second\n"


@pytest.mark.parametrize("word", ["$(touch {0})", "; touch {0};", "a b", "'", '"', "*", "\n", "-n", "`id`"])
async def test_no_word_reaches_a_shell_unquoted(
    sshd: Sshd, clients: Clients, tmp_path: Path, word: str
) -> None:
    mark = tmp_path / "mark"
    argument = word.replace("{0}", str(mark))
    async with clients(sshd.config()).connect(sshd.host) as session:
        done = await session.run(["printf", "%s|", argument, "end"])
    assert done.stdout.decode() == f"{argument}|end|"
    assert not mark.exists()


def accepting(refusal: str) -> str:
    """The command in a refusal, as an admin would copy it."""
    return refusal.split("on the bot's machine: ")[1].split(" . ")[0]


async def test_an_unknown_key_is_refused_with_the_command_that_accepts_it(
    sshd: Sshd, clients: Clients, tmp_path: Path
) -> None:
    known = tmp_path / "it's known"
    client = clients(sshd.config(known_hosts=known))
    with pytest.raises(HostKeyUnknown) as refused:
        await client.open(sshd.host)
    said = str(refused.value)
    assert refused.value.permanent
    assert fingerprint_of(sshd) in said
    command = accepting(said)
    assert command.startswith("echo ")
    subprocess.run(["sh", "-c", command], check=True)
    assert known.read_text() == f"[db-3]:{sshd.port} {sshd.host_key}\n"
    async with client.connect(sshd.host) as session:
        assert (await session.run(["true"])).ok


@pytest.mark.parametrize("hashed", [False, True])
async def test_a_changed_key_is_refused_with_both_fingerprints_and_the_command_that_accepts_it(
    sshd: Sshd, clients: Clients, tmp_path: Path, hashed: bool
) -> None:
    keygen(tmp_path / "other")
    known = tmp_path / "known"
    known.write_text(
        f"db-4 {public(tmp_path / 'other')}\n[127.0.0.1]:{sshd.port} {public(tmp_path / 'other')}\n"
    )
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    client = clients(sshd.config(known_hosts=known))
    with pytest.raises(HostKeyChanged, match=re.escape(fingerprint_of(sshd))) as refused:
        await client.open(sshd.host)
    assert refused.value.permanent
    command = accepting(str(refused.value))
    assert command.startswith(f"ssh-keygen -R '[127.0.0.1]:{sshd.port}' -f {known} && echo ")
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    async with client.connect(sshd.host) as session:
        assert (await session.run(["true"])).ok
    assert len(known.read_text().splitlines()) == 2, "the other host's line is still there"


async def test_a_line_for_many_hosts_is_not_taken_out_by_a_command(
    sshd: Sshd, clients: Clients, tmp_path: Path
) -> None:
    keygen(tmp_path / "other")
    known = tmp_path / "known"
    known.write_text(f"[db-?]:{sshd.port} {public(tmp_path / 'other')}\n")
    with pytest.raises(HostKeyChanged) as refused:
        await clients(sshd.config(known_hosts=known)).open(sshd.host)
    said = str(refused.value)
    assert f"(first take the line of [db-?]:{sshd.port} out by hand)" in said
    assert "ssh-keygen -R" not in said


async def test_a_revoked_key_is_refused_though_it_is_known(
    sshd: Sshd, clients: Clients, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    known.write_text(f"@revoked * {sshd.host_key}\n[127.0.0.1]:{sshd.port} {sshd.host_key}\n")
    with pytest.raises(HostKeyRevoked):
        await clients(sshd.config(known_hosts=known)).open(sshd.host)


async def test_a_hashed_known_hosts_line_counts(sshd: Sshd, clients: Clients, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    assert "127.0.0.1" not in known.read_text()
    async with clients(sshd.config(known_hosts=known)).connect(sshd.host) as session:
        assert (await session.run(["true"])).ok


async def test_a_host_certificate_of_a_known_authority_is_enough(
    start_sshd: Callable[..., Sshd], clients: Clients, tmp_path: Path
) -> None:
    sshd = start_sshd(ca=True)
    known = tmp_path / "known"
    known.write_text(f"@cert-authority db-*,[127.0.0.1]:* {public(sshd.folder / 'ca')}\n")
    client = clients(sshd.config(known_hosts=known))
    async with client.connect(sshd.host) as session:
        assert (await session.run(["true"])).ok
    with pytest.raises(HostKeyUnknown, match="made out to db-3, not to web-1"):
        await client.open(SshHost("web-1", "127.0.0.1", sshd.port))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["-h", "-n", "db-3", "-V", "-2h:-1h"], "not valid at this time"),
        (["-n", "db-3", "-V", "-5m:+1h"], "a user's, not a host's"),
        (["-h", "-V", "-5m:+1h"], "made out to nobody"),
    ],
)
async def test_a_certificate_that_does_not_hold_is_refused(
    sshd: Sshd, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    import base64

    from integrations.ssh.host_certificate import problem_of
    from integrations.ssh.known_hosts import KnownHosts

    keygen(tmp_path / "ca")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", tmp_path / "ca", "-I", "x", *arguments, sshd.folder / "host_key.pub"],
        check=True,
    )
    blob = base64.b64decode((sshd.folder / "host_key-cert.pub").read_text().split()[1])
    known = KnownHosts.parse(f"@cert-authority * {public(tmp_path / 'ca')}\n")
    problem = problem_of(blob, ["db-3"], known.authorities_of(["db-3"], 22), time.time())
    assert problem is not None
    assert complaint in problem


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
async def test_a_certificate_bears_no_changed_byte(tmp_path: Path, kind: str) -> None:
    import base64

    from integrations.ssh.host_certificate import problem_of
    from integrations.ssh.known_hosts import KnownHosts

    keygen(tmp_path / "ca", kind=kind)
    keygen(tmp_path / "key", kind=kind)
    subprocess.run(
        ["ssh-keygen", "-q", "-s", tmp_path / "ca", "-I", "x", "-h", "-n", "db-3", "-V", "-5m:+1h",
         tmp_path / "key.pub"], check=True
    )  # fmt: skip
    blob = base64.b64decode((tmp_path / "key-cert.pub").read_text().split()[1])
    known = KnownHosts.parse(f"@cert-authority db-3 {public(tmp_path / 'ca')}\n")
    authorities = known.authorities_of(["db-3"], 22)
    now = time.time()
    assert problem_of(blob, ["db-3"], authorities, now) is None
    assert problem_of(blob, ["db-4"], authorities, now) is not None
    step = 31 if kind == "rsa" else 7
    for at in range(0, len(blob), step):
        changed = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        assert problem_of(changed, ["db-3"], authorities, now) is not None, at
    for cut in range(0, len(blob), 2 * step):
        assert problem_of(blob[:cut], ["db-3"], authorities, now) is not None, cut


async def test_our_certificate_logs_in_where_only_its_authority_is_known(
    start_sshd: Callable[..., Sshd], clients: Clients, tmp_path: Path
) -> None:
    authority = keygen(tmp_path / "user_ca")
    sshd = start_sshd(f"TrustedUserCAKeys {authority}.pub", authorized=False)
    with pytest.raises(AuthRefused):
        await clients(sshd.config()).open(sshd.host)
    key = sshd.folder / "client_key.pub"
    subprocess.run(
        ["ssh-keygen", "-q", "-s", authority, "-I", "bot", "-n", sshd.config().user, "-V", "-5m:+1h", key],
        check=True,
    )
    moved = tmp_path / "somewhere-cert.pub"
    (sshd.folder / "client_key-cert.pub").rename(moved)
    async with clients(sshd.config(certificate=moved)).connect(sshd.host) as session:
        assert (await session.run(["true"])).ok


async def test_the_agents_keys_log_in(sshd: Sshd, clients: Clients, tmp_path: Path) -> None:
    """The agent is asked for through SSH_AUTH_SOCK of the process, as paramiko does."""
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    before = os.environ.get("SSH_AUTH_SOCK")
    try:
        deadline = time.monotonic() + 45
        while not socket.exists():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        os.environ["SSH_AUTH_SOCK"] = str(socket)
        config = sshd.config(agent=True, key_file=None)
        with pytest.raises(KeyUnusable, match="holds no key"):
            await clients(config).open(sshd.host)
        subprocess.run(["ssh-add", "-q", sshd.folder / "client_key"], check=True, capture_output=True)
        async with clients(config).connect(sshd.host) as session:
            assert (await session.run(["true"])).ok
    finally:
        if before is None:
            os.environ.pop("SSH_AUTH_SOCK", None)
        else:
            os.environ["SSH_AUTH_SOCK"] = before
        agent.terminate()
        agent.wait(10)


async def test_a_refused_key_is_told_as_one(sshd: Sshd, clients: Clients, tmp_path: Path) -> None:
    keygen(tmp_path / "stranger")
    with pytest.raises(AuthRefused, match="refused") as refused:
        await clients(sshd.config(key_file=tmp_path / "stranger")).open(sshd.host)
    assert refused.value.permanent


async def test_a_key_with_a_passphrase_belongs_in_an_agent(
    sshd: Sshd, clients: Clients, tmp_path: Path
) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked"], check=True
    )
    with pytest.raises(KeyUnusable, match="agent"):
        await clients(sshd.config(key_file=tmp_path / "locked")).open(sshd.host)
    with pytest.raises(KeyUnusable):
        await clients(sshd.config(key_file=tmp_path / "missing")).open(sshd.host)
    with pytest.raises(KeyUnusable):
        await clients(sshd.config(key_file=None)).open(sshd.host)


async def test_a_host_that_is_down_is_a_passing_trouble(clients: Clients, sshd: Sshd) -> None:
    with pytest.raises(HostUnreachable) as down:
        await clients(sshd.config()).open(SshHost("gone", "127.0.0.1", free_port()))
    assert not down.value.permanent


@pytest.mark.parametrize("batch", [True, False])
async def test_a_time_out_ends_the_command_and_not_the_session(
    sshd: Sshd, clients: Clients, batch: bool
) -> None:
    async with clients(sshd.config(batch=batch)).connect(sshd.host) as session:
        for seconds in (1, 5, 25):  # a busy host may not have begun within the first
            done = await session.run(["sh", "-c", "echo began; exec sleep 300"], timeout=seconds)
            assert done.timed_out
            assert done.exit_status is None
            assert seconds * 0.9 <= done.seconds < seconds + 60
            if done.stdout:
                break
        assert done.stdout == b"began\n"
        assert (await session.run(["echo", "still here"])).text == "still here\n"


async def test_endless_output_stops_at_the_cap(sshd: Sshd, clients: Clients) -> None:
    async with clients(sshd.config()).connect(sshd.host) as session:
        done = await session.run(["cat", "/dev/zero"], timeout=60, cap=300_000)
        assert done.truncated
        assert len(done.stdout) == 300_000
        assert not done.timed_out
        loud = await session.run(["sh", "-c", "head -c 500000 /dev/zero >&2; echo end"], timeout=60)
        assert loud.text == "end\n"
        assert len(loud.stderr) == 64 * 1024


async def test_a_jump_host_is_gone_through_and_verified(
    start_sshd: Callable[..., Sshd], clients: Clients
) -> None:
    bastion, inner = start_sshd(name="bastion"), start_sshd(name="inner")
    # One key for both, as one configuration has.
    (bastion.folder / "authorized_keys").write_text(public(inner.folder / "client_key") + "\n")
    config = inner.config(jump=f"{inner.config().user}@127.0.0.1:{bastion.port}")
    with pytest.raises(HostKeyUnknown, match=str(bastion.port)):
        await clients(config).open(inner.host)
    with config.known_hosts.open("a") as known:
        known.write(f"[127.0.0.1]:{bastion.port} {bastion.host_key}\n")
    async with clients(config).connect(inner.host) as session:
        done = await session.run(["sh", "-c", "echo $SSH_CONNECTION"])
    assert done.text.split()[3] == str(inner.port)
    with pytest.raises(HostUnreachable):
        await clients(config).open(SshHost("gone", "127.0.0.1", free_port()))


async def test_a_jump_host_that_forwards_nothing_is_told(
    start_sshd: Callable[..., Sshd], clients: Clients
) -> None:
    bastion, inner = start_sshd("AllowTcpForwarding no", name="bastion"), start_sshd(name="inner")
    (bastion.folder / "authorized_keys").write_text(public(inner.folder / "client_key") + "\n")
    config = inner.config(jump=f"127.0.0.1:{bastion.port}")
    with config.known_hosts.open("a") as known:
        known.write(f"[127.0.0.1]:{bastion.port} {bastion.host_key}\n")
    with pytest.raises(HostUnreachable, match="prohibited"):
        await clients(config).open(inner.host)


async def test_many_commands_at_once_in_one_session(sshd: Sshd, clients: Clients) -> None:
    async with clients(sshd.config(hosts_at_once=4)).connect(sshd.host) as session:
        done = await asyncio.gather(*(session.run(["echo", str(n)]) for n in range(8)))
    assert [d.text.strip() for d in done] == [str(n) for n in range(8)]


async def test_a_cancelled_command_ends_at_once_and_disturbs_nobody_on_the_connection(
    sshd: Sshd, clients: Clients
) -> None:
    client = clients(sshd.config())
    session, other = await client.open(sshd.host), await client.open(sshd.host)
    assert client.most_connected == 1, "who wants the same host shares its connection"
    work = asyncio.create_task(session.run(["sleep", "300"], timeout=300))
    beside = asyncio.create_task(other.run(["sh", "-c", "read -r line < $0; echo $line", "/proc/self/stat"]))
    assert (await beside).ok
    work.cancel()
    async with asyncio.timeout(45):  # far less than the command's own time
        with pytest.raises(asyncio.CancelledError):
            await work
    assert (await other.run(["echo", "undisturbed"])).text == "undisturbed\n"
    session.close()
    assert not session.is_open
    with pytest.raises(ConnectionLost):
        await session.run(["true"])
    other.close()
