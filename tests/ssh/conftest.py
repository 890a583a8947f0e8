from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from integrations.ssh import SshClient, SshConfig, SshHost
from tests.support_ports import free_port

SSHD = Path("/usr/sbin/sshd")


def keygen(path: Path, *more: str, kind: str = "ed25519") -> Path:
    require("ssh-keygen", "openssh-client")
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path), *more], check=True)
    return path


def public(path: Path) -> str:
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


@dataclass
class Sshd:
    """A real OpenSSH server of this machine, with its own keys and configuration."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def host_key(self) -> str:
        return public(self.folder / "host_key")

    def config(self, **changes: object) -> SshConfig:
        known = self.folder / "known_hosts"
        if not known.exists():
            known.write_text(f"[127.0.0.1]:{self.port} {self.host_key}\n")
        values: dict[str, object] = {
            "user": getpass.getuser(),
            "key_file": self.folder / "client_key",
            "known_hosts": known,
            "connect_timeout": 10,
        }
        return SshConfig(**{**values, **changes})  # type: ignore[arg-type]

    @property
    def host(self) -> SshHost:
        return SshHost("db-3", "127.0.0.1", self.port)


def require(program: str, package: str) -> None:
    """A skip that says what to install, and under CI a failure."""
    if shutil.which(program) is not None:
        return
    hint = f"needs {program}: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(hint)
    pytest.skip(hint)


def require_sshd() -> None:
    require("ssh-keygen", "openssh-client")
    require(str(SSHD), "openssh-server")


@pytest.fixture
def start_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Starts sshd with extra lines of sshd_config; each is stopped at the end."""
    require_sshd()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    running: list[subprocess.Popen[bytes]] = []

    def start(*lines: str, name: str = "sshd", ca: bool = False, authorized: bool = True) -> Sshd:
        folder = tmp_path / name
        folder.mkdir()
        keygen(folder / "host_key")
        keygen(folder / "client_key")
        (folder / "authorized_keys").write_text(public(folder / "client_key") + "\n" if authorized else "")
        port = free_port()
        settings = [
            f"ListenAddress 127.0.0.1:{port}",
            f"HostKey {folder}/host_key",
            f"AuthorizedKeysFile {folder}/authorized_keys",
            f"PidFile {folder}/pid",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            *(line.replace("{port}", str(port)) for line in lines),
        ]
        if ca:
            keygen(folder / "ca")
            subprocess.run(
                ["ssh-keygen", "-q", "-s", folder / "ca", "-I", "db-3", "-h", "-n", "db-3", "-V", "-5m:+1h",
                 folder / "host_key.pub"],
                check=True,
            )  # fmt: skip
            settings.append(f"HostCertificate {folder}/host_key-cert.pub")
        (folder / "config").write_text("\n".join(settings) + "\n")
        log = (folder / "log").open("wb")
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "config"], stderr=log)
        running.append(process)
        deadline = time.monotonic() + 45
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, "sshd does not listen"
                time.sleep(0.02)  # waits for a condition with a deadline
        return Sshd(folder, port, process)

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


@pytest.fixture
def sshd(start_sshd: Callable[..., Sshd]) -> Sshd:
    return start_sshd()


@pytest.fixture
def clients() -> Iterator[Callable[[SshConfig], SshClient]]:
    made: list[SshClient] = []

    def make(config: SshConfig) -> SshClient:
        made.append(SshClient(config))
        return made[-1]

    yield make
    for client in made:
        client.close()


Handler = Callable[[asyncssh.SSHServerProcess[bytes]], Awaitable[None]]


@dataclass
class Stage:
    """An asyncssh server of ours, and the client's side of it."""

    port: int
    config: SshConfig
    server: asyncssh.SSHAcceptor

    @property
    def host(self) -> SshHost:
        return SshHost("stage", "127.0.0.1", self.port)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Stage]]]:
    """Starts asyncssh servers whose commands are played by the test's own coroutine."""
    servers: list[asyncssh.SSHAcceptor] = []

    async def start(handler: Handler | None, **options: object) -> Stage:
        folder = tmp_path / f"stage{len(servers)}"
        folder.mkdir()
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        client_key = asyncssh.generate_private_key("ssh-ed25519")
        client_key.write_private_key(folder / "key")
        authorized = asyncssh.import_authorized_keys(client_key.export_public_key().decode())
        given = {
            "server_host_keys": [host_key],
            "authorized_client_keys": authorized,
            "encoding": None,
            "process_factory": handler,
        }
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            **{**given, **options},  # type: ignore[arg-type]
        )
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        line = host_key.export_public_key().decode().split()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {line[0]} {line[1]}\n")
        config = SshConfig(
            user="triage",
            key_file=folder / "key",
            known_hosts=folder / "known_hosts",
            connect_timeout=5,
            batch=False,
        )
        return Stage(port, config, server)

    yield start
    for server in servers:
        server.close()
