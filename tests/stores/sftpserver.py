"""An SFTP server that we did not write, on loopback, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import asyncssh

from integrations.ssh import SshConfig


class SftpServer:
    """`opened` are the names of the files that were opened; `room`: bytes until every write fails."""

    def __init__(self, folder: Path, *, room: int | None = None, seconds_a_write: float = 0.0) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.folder = folder
        self.room = room
        self.seconds_a_write = seconds_a_write
        self.opened: list[bytes] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        key = asyncssh.generate_private_key("ssh-ed25519")
        (folder / "client_key").write_bytes(key.export_private_key())
        (folder / "client_key").chmod(0o600)
        self._client = key.export_public_key().decode()
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        async def close() -> None:
            self._acceptor.close()
            await self._acceptor.wait_closed()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        served = self

        class Files(asyncssh.SFTPServer):
            def __init__(self, channel: Any) -> None:
                super().__init__(channel, chroot=str(served.root).encode())

            def open(self, path: bytes, pflags: int, attrs: Any) -> Any:
                served.opened.append(path)
                return super().open(path, pflags, attrs)

            async def write(self, file_obj: Any, offset: int, data: bytes) -> int:
                if served.seconds_a_write:
                    await asyncio.sleep(served.seconds_a_write)
                if served.room is not None:
                    served.room -= len(data)
                    if served.room < 0:
                        raise asyncssh.SFTPFailure("Failure")
                return int(super().write(file_obj, offset, data))

            def statvfs(self, path: bytes) -> Any:
                found = asyncssh.SFTPVFSAttrs.from_local(super().statvfs(path))
                if served.room is not None:
                    found.bavail = max(served.room, 0) // found.frsize
                return found

        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[self._host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(self._client),
            sftp_factory=Files,
        )
        self.port = self._acceptor.sockets[0].getsockname()[1]
        public = self._host_key.export_public_key().decode().strip()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}\n")

    def ssh(self) -> SshConfig:
        return SshConfig(
            user="store",
            key_file=self.folder / "client_key",
            known_hosts=self.folder / "known_hosts",
            connect_timeout=5,
        )
