"""A host with a dump, over an SSH server that we did not write: the helper's verbs on a real directory, with faults."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shlex
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import asyncssh

from commands.inventory import HostEntry
from integrations.ssh import SshConfig

STAMP = "202611230532"
_CHUNK = 64 * 1024


def dump_bytes(size: int, seed: int = 1) -> bytes:
    """A flattened dump of that size: header, random pages, end mark."""
    head = b"makedumpfile\0\0\0\0" + (1).to_bytes(8, "big") + (1).to_bytes(8, "big")
    body = random.Random(seed).randbytes(size - 4096 - 16)
    return head.ljust(4096, b"\0") + body + b"\xff" * 16


class DumpHost:
    """Listens on loopback. `calls` are the helper's argument lists, in order."""

    def __init__(self, folder: Path, *, name: str = "web-17", old: bool = False) -> None:
        self.folder = folder
        self.name = name
        self.old = old  # a helper without stat, stream and hash
        self.crash = folder / "crash" / STAMP
        self.crash.mkdir(parents=True)
        self.calls: list[tuple[str, ...]] = []
        self.cut_after: int | None = None  # bytes of a stream after which the connection is gone
        self.before_cut: Callable[[], None] = lambda: None
        self.hold_at: int | None = None  # bytes of a stream after which it waits for `go`
        self.fails: set[str] = set()  # verbs that end with an error
        self.at_stat: Callable[[], None] = lambda: None  # before the dump is looked at
        self.held = asyncio.Event()
        self.go = asyncio.Event()
        self.before_hash: Callable[[], Awaitable[str | None]] | None = None  # may give a digest of its own
        self.hashes = 0
        self.port = 0
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        key = asyncssh.generate_private_key("ssh-ed25519")
        (folder / "client_key").write_bytes(key.export_private_key())
        (folder / "client_key").chmod(0o600)
        self._client = key.export_public_key().decode()

    @property
    def dump(self) -> Path:
        return self.crash / f"dump.{STAMP}"

    @property
    def path(self) -> str:
        return f"{STAMP}/dump.{STAMP}"

    def streams(self) -> list[tuple[int, int]]:
        """(offset, length) of each stream that was asked for."""
        return [
            (int(c[2]), int(c[3])) for c in self.calls if c[0] in ("stream", "bytes") and int(c[3]) > 65536
        ]

    async def start(self) -> None:
        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_host_keys=[self._host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(self._client),
            process_factory=self._serve,
            encoding=None,
        )
        self.port = self._acceptor.sockets[0].getsockname()[1]
        public = self._host_key.export_public_key().decode().strip()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}\n")

    async def stop(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
            await self._acceptor.wait_closed()
            self._acceptor = None

    def entry(self, criticality: str = "normal") -> HostEntry:
        return HostEntry(name=self.name, address="127.0.0.1", port=self.port, criticality=criticality)

    def ssh(self) -> SshConfig:
        return SshConfig(
            user="triage",
            key_file=self.folder / "client_key",
            known_hosts=self.folder / "known_hosts",
            connect_timeout=5,
            batch=False,
            idle_seconds=0,
        )

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        argv = tuple(shlex.split(process.command or ""))
        if argv[:3] != ("sudo", "-n", "/usr/local/sbin/panicroom-host"):
            process.exit(127)
            return
        words = argv[3:]
        self.calls.append(words)
        try:
            process.exit(await self._help(process, words))
        except (asyncssh.Error, BrokenPipeError, ConnectionError):
            process.close()

    async def _help(self, process: asyncssh.SSHServerProcess[bytes], words: tuple[str, ...]) -> int:
        verb, rel = words[0], words[1] if len(words) > 1 else ""
        if verb == "list":
            process.stdout.write("".join(self._rows()).encode())
            return 0
        if self.old and verb in ("stat", "stream", "hash"):
            process.stderr.write(b"panicroom-host: usage: panicroom-host list | ...\n")
            return 64
        file = self.folder / "crash" / rel
        if not file.is_file():
            process.stderr.write(f"panicroom-host: no such file in the crash directory: {rel}\n".encode())
            return 1
        if verb == "stat":
            self.at_stat()
        size = file.stat().st_size
        if verb in self.fails:
            process.stderr.write(b"panicroom-host: input/output error\n")
            return 1
        if verb == "stat":
            found = file.stat()
            process.stdout.write(f"{size}\t{found.st_mtime_ns / 1e9:.9f}\t{found.st_ino}\n".encode())
            return 0
        if verb == "hash":
            self.hashes += 1
            own = await self.before_hash() if self.before_hash is not None else None
            digest = own or hashlib.sha256(file.read_bytes()).hexdigest()
            process.stdout.write(f"{digest}  {rel}\n".encode())
            return 0
        offset, length = {
            "head": lambda: (0, int(words[2])),
            "tail": lambda: (max(size - int(words[2]), 0), int(words[2])),
            "bytes": lambda: (int(words[2]), int(words[3])),
            "stream": lambda: (int(words[2]), int(words[3])),
        }[verb]()
        assert verb != "bytes" or length <= 64 * 1024 * 1024
        return await self._send(process, file, offset, length, stream=length > 65536)

    async def _send(
        self, process: asyncssh.SSHServerProcess[bytes], file: Path, offset: int, length: int, *, stream: bool
    ) -> int:
        sent = 0
        with file.open("rb") as source:
            source.seek(offset)
            while sent < length and (piece := source.read(min(_CHUNK, length - sent))):
                if stream and self.cut_after is not None and sent >= self.cut_after:
                    self.cut_after = None
                    await process.stdout.drain()
                    await self.cut_now()
                    process.channel.get_connection().abort()
                    return 255
                if stream and self.hold_at is not None and sent >= self.hold_at:
                    self.held.set()
                    await self.go.wait()
                process.stdout.write(piece)
                await process.stdout.drain()
                sent += len(piece)
        return 0

    async def cut_now(self) -> None:
        self.before_cut()

    def _rows(self) -> list[str]:
        rows = [f"{STAMP}\td\t4096\t{self.crash.stat().st_mtime:.10f}\n"]
        for file in sorted(self.crash.iterdir()):
            found = file.stat()
            rows.append(f"{STAMP}/{file.name}\tf\t{found.st_size}\t{found.st_mtime:.10f}\n")
        return rows


def occurred_at(host: DumpHost) -> datetime:
    return datetime.fromtimestamp(host.dump.stat().st_mtime - 60, UTC)
