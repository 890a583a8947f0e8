"""A directory on an SFTP server, over a connection whose host key was verified."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import paramiko
import structlog
from fsspec.implementations.sftp import SFTPFileSystem

from integrations.stores.errors import StoreRefused
from integrations.stores.places import READ, Fresh, Place, SftpAddress, SftpLink, beside, told

log = structlog.get_logger(__name__)

_LITTLE = 1024 * 1024  # bytes free on a server that is called full
_CMD_EXTENDED = 200  # draft-ietf-secsh-filexfer-02, section 8


class VerifiedSftp(SFTPFileSystem):  # type: ignore[misc]
    """fsspec's SFTP over a connection that we made: its own would accept any host key."""

    cachable = False

    def __init__(self, link: SftpLink, host: str) -> None:
        self._link = link
        super().__init__(host, host_key_policy="reject")

    def _connect(self) -> None:
        self.ftp = self._link.client


class SftpPlace(Place):
    """A directory on an SFTP server that is there already."""

    overlaps = False  # paramiko's client takes the answers to two threads for one another's

    def __init__(self, address: SftpAddress, link: SftpLink) -> None:
        self._link = link
        self.fs = VerifiedSftp(link, address.host)
        self.root = address.directory
        self._ftp = link.client
        channel = self._ftp.get_channel()
        if channel is not None:
            channel.settimeout(60.0)
        with told(address.directory):
            if not self.fs.isdir(self.root):
                raise StoreRefused(f"there is no directory {self.root} on {address.host}.")

    def make_folder(self, path: str) -> None:
        try:
            self._ftp.mkdir(path, 0o700)
        except OSError:
            # The protocol has no word for "is there already".
            if not self.fs.isdir(path):
                raise

    def begin(self, path: str) -> Any:
        fresh = beside(path)
        file = self._ftp.open(fresh, "wx")
        file.chmod(0o600)
        file.set_pipelined(True)  # without waiting for the answer to each 32 KiB
        return _Pipelined(file, fresh, self)

    def finish(self, file: Any, path: str) -> None:
        try:
            file.inner.flush()
            file.inner.set_pipelined(False)
            self._extension("fsync@openssh.com", file.inner.handle)
            file.inner.close()
            self._ftp.posix_rename(file.path, path)
        except OSError as error:
            raise self.full_or(error) from error

    def discard(self, file: Any, path: str) -> None:
        try:
            file.inner.close()
            self._ftp.remove(file.path)
        except (OSError, EOFError, paramiko.SSHException) as error:
            log.info("store.not_discarded", path=file.path, error=str(error))

    def free(self) -> int | None:
        answer = self._extension("statvfs@openssh.com", self.root)
        if answer is None:
            return None
        _bsize, frsize, _blocks, _bfree, bavail = (answer.get_int64() for _ in range(5))
        return int(frsize) * int(bavail)

    def chunks(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """1 MiB asked for at once: plain reads wait for the answer to each 32 KiB."""
        with self._ftp.open(path, "rb") as file:
            end = int(file.stat().st_size or 0) if length is None else start + length
            while start < end:
                piece = b"".join(file.readv([(start, min(READ, end - start))]))
                if not piece:
                    return
                yield piece
                start += len(piece)

    def sizes(self, folder: str) -> dict[str, int]:
        try:
            return {a.filename: int(a.st_size or 0) for a in self._ftp.listdir_attr(folder)}
        except FileNotFoundError:
            return {}

    def close(self) -> None:
        self._link.close()

    def full_or(self, error: OSError) -> OSError:
        """The protocol tells a full disk as "Failure"."""
        if error.errno is None and str(error).startswith("Failure"):
            free = self.free()
            if free is not None and free < _LITTLE:
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return error

    def _extension(self, name: str, *words: Any) -> Any:
        """OpenSSH's extensions; None where the server has them not (it answers "unsupported")."""
        try:
            _kind, answer = self._ftp._request(_CMD_EXTENDED, name, *words)
        except OSError as error:
            if "unsupported" in str(error).lower():
                return None
            raise
        return answer


@dataclass(frozen=True)
class _Pipelined(Fresh):
    """The answer to a write may come with a later one."""

    place: SftpPlace

    def write(self, data: bytes | memoryview) -> None:
        try:
            self.inner.write(data)
        except OSError as error:
            raise self.place.full_or(error) from error
