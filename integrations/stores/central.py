"""The central store of dumps: numbered parts in a folder of their own, each with its sha256, and a manifest last.

    P-41-web-17-4f1c…/vmcore.part-000001
    P-41-web-17-4f1c…/vmcore.part-000002
    P-41-web-17-4f1c…/manifest.json       name, size and sha256 of all, and the parts

`cat vmcore.part-* > vmcore` puts it together again: the numbers have leading zeros. A folder without a manifest
is no copy.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from integrations.stores.errors import NotKept, StoreError, StoreFailed, StoreRefused, UnsafeName
from integrations.stores.places import (
    UNFINISHED,
    LocalPlace,
    Place,
    S3Access,
    SftpAddress,
    SftpLink,
    open_place,
    read_url,
    told,
)

MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_PART = re.compile(r"vmcore\.part-(\d{6,9})")


@dataclass(frozen=True)
class Part:
    """A part that stands whole in the store. `number` is from 1."""

    number: int
    size: int
    sha256: str


def part_name(number: int) -> str:
    return f"vmcore.part-{number:06d}"


class PartWriter:
    """One part on its way. Either `finish` or `abandon` it."""

    def __init__(self, place: Place, path: str, number: int) -> None:
        self._place = place
        self._path = path
        self._number = number
        self._digest = hashlib.sha256()
        self._open = True
        self.size = 0
        with told(path):
            self._file: Any = place.begin(path)

    def write(self, data: bytes | memoryview) -> None:
        with told(self._path):
            self._file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def finish(self) -> Part:
        """The part is in the store, on its disk, once this returns."""
        with told(self._path):
            self._place.finish(self._file, self._path)
        self._open = False
        return Part(self._number, self.size, self._digest.hexdigest())

    def abandon(self) -> None:
        """No effect on a part that was finished."""
        if self._open:
            self._open = False
            with told(self._path):
                self._place.discard(self._file, self._path)


class Shelf:
    """The store, opened for one copy: its folder. Blocking; closed by who opened it."""

    def __init__(self, place: Place, url: str, folder: str) -> None:
        if _NAME.fullmatch(folder) is None:
            raise UnsafeName(f"{folder[:60]!r} cannot be a name.")
        self._place = place
        self.folder = folder
        self.overlaps = place.overlaps
        self.url = f"{url.rstrip('/')}/{folder}"

    def make(self) -> None:
        """The folder is there, without what a killed process left half-written; to be called while nobody writes."""
        folder = self._place.path(self.folder)
        with told(self.url):
            self._place.make_folder(folder)
            for name in self._place.sizes(folder):
                if name.startswith(UNFINISHED):
                    self._place.fs.rm_file(posixpath.join(folder, name))

    def part(self, number: int) -> PartWriter:
        return PartWriter(self._place, self._place.path(self.folder, part_name(number)), number)

    def sizes(self) -> dict[int, int]:
        """The size of each part that stands there, by its number."""
        with told(self.url):
            found = self._place.sizes(self._place.path(self.folder))
        return {int(m[1]): size for name, size in found.items() if (m := _PART.fullmatch(name))}

    def read(self, number: int, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """A part's bytes as they stand in the store. Raises NotKept."""
        path = self._place.path(self.folder, part_name(number))
        with told(path):
            yield from self._place.chunks(path, start, length)

    def sign(self, number: int, seconds: int) -> str | None:
        """An address of a part, signed by the store for so long; None where the store makes none."""
        path = self._place.path(self.folder, part_name(number))
        with told(path):
            return self._place.sign(path, seconds)

    def write_manifest(self, data: bytes) -> None:
        """Written and read back: without it, the folder is no copy."""
        path = self._place.path(self.folder, MANIFEST)
        with told(path):
            _put(self._place, path, data)
            if b"".join(self._place.chunks(path)) != data:
                raise StoreFailed("the manifest reads back otherwise than it was written.")

    def read_manifest(self) -> bytes:
        """As it stands there, at most its first 16 MiB. Raises NotKept."""
        path = self._place.path(self.folder, MANIFEST)
        with told(path):
            return b"".join(self._place.chunks(path, 0, 16 * 1024 * 1024))

    def remove(self) -> None:
        """The folder with all that is in it; one that is not there is no error."""
        folder = self._place.path(self.folder)
        with told(self.url):
            for name in self._place.sizes(folder):
                self._place.fs.rm_file(posixpath.join(folder, name))
            try:
                self._place.remove_folder(folder)
            except FileNotFoundError:
                return

    def free(self) -> int | None:
        with told(self.url):
            return self._place.free()

    def close(self) -> None:
        self._place.close()


@dataclass(frozen=True)
class Probe:
    """What was found of a store by trying it."""

    free: int | None  # bytes
    mode: int | None  # of the directory, where it is one of this machine
    removes: bool  # whether what we wrote could be removed again


class CentralStore:
    """Where dumps go. `open` a shelf for each copy; everything blocks and belongs into a thread.

    `url`: `file:///srv/panics`, `sftp://user@host:port/srv/panics`, `s3://bucket/prefix`. `sftp` connects and verifies
    the host key: stores know no known_hosts. Raises BadStoreUrl.
    """

    def __init__(
        self, url: str, *, sftp: Callable[[SftpAddress], SftpLink], s3: S3Access | None = None
    ) -> None:
        self.kind, _ = read_url(url)
        self.url = url
        self._sftp = sftp
        self._s3 = s3 or S3Access()

    @contextmanager
    def open(self, folder: str) -> Iterator[Shelf]:
        """Raises a StoreError when the store cannot be reached or refuses us."""
        with self._place() as place:
            yield Shelf(place, self.url, folder)

    def probe(self) -> Probe:
        """Try what a copy needs: write a file, see it under its name, read it back, remove it. Raises a StoreError."""
        name = f"panicroom-doctor-{secrets.token_hex(6)}"
        body = secrets.token_bytes(4096)
        with self._place() as place, told(self.url):
            folder = place.path(name)
            place.make_folder(folder)
            path = place.path(name, "probe")
            _put(place, path, body[:1024])
            _put(place, path, body)  # a part that is sent again replaces the one that stands there
            if b"".join(place.chunks(path)) != body or place.sizes(folder) != {"probe": len(body)}:
                raise StoreFailed("what was written reads back otherwise.")
            try:
                with told(path):
                    place.fs.rm_file(path)
                    place.remove_folder(folder)
                removes = True
            except (StoreRefused, StoreFailed, NotKept):
                removes = False
            mode = None
            if isinstance(place, LocalPlace):
                mode = int(place.fs.info(place.root)["mode"]) & 0o7777
            return Probe(place.free(), mode, removes)

    @contextmanager
    def _place(self) -> Iterator[Place]:
        place = open_place(self.url, s3=self._s3, sftp=self._sftp)
        try:
            yield place
        finally:
            place.close()


def _put(place: Place, path: str, data: bytes) -> None:
    file = place.begin(path)
    try:
        file.write(data)
        place.finish(file, path)
    except (OSError, StoreError):
        place.discard(file, path)
        raise
