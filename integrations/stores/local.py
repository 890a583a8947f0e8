"""Artefacts in a local directory: written beside their place, synced to the disk, then renamed into it.

A name is there with all of its bytes or not at all, whatever is killed or loses power meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from integrations.stores.errors import NotKept, StoreFailed, UnsafeName

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class Stored:
    """A kept artefact. `path` is relative to the store, with `/` between its parts."""

    path: str
    sha256: str
    size: int


class LocalStore:
    """A directory of artefacts. What is in it is unredacted: 0700 for folders, 0600 for files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, parts: Sequence[str], data: bytes | Iterable[bytes]) -> Stored:
        """Keep `data` as `parts[0]/…/parts[-1]`; what stood there before is replaced. Blocking.

        Raises UnsafeName before anything is written, StoreFailed when the disk does not take it.
        """
        target = self._place("/".join(parts))
        chunks = (data,) if isinstance(data, bytes) else data
        fresh = target.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
        digest, size = hashlib.sha256(), 0
        try:
            self._make_folders(target.parent)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise StoreFailed(f"{target.name}: {error.strerror or error}.") from error
        finally:
            # Why it was not taken is what counts; `clear_unfinished` finds what cannot be unlinked now.
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
        return Stored("/".join(parts), digest.hexdigest(), size)

    def path(self, relative: str) -> Path:
        """Where an artefact lies. Raises NotKept when it is not there, UnsafeName for a path that leads out."""
        place = self._place(relative)
        if place.is_symlink() or not place.is_file():
            raise NotKept(f"{relative[:200]} is not in the store.")
        return place

    def read(self, relative: str) -> bytes:
        return self.path(relative).read_bytes()

    def verify(self, relative: str, sha256: str) -> bool:
        """Whether the artefact still has the bytes it was kept with."""
        digest = hashlib.sha256()
        with self.path(relative).open("rb") as file:
            while chunk := file.read(1024 * 1024):
                digest.update(chunk)
        return digest.hexdigest() == sha256

    def remove_folder(self, parts: Sequence[str]) -> None:
        """Remove a folder's files and the folder; one that is not there is no error. It must hold no folders."""
        folder = self._place("/".join(parts))
        if folder.is_symlink() or not folder.is_dir():
            return
        try:
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
            folder.rmdir()
        except OSError as error:
            raise StoreFailed(f"{folder.name} could not be removed: {error.strerror or error}.") from error

    def clear_unfinished(self) -> int:
        """Remove what a killed process left half-written; to be called while nobody writes. Returns how many."""
        left = [p for p in self.root.rglob(f"{_UNFINISHED}*") if p.is_file() and not p.is_symlink()]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def _place(self, relative: str) -> Path:
        parts = relative.split("/")
        for part in parts:
            if _NAME.fullmatch(part) is None:
                raise UnsafeName(f"{part[:60]!r} cannot be a name.")
        return self.root.joinpath(*parts)

    def _make_folders(self, folder: Path) -> None:
        """Each missing folder is made private, and its entry in its parent is synced."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
