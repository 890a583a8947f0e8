"""Archives of crash directories in the families' layouts, made of what real hosts left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from bot.demo.hosts.captures import Capture, load
from bot.importing import Importer, Tally
from commands.inventory import HostEntry, Inventory
from storage import Database

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def dmesg_of(case: str) -> str:
    return next(text for name, text in load(case).crash_files.items() if "dmesg" in name)


def put(path: Path, data: str | bytes = b"", at: float = 1795412000.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    os.utime(path, (at, at))
    return path


def put_dump(path: Path, capture: Capture, at: float = 1795412000.0) -> Path:
    """A dump of its real size, with its real ends; between them a hole."""
    ends = next(iter(capture.dumps.values()))
    size = next(e.size for e in capture.listing if e.path in capture.dumps)
    put(path, ends.head)
    with path.open("r+b") as file:
        file.seek(size - len(ends.tail))
        file.write(ends.tail)
    os.utime(path, (at, at))
    return path


class Archive:
    """A folder to put crash directories in, and a database to import them into."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "archive"
        self.root.mkdir()
        self.url = f"sqlite:///{folder}/panicroom.db"
        self.db = Database(self.url)
        SQLModel.metadata.create_all(self.db.engine)
        self.now = NOW

    def bring(
        self,
        where: Path | None = None,
        *,
        host: str | None = None,
        dry_run: bool = False,
        batch: int = 100,
        hosts: tuple[HostEntry, ...] = (),
    ) -> Tally:
        return Importer(
            self.db, Inventory(hosts), host=host, dry_run=dry_run, batch=batch, clock=lambda: self.now
        ).run(where or self.root)

    def later(self, **length: float) -> None:
        self.now += timedelta(**length)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(tmp_path)
    yield made
    made.db.close()
