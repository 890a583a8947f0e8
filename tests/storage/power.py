"""A process whose SQLite writes down each write and fsync, and the files as a power cut would leave them.

    python -m tests.storage.power FOLDER FULL|NORMAL   stores reports in FOLDER/bot.db, and the record in FOLDER/record

The recorder is a VFS in front of SQLite's own: the process does what it always does, with the bot's engine,
migrations and inbox.
"""

from __future__ import annotations

import asyncio
import ctypes
import pickle
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import event

REPORTS = 48
_SECTOR = 512  # bytes that a disk writes whole or not at all


@dataclass(frozen=True)
class Op:
    """`kind`: write, truncate, sync, delete, folder (fsync of it), begun (reports are about to be stored), ack.

    `size`: of truncate; of delete, whether SQLite synchronised the folder with it.
    """

    kind: str
    name: str = ""
    offset: int = 0
    data: bytes = b""
    size: int = 0


# -- recording ----------------------------------------------------------------------------------------------

_P = ctypes.c_void_p
_WRITE = ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, ctypes.c_int, ctypes.c_int64)
_TRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, _P, ctypes.c_int64)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, _P, ctypes.c_int)
_OPEN = ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, _P, ctypes.c_int, _P)
_DELETE = ctypes.CFUNCTYPE(ctypes.c_int, _P, _P, ctypes.c_int)


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("iVersion", ctypes.c_int), ("szOsFile", ctypes.c_int), ("mxPathname", ctypes.c_int),
        ("pNext", _P), ("zName", ctypes.c_char_p), ("pAppData", _P), ("xOpen", _P), ("xDelete", _P),
        ("others", _P * 14),
    ]  # fmt: skip


class _Methods(ctypes.Structure):
    _fields_ = [
        ("iVersion", ctypes.c_int), ("xClose", _P), ("xRead", _P), ("xWrite", _P), ("xTruncate", _P),
        ("xSync", _P), ("others", _P * 13),
    ]  # fmt: skip


class Recorder:
    """Registers itself as the VFS of every database that this process opens from now on."""

    def __init__(self) -> None:
        import _sqlite3

        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        own = library.sqlite3_vfs_find(None).contents
        self.ops: list[Op] = []
        self._names: dict[int, str] = {}
        self._fresh: set[int] = set()  # journals that were opened and not synchronised yet
        self._methods: dict[int, _Methods] = {}
        self._kept: list[Any] = []  # callbacks live as long as SQLite may call them
        open_own, delete_own = _OPEN(own.xOpen), _DELETE(own.xDelete)

        def opened(vfs: int, name: int | None, file: int, flags: int, out: int | None) -> int:
            code = int(open_own(vfs, name, file, flags, out))
            table = ctypes.cast(file, ctypes.POINTER(_P))
            if code == 0 and name and table[0]:
                self._names[file] = _name(name)
                self._fresh.discard(file)
                if self._names[file].endswith(("-wal", "-journal")):
                    self._fresh.add(file)
                table[0] = ctypes.addressof(self._recording(int(table[0])))
            return code

        def deleted(vfs: int, name: int, sync: int) -> int:
            code = int(delete_own(vfs, name, sync))
            if code == 0:
                self.ops.append(Op("delete", _name(name), size=sync))
            return code

        self._vfs = _Vfs.from_buffer_copy(own)
        self._vfs.zName, self._vfs.pNext = b"recording", None
        self._vfs.xOpen, self._vfs.xDelete = self._pointer(_OPEN(opened)), self._pointer(_DELETE(deleted))
        if library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1) != 0:
            raise RuntimeError("SQLite did not take the recording VFS")

    def _pointer(self, callback: Any) -> int | None:
        self._kept.append(callback)
        return ctypes.cast(callback, _P).value

    def _recording(self, own: int) -> _Methods:
        if own in self._methods:
            return self._methods[own]
        table = _Methods.from_address(own)
        made = _Methods.from_buffer_copy(table)
        write_own, truncate_own, sync_own = (
            _WRITE(table.xWrite), _TRUNCATE(table.xTruncate), _SYNC(table.xSync),
        )  # fmt: skip

        def write(file: int, data: int, size: int, offset: int) -> int:
            self.ops.append(Op("write", self._names[file], offset, ctypes.string_at(data, size)))
            return int(write_own(file, data, size, offset))

        def truncate(file: int, size: int) -> int:
            self.ops.append(Op("truncate", self._names[file], size=size))
            return int(truncate_own(file, size))

        def sync(file: int, flags: int) -> int:
            code = int(sync_own(file, flags))
            if code == 0:
                self.ops.append(Op("sync", self._names[file]))
                if file in self._fresh:  # with a journal's first fsync SQLite's VFS synchronises its folder
                    self._fresh.discard(file)
                    self.ops.append(Op("folder"))
            return code

        made.xWrite, made.xTruncate = self._pointer(_WRITE(write)), self._pointer(_TRUNCATE(truncate))
        made.xSync = self._pointer(_SYNC(sync))
        self._methods[own] = made
        return made


def _name(pointer: int) -> str:
    return Path(ctypes.string_at(pointer).decode()).name


async def _store(folder: Path, synchronous: str, recorder: Recorder) -> None:
    from storage import Database
    from storage.inbox import ReportInbox
    from storage.migrations import upgrade

    url = f"sqlite:///{folder}/bot.db"
    upgrade(url)
    db = Database(url)

    @event.listens_for(db.engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA wal_autocheckpoint=40")  # a short record holds several checkpoints
        if synchronous != "FULL":  # to show that a weaker setting is found out
            connection.execute(f"PRAGMA synchronous={synchronous}")

    inbox = ReportInbox(db)
    inbox.start()
    recorder.ops.append(Op("begun"))
    for number in range(REPORTS):
        await inbox.add(host="web-17", external_id=f"r{number}", body={"text": "Oops: 0002 " * 300})
        recorder.ops.append(Op("ack", f"r{number}"))
    await inbox.close()
    db.close()


# -- the power goes -----------------------------------------------------------------------------------------


@dataclass
class Disk:
    """What is on the disk for certain, and what the system was told since and has not been asked to make certain."""

    files: dict[str, bytearray] = field(default_factory=dict)
    pending: dict[str, list[Op]] = field(default_factory=dict)

    def take(self, op: Op) -> None:
        if op.kind == "sync" or (op.kind == "delete" and op.size):
            for one in self.pending.pop(op.name, []):
                _apply(self.files, one, None)
        if op.kind == "folder" or (op.kind == "delete" and op.size):
            self._certainly_deleted()
        if op.kind == "delete" and op.size:
            self.files.pop(op.name, None)
        elif op.kind in ("write", "truncate", "delete"):
            self.pending.setdefault(op.name, []).append(op)

    def _certainly_deleted(self) -> None:
        """The folder is on the disk: a file that was deleted does not come back."""
        for name, ops in self.pending.items():
            deleted = max((place for place, op in enumerate(ops) if op.kind == "delete"), default=None)
            if deleted is not None:
                self.files.pop(name, None)
                del ops[: deleted + 1]

    def after(self, chance: random.Random | None) -> dict[str, bytearray]:
        """The files when the power goes now: without what is not certain, or by `chance` with some sectors of it."""
        left = {name: bytearray(data) for name, data in self.files.items()}
        if chance is not None:
            for ops in self.pending.values():
                for op in ops:
                    _apply(left, op, chance)
        return left


def _apply(files: dict[str, bytearray], op: Op, chance: random.Random | None) -> None:
    if op.kind != "write":
        if chance is not None and chance.random() < 0.5:
            return
        if op.kind == "delete":
            files.pop(op.name, None)
        else:
            del files.setdefault(op.name, bytearray())[op.size :]
        return
    content = files.setdefault(op.name, bytearray())
    start = op.offset
    while start < op.offset + len(op.data):
        end = min((start // _SECTOR + 1) * _SECTOR, op.offset + len(op.data))
        if chance is None or chance.random() < 0.5:
            content.extend(b"\0" * (start - len(content)))
            content[start:end] = op.data[start - op.offset : end - op.offset]
        start = end


def cuts(ops: list[Op], seed: int) -> Iterator[tuple[bool, set[str], dict[str, bytearray]]]:
    """Just before each fsync took effect, and at the end: (reports are taken, acknowledged so far, the files)."""
    disk, begun, acknowledged, chance = Disk(), False, set[str](), random.Random(seed)
    for op in (*ops, Op("sync")):
        if op.kind == "sync":
            yield begun, set(acknowledged), disk.after(None)
            yield begun, set(acknowledged), disk.after(chance)
        begun = begun or op.kind == "begun"
        if op.kind == "ack":
            acknowledged.add(op.name)
        disk.take(op)


def main(folder: Path, synchronous: str) -> None:
    recorder = Recorder()
    asyncio.run(_store(folder, synchronous, recorder))
    (folder / "record").write_bytes(pickle.dumps([vars(op) for op in recorder.ops]))


def read_record(folder: Path) -> list[Op]:
    return [Op(**fields) for fields in pickle.loads((folder / "record").read_bytes())]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
