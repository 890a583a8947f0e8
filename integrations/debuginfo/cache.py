"""What debuginfod gave, kept for the next dump of the same build, within a bound."""

from __future__ import annotations

import os
import re
import secrets
import time
from pathlib import Path

from integrations.debuginfo.elf import read_elf
from integrations.debuginfo.errors import TooLarge, WrongFile
from integrations.debuginfo.local import unfit

_BUILD_ID = re.compile(r"[0-9a-f]{16,128}")
_PART = ".part-"
_OLD_PART = 86400.0  # seconds: nothing is fetched for longer


class Cache:
    """A directory of `BUILDID.debug`; `limit` in bytes. What was used longest ago goes first. Blocking."""

    def __init__(self, directory: Path, limit: int) -> None:
        self.directory = directory
        self.limit = limit

    def find(self, build_id: str) -> Path | None:
        """A file that is kept and still is what it was; one that is not is removed."""
        path = self._place(build_id)
        if not path.is_file():
            return None
        try:
            fits = unfit(read_elf(path), build_id) is None
        except WrongFile:
            fits = False
        if not fits:
            path.unlink(missing_ok=True)
            return None
        os.utime(path)
        return path

    def begin(self, build_id: str) -> Path:
        """Where a file is written to until it is whole."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.directory / f"{_PART}{self._place(build_id).name}-{secrets.token_hex(4)}"

    def keep(self, part: Path, build_id: str) -> Path:
        """Takes a finished file in. Raises WrongFile when it is not that build's; it is removed then."""
        try:
            why = unfit(read_elf(part), build_id)
            if why is not None:
                raise WrongFile(f"what the server sent {why}.")
            size = part.stat().st_size
            if size > self.limit:
                raise TooLarge(f"it has {size} bytes, the cache may hold {self.limit}.")
            self._make_room(size, build_id)
            place = self._place(build_id)
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
        return place

    def size(self) -> int:
        return sum(p.stat().st_size for p in self._files())

    def _make_room(self, needed: int, keep: str) -> None:
        files = sorted(((p.stat().st_mtime, p) for p in self._files()), key=lambda f: f[0])
        total = sum(p.stat().st_size for _, p in files)
        for _, path in files:
            if total + needed <= self.limit:
                break
            if path != self._place(keep):
                total -= path.stat().st_size
                path.unlink(missing_ok=True)  # a tool that reads it goes on with it

    def _files(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        now = time.time()
        for part in self.directory.glob(f"{_PART}*"):
            if now - part.stat().st_mtime > _OLD_PART:
                part.unlink(missing_ok=True)
        return list(self.directory.glob("*.debug"))

    def _place(self, build_id: str) -> Path:
        if _BUILD_ID.fullmatch(build_id) is None:
            raise WrongFile(f"{build_id[:60]!r} is no build id.")
        return self.directory / f"{build_id}.debug"
