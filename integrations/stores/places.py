"""The kinds of places that a central store can be: a directory (NFS mounts, too), an SFTP server, a bucket.

Each is an fsspec filesystem with what fsspec leaves open: a file stands whole under its name or not at all, what was
written is on the disk, nothing is world-readable, and an SFTP server's host key is verified before a byte goes there.
"""

from __future__ import annotations

import errno
import os
import posixpath
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

import paramiko
import structlog
from fsspec.implementations.local import LocalFileSystem

from integrations.stores.errors import (
    BadStoreUrl,
    NotKept,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreRefused,
    StoreUnreachable,
)

log = structlog.get_logger(__name__)

UNFINISHED = ".unfinished-"
READ = 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_S3_FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"})


@dataclass(frozen=True)
class SftpAddress:
    """Where an SFTP store is; `user` and `port` are None where the URL names none."""

    host: str
    port: int | None
    user: str | None
    directory: str


class SftpLink(Protocol):
    """A connection whose host key was verified."""

    @property
    def client(self) -> paramiko.SFTPClient: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class S3Access:
    """How a bucket is reached; what is None is found as the AWS tools find it (environment, profile, instance role)."""

    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raises what went wrong as a StoreError: full, refused, unreachable, or failed."""
    try:
        yield
    except StoreError:
        raise
    except (paramiko.SSHException, EOFError) as error:
        raise StoreUnreachable(f"{what}: {_words(error)}.") from error
    except OSError as error:
        raise _of_os(what, error) from error
    except Exception as error:
        # botocore's own errors; to name their classes would load it where there is no bucket.
        if not any(base.__module__ == "botocore.exceptions" for base in type(error).__mro__):
            raise
        if "Credentials" in type(error).__name__:
            raise StoreRefused(f"{what}: {_words(error)}.") from error
        raise StoreUnreachable(f"{what}: {_words(error)}.") from error


def _of_os(what: str, error: OSError) -> StoreError:
    said = f"{what}: {_words(error)}."
    answer = getattr(error.__cause__, "response", None)
    code = str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""
    if error.errno in _FULL or code in _S3_FULL:
        return StoreFull(said)
    if isinstance(error, PermissionError) or error.errno in _REFUSED:
        return StoreRefused(said)
    if isinstance(error, FileNotFoundError) and code != "NoSuchBucket":
        return NotKept(f"{what} is not in the store.")
    if code == "NoSuchBucket":
        return StoreRefused(said)
    if isinstance(error, (ConnectionError, TimeoutError)) or code:
        return StoreUnreachable(said)
    return StoreFailed(said)


class Place(ABC):
    """An open place; one for each copy, closed by who opened it. Blocking."""

    fs: Any  # an fsspec filesystem: the library has no types
    root: str
    overlaps = True  # whether one file can be finished in a thread while the next is written in another

    def path(self, *names: str) -> str:
        return posixpath.join(self.root, *names)

    @abstractmethod
    def begin(self, path: str) -> Any:
        """A file to write, which stands under `path` once `finish` was called and never before."""

    @abstractmethod
    def finish(self, file: Any, path: str) -> None: ...

    @abstractmethod
    def discard(self, file: Any, path: str) -> None:
        """Nothing of the file stays, as far as that can be had: a part that is written anew replaces it."""

    @abstractmethod
    def free(self) -> int | None:
        """Bytes that we may still write; None where nobody can say."""

    def make_folder(self, path: str) -> None:
        self.fs.makedirs(path, exist_ok=True)

    def remove_folder(self, path: str) -> None:
        self.fs.rmdir(path)

    def chunks(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The file's bytes, in pieces of at most 1 MiB."""
        with self.fs.open(path, "rb") as file:
            file.seek(start)
            left = length
            while left is None or left > 0:
                piece = file.read(READ if left is None else min(left, READ))
                if not piece:
                    return
                yield piece
                left = None if left is None else left - len(piece)

    def sizes(self, folder: str) -> dict[str, int]:
        """The size of each file in a folder by its name; {} when there is no such folder."""
        try:
            rows = self.fs.ls(folder, detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        return {posixpath.basename(str(r["name"])): int(r["size"] or 0) for r in rows if r["type"] == "file"}

    def sign(self, path: str, seconds: int) -> str | None:
        """An address at which anybody may read the file for so long; None where the store makes none."""
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Gives the connection back."""


# -- a directory --------------------------------------------------------------------------------------------


class _PrivateFiles(LocalFileSystem):  # type: ignore[misc]
    """The local filesystem with files of mode 0600 in folders of mode 0700."""

    cachable = False

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **more: Any) -> Any:
        if mode != "wb":
            return super()._open(path, mode, block_size, **more)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


class LocalPlace(Place):
    """A directory that is there already: a mount that is missing must not be written beside."""

    def __init__(self, directory: str) -> None:
        self.fs = _PrivateFiles()
        self.root = directory
        if not Path(directory).is_dir():
            raise StoreRefused(f"there is no directory {directory} (is it mounted?).")

    def make_folder(self, path: str) -> None:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            return
        _sync_folder(posixpath.dirname(path))

    def begin(self, path: str) -> Any:
        return Fresh(self.fs.open(fresh := beside(path), "wb"), fresh)

    def finish(self, file: Any, path: str) -> None:
        file.inner.flush()
        os.fsync(file.inner.fileno())
        file.inner.close()
        os.replace(file.path, path)
        _sync_folder(posixpath.dirname(path))

    def discard(self, file: Any, path: str) -> None:
        # What is still in Python's buffer would be written by `close`: on a full disk that fails, too.
        try:
            file.inner.close()
        except OSError as error:
            log.info("store.discarded", path=file.path, error=str(error))
        Path(file.path).unlink(missing_ok=True)

    def free(self) -> int | None:
        room = os.statvfs(self.root)
        return room.f_bavail * room.f_frsize


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Fresh:
    """A file that is being written under another name, beside its own."""

    inner: Any
    path: str

    def write(self, data: bytes | memoryview) -> None:
        self.inner.write(data)


def beside(path: str) -> str:
    return posixpath.join(posixpath.dirname(path), f"{UNFINISHED}{secrets.token_hex(8)}")


# -- URLs ---------------------------------------------------------------------------------------------------


def open_place(url: str, *, s3: S3Access, sftp: Callable[[SftpAddress], SftpLink]) -> Place:
    """Raises a StoreError: unreachable, refused, or an URL that cannot be one."""
    kind, rest = read_url(url)
    if kind == "file":
        return LocalPlace(cast("str", rest))
    if kind == "s3":
        # Here and not above: s3fs takes longer to load than the rest of the bot's stores together.
        from integrations.stores.bucket import S3Place

        with told(url):
            return S3Place(cast("str", rest), s3)
    from integrations.stores.sftp import SftpPlace

    address = cast("SftpAddress", rest)
    link = sftp(address)
    try:
        return SftpPlace(address, link)
    except BaseException:
        link.close()
        raise


def read_url(url: str) -> tuple[str, str | SftpAddress]:
    """("file", directory), ("s3", "bucket/prefix") or ("sftp", address). Raises BadStoreUrl."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadStoreUrl(f"{url[:80]!r} is no URL.") from error
    path = posixpath.normpath(unquote(parts.path)) if parts.path else ""
    if parts.query or parts.fragment or parts.password is not None or "\x00" in path:
        raise BadStoreUrl("no password, question mark or hash belongs into it.")
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and path.startswith("/") and path != "/":
        return "file", path
    if parts.scheme == "sftp" and parts.hostname and path.startswith("/") and path != "/":
        return "sftp", SftpAddress(parts.hostname, port, parts.username, path)
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc and port is None:
        return "s3", f"{parts.netloc}{path}".rstrip("/")
    raise BadStoreUrl(f"{url[:80]!r} is none.")


def _words(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:300]
