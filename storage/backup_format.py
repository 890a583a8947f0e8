"""The backup file: a zip archive of JSON lines, one part a table, and a manifest that vouches for each part.

`manifest.json` says which version took it of what and when; `panicroom/panic.jsonl` holds a row a line, as a JSON
array in the order of the manifest's columns. Values are numbers, texts and null: a truth is 0 or 1, an instant is
`YYYY-MM-DD HH:MM:SS.ffffff` in UTC, JSON stays the text that it was. So one file fits SQLite and PostgreSQL.

BackupError
├── BackupBroken     the file is not what its manifest says, or has none
├── BackupTooNew     a later version of Panicroom wrote it
└── BackupFailed     it could not be written or read
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FORMAT = 1
MANIFEST = "manifest.json"
_LEVEL = 1  # of deflate: a second level saves a tenth of the size for half of the speed
_BUFFER = 1024 * 1024
_MARK = b"panicroom-backup sha256:"  # before the manifest's own sum, in the archive's comment
_LARGEST_MANIFEST = 16 * 1024 * 1024

Value = int | float | str | None
Row = list[Value]


class BackupError(Exception):
    """The backup could not be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class BackupBroken(BackupError):
    """The backup file is broken. Use another one."""


class BackupTooNew(BackupError):
    """The backup was taken by a newer version of Panicroom. Restore it with that version."""


class BackupFailed(BackupError):
    """The backup could not be written or read."""


@dataclass(frozen=True)
class Part:
    """One table. `bytes` and `sha256` are of its lines, before they are compressed."""

    database: str  # panicroom, workflows
    table: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.database}/{self.table}.jsonl"


@dataclass(frozen=True)
class Manifest:
    """What the file holds. `revision` is the schema's, `workflows_revision` that of DBOS's own (None: no such part)."""

    version: str
    taken_at: datetime
    source: str  # sqlite, postgresql
    revision: str
    workflows_revision: int | None
    newest_report: int
    artefacts: int  # files of the store that the tables name; they are not in the backup
    artefact_bytes: int
    parts: tuple[Part, ...] = field(default=())

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self), "taken_at": self.taken_at.astimezone(UTC).isoformat()}


class BackupWriter:
    """Fills one file: `table()` for each, then `finish()`. Made beside its place and linked into it at the end."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.parts: list[Part] = []
        self._fresh = target.with_name(f".unfinished-{secrets.token_hex(8)}")
        self._file = os.fdopen(os.open(self._fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)

    def table(self, database: str, table: str, columns: Iterable[str], rows: Iterable[Row]) -> Part:
        digest, size, count = hashlib.sha256(), 0, 0
        buffer = bytearray()
        encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        with self._zip.open(f"{database}/{table}.jsonl", "w", force_zip64=True) as out:
            for row in rows:
                buffer += encode(row).encode()
                buffer += b"\n"
                count += 1
                if len(buffer) >= _BUFFER:
                    digest.update(buffer)
                    size += len(buffer)
                    out.write(buffer)
                    buffer.clear()
            digest.update(buffer)
            size += len(buffer)
            out.write(buffer)
        part = Part(database, table, tuple(columns), count, size, digest.hexdigest())
        self.parts.append(part)
        return part

    def finish(self, manifest: Manifest) -> int:
        """The file's size. Raises FileExistsError when somebody has made the target meanwhile."""
        raw = json.dumps(manifest.as_json(), indent=1).encode()
        self._zip.writestr(MANIFEST, raw)
        self._zip.comment = _MARK + hashlib.sha256(raw).hexdigest().encode()
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        size = os.fstat(self._file.fileno()).st_size
        self._file.close()
        _place(self._fresh, self.target)
        _sync(self.target.parent)
        return size

    def abandon(self) -> None:
        """Leaves nothing behind. Harmless after `finish`."""
        if not self._file.closed:
            self._file.close()
        self._fresh.unlink(missing_ok=True)


def _place(fresh: Path, target: Path) -> None:
    """A link is made only where there is nothing; file systems without links are asked first."""
    try:
        os.link(fresh, target)
    except FileExistsError:
        raise
    except OSError:
        if target.exists():
            raise FileExistsError(17, "File exists", str(target)) from None
        fresh.rename(target)
    fresh.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class BackupReader:
    """A backup that was opened, its manifest checked. `verify()` reads all of it; then `rows()` may be trusted."""

    def __init__(self, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self._archive = archive
        self.manifest = manifest

    def verify(self) -> None:
        """Raises BackupBroken, which names the first part that is not as it was written."""
        for part in self.manifest.parts:
            digest, rows, size = hashlib.sha256(), 0, 0
            try:
                with self._archive.open(part.name) as file:
                    while piece := file.read(_BUFFER):
                        digest.update(piece)
                        rows += piece.count(b"\n")
                        size += len(piece)
            except (
                zipfile.BadZipFile,
                zlib.error,
                KeyError,
                EOFError,
                OSError,
                NotImplementedError,
            ) as error:
                raise BackupBroken(
                    f"its part {part.name} cannot be read: {error}. Use another backup."
                ) from error
            if (digest.hexdigest(), rows, size) != (part.sha256, part.rows, part.bytes):
                raise BackupBroken(
                    f"its part {part.name} is not what was written: {rows} rows, {size} bytes; "
                    f"the manifest says {part.rows} rows, {part.bytes} bytes and another sum. Use another backup."
                )

    def rows(self, part: Part) -> Iterator[Row]:
        width = len(part.columns)
        with self._archive.open(part.name) as file:
            for line in file:
                row = json.loads(line)
                if not isinstance(row, list) or len(row) != width:
                    raise BackupBroken(f"its part {part.name} holds a row that is none. Use another backup.")
                yield row


@contextmanager
def open_backup(path: Path) -> Iterator[BackupReader]:
    """Raises BackupBroken, BackupTooNew, and OSError when the file cannot be opened."""
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, OSError) as error:
            raise BackupBroken(
                f"it is no backup, or its end is missing ({error}). Use another backup."
            ) from error
        with archive:
            yield BackupReader(archive, _manifest(archive))


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    try:
        if archive.getinfo(MANIFEST).file_size > _LARGEST_MANIFEST:
            raise BackupBroken(f"its {MANIFEST} is too large. Use another backup.")
        raw = archive.read(MANIFEST)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise BackupBroken(f"its {MANIFEST} cannot be read: {error}. Use another backup.") from error
    if archive.comment != _MARK + hashlib.sha256(raw).hexdigest().encode():
        raise BackupBroken(f"its {MANIFEST} is not what was written. Use another backup.")
    try:
        told = json.loads(raw)
        if told["format"] != FORMAT:
            raise BackupTooNew(
                f"its format is {told['format']}, this version reads {FORMAT}. Use that version."
            )
        parts = tuple(
            Part(**{**part, "columns": tuple(map(str, part["columns"]))}) for part in told.pop("parts")
        )
        del told["format"]
        taken = datetime.fromisoformat(told.pop("taken_at"))
        return Manifest(**told, taken_at=taken, parts=parts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupBroken(f"its {MANIFEST} cannot be understood: {error}. Use another backup.") from error
