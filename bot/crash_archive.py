"""Crashes on this machine's disk: found under a directory of any layout, and read in small, bounded pieces.

Names and files are hostile: no symbolic link is followed, no special file opened, no directory visited twice, and
of a file only what `_TEXT_CAP` and the plan for its dump allow is read.
"""

from __future__ import annotations

import bz2
import errno
import lzma
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from integrations.kernel.completeness import Completeness, Read, plan, verdict
from integrations.kernel.crashdirs import CrashDump, CrashFile, read_listing
from integrations.kernel.vmcoreinfo import VmcoreInfo, read_vmcoreinfo

_TEXT_CAP = 16 * 1024 * 1024  # of a dmesg, from its end: the kernel's own buffer is seldom larger
_HEAD_CAP = 64 * 1024
_DEEPEST = 32
_ROUNDS = 6
_PART = re.compile(r"dmesg-[A-Za-z][\w-]{0,60}-\d{1,24}\Z")
_DMESG = re.compile(r"(?:.{1,200}[._-])?dmesg(?:[._-].{1,200})?\Z", re.IGNORECASE)
_PACKED = re.compile(r".*\.(?:gz|xz|bz2|lz4|zst|zip|enc\.z)\Z", re.IGNORECASE)
_PSTORE_SECOND = re.compile(r"(\d{10})/\d{1,6}\Z")


@dataclass(frozen=True)
class FoundCrash:
    """A crash on disk. `directory` is its name; `above` are the names between where the search began and it."""

    path: Path
    layout: str  # debian, rhel, suse, pstore, dmesg
    directory: str
    above: tuple[str, ...]
    texts: tuple[Path, ...]
    dump: Path | None = None
    incomplete: bool = False
    stamp: datetime | None = None
    mtime: datetime | None = None
    crash_time: datetime | None = None


@dataclass(frozen=True)
class PassedOver:
    """What is no crash, or cannot be read (`failed`), and why."""

    path: Path
    why: str
    failed: bool = False


@dataclass(frozen=True)
class DumpFacts:
    """What a look into a dump showed."""

    size: int
    completeness: Completeness
    info: VmcoreInfo


@dataclass(frozen=True)
class _File:
    name: str
    size: int
    mtime: float


def find_crashes(root: Path) -> Iterator[FoundCrash | PassedOver]:
    """Everything under `root` (which may be one crash directory or one file), in the order of the names."""
    try:
        root = root.resolve(strict=True)
        if not root.is_dir():
            mtime = _moment(os.lstat(root).st_mtime)
            yield FoundCrash(root, "dmesg", root.name, (), (root,), mtime=mtime)
            return
    except OSError as error:
        yield PassedOver(root, _said(error), failed=True)
        return
    waiting: list[tuple[Path, tuple[str, ...]]] = [(root, ())]  # with the names below root, its own last
    seen: set[tuple[int, int]] = set()
    while waiting:
        path, names = waiting.pop()
        try:
            here = os.lstat(path)
            if (here.st_dev, here.st_ino) in seen:  # a bind mount
                continue
            seen.add((here.st_dev, here.st_ino))
            files, folders, passed = _scan(path)
        except OSError as error:
            yield PassedOver(path, _said(error), failed=True)
            continue
        yield from passed
        found, closed = _crashes_in(path, names, files, has_folders=bool(folders))
        yield from found
        if closed:
            continue
        if len(names) >= _DEEPEST and folders:
            yield PassedOver(path, f"more than {_DEEPEST} directories deep: not gone into", failed=True)
            continue
        waiting += [(path / name, (*names, name)) for name in sorted(folders, reverse=True)]


def _scan(path: Path) -> tuple[list[_File], list[str], list[PassedOver]]:
    files: list[_File] = []
    folders: list[str] = []
    passed: list[PassedOver] = []
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError as error:
                passed.append(PassedOver(path / entry.name, _said(error), failed=True))
                continue
            if stat.S_ISDIR(found.st_mode):
                folders.append(entry.name)
            elif stat.S_ISREG(found.st_mode):
                files.append(_File(entry.name, found.st_size, found.st_mtime))
            elif stat.S_ISLNK(found.st_mode) and _of_interest(entry.name):
                passed.append(PassedOver(path / entry.name, "a symbolic link: not followed"))
    files.sort(key=lambda file: file.name)
    return files, folders, sorted(passed, key=lambda p: p.path)


def _of_interest(name: str) -> bool:
    return _dump_of(name, [_File("dmesg", 1, 0.0)]) is not None or _DMESG.match(name) is not None


def _crashes_in(
    path: Path, names: tuple[str, ...], files: list[_File], *, has_folders: bool
) -> tuple[list[FoundCrash | PassedOver], bool]:
    """What the files of a directory are, and whether nothing more is to be looked for below it."""
    made: list[FoundCrash | PassedOver] = []
    parts = [file for file in files if _PART.match(file.name)]
    dump = _dump_of(path.name, files) if not parts else None
    if dump is not None and dump.test:
        return [PassedOver(path, "a test of kdump, no panic")], True
    if dump is not None and (dump.dump is not None or dump.dmesg is not None):
        return [_crash(path, names[:-1], dump)], True
    if dump is not None and not has_folders:
        return [PassedOver(path, "holds neither a dump nor a dmesg")], True
    taken: set[str] = set()
    if parts:
        made.append(_pstore(path, names, files, parts))
        taken = {"dmesg.txt", *(part.name for part in parts)}
    for loose in read_listing(_listing(files)):
        if loose.directory == "" and loose.stamp is not None:
            made.append(_crash(path, names, loose))
            taken |= {file.path for file in (loose.dump, loose.dmesg) if file is not None}
    for file in files:
        if file.name.endswith(".crash"):
            made.append(PassedOver(path / file.name, "a report of Apport's, no crash directory"))
        elif file.name not in taken and _DMESG.match(file.name):
            made.append(_single(path / file.name, names, file.mtime))
    return made, False


def _single(path: Path, names: tuple[str, ...], mtime: float) -> FoundCrash | PassedOver:
    if _PACKED.match(path.name):
        return PassedOver(path, "compressed: unpack it first")
    return FoundCrash(path, "dmesg", path.name, names, (path,), mtime=_moment(mtime))


def _crash(path: Path, above: tuple[str, ...], dump: CrashDump) -> FoundCrash:
    """`path` is the crash directory; for files without a directory of their own, the one that they lie in."""

    def inside(file: CrashFile) -> Path:
        return path / file.path.rsplit("/", 1)[-1]

    times = [file.mtime for file in (dump.dmesg, dump.dump) if file is not None]
    stamped = dump.directory or (dump.stamp.strftime("%Y%m%d%H%M") if dump.stamp else "")
    return FoundCrash(
        path,
        dump.family,
        stamped,
        above,
        (inside(dump.dmesg),) if dump.dmesg is not None else (),
        inside(dump.dump) if dump.dump is not None else None,
        dump.incomplete,
        dump.stamp,
        min(times, default=None),
    )


def _pstore(path: Path, names: tuple[str, ...], files: list[_File], parts: list[_File]) -> FoundCrash:
    """systemd-pstore's archive: `<second>/<count>/` since version 253, before `<record id without 6 digits>/`;
    dmesg.txt is the parts put together. The second is the panic's where EFI made the record's id of it."""
    whole = [file for file in files if file.name == "dmesg.txt" and file.size > 0]
    directory = "/".join(path.parts[-2:])
    second = _PSTORE_SECOND.search(directory)
    by_clock = second is not None and parts[0].name.startswith("dmesg-efi-")
    return FoundCrash(
        path,
        "pstore",
        directory if second else path.name,
        names,
        tuple(path / file.name for file in whole or parts),
        mtime=_moment(min(part.mtime for part in parts)),
        crash_time=_moment(float(second[1])) if second is not None and by_clock else None,
    )


def _dump_of(name: str, files: list[_File]) -> CrashDump | None:
    """What a directory of this name with these files is, if its name is that of a crash directory."""
    return next((dump for dump in read_listing(_listing(files, name)) if dump.directory == name), None)


def _listing(files: list[_File], name: str = "") -> str:
    """As `find -printf` would list it. A name with a control character in it is none that a dump bears."""
    rows = [f"{name}\td\t0\t0"] if name and name.isprintable() else []
    prefix = f"{name}/" if name else ""
    if name and not rows:
        return ""
    rows += [f"{prefix}{f.name}\tf\t{f.size}\t{f.mtime:.6f}" for f in files if f.name.isprintable()]
    return "\n".join(rows)


# -- reading ----------------------------------------------------------------------------------------------


def read_texts(paths: tuple[Path, ...]) -> bytes:
    """The dmesg, or its parts one after the other; of a huge one the last 16 MiB. Raises OSError."""
    pieces: list[bytes] = []
    room = _TEXT_CAP
    for path in paths:
        with _opened(path) as (descriptor, size):
            piece = _read_at(descriptor, max(0, size - room), min(size, room))
        pieces.append(piece if piece.endswith(b"\n") else piece + b"\n")
        room -= len(piece)
        if room <= 0:
            break
    return pieces[0].removesuffix(b"\n") if len(pieces) == 1 else b"".join(pieces)


def look_into(path: Path) -> DumpFacts:
    """Whether the dump is whole, by a few small reads, and its VMCOREINFO. Raises OSError."""
    with _opened(path) as (descriptor, size):
        known: dict[Read, bytes] = {}
        for _ in range(_ROUNDS):
            wanted = plan(path.name, size, known)
            if not wanted:
                break
            for read in wanted:
                known[read] = _read_at(descriptor, read.offset, read.length)
    head = next((data for read, data in known.items() if read.offset == 0), b"")
    return DumpFacts(size, verdict(path.name, size, known), read_vmcoreinfo(_unpacked(head)))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """(descriptor, size) of a regular file; a link or a pipe that took its place meanwhile is refused."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield descriptor, found.st_size
    finally:
        os.close(descriptor)


def _read_at(descriptor: int, offset: int, length: int) -> bytes:
    """Fewer bytes at the end of the file."""
    pieces: list[bytes] = []
    while length > 0 and (piece := os.pread(descriptor, min(length, 1 << 20), offset)):
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces)


def _unpacked(head: bytes) -> bytes:
    """The head of a compressed dump unpacked, at most 64 KiB of it: VMCOREINFO is in there."""
    try:
        if head.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(wbits=31).decompress(head, _HEAD_CAP)
        if head.startswith(b"\xfd7zXZ\x00"):
            return lzma.LZMADecompressor(memlimit=128 * 1024 * 1024).decompress(head, _HEAD_CAP)
        if head.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(head, _HEAD_CAP)
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError):
        return b""  # damaged: nothing can be told from it, and `verdict` speaks of the file
    return head


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _said(error: OSError) -> str:
    return error.strerror or str(error)
