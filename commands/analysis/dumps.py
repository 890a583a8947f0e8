"""The dump that is analysed: its head read where it lies, and the whole put together from the parts of a copy."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event

from sqlmodel import Session, col, select

from commands.hosts.crashdump import size_words
from integrations.crashtool import UnreadableDump
from integrations.kernel.vmcoreinfo import VmcoreInfo, read_vmcoreinfo
from integrations.stores import CentralStore, Shelf, StoreFailed, StoreFull
from storage import CopyState, DumpCopy

HEAD = (
    1024 * 1024
)  # VMCOREINFO is in the first pages of what makedumpfile writes, and in the notes of an ELF core
_MAGICS = (b"makedumpfile", b"KDUMP   ", b"DISKDUMP", b"\x7fELF")
_SPARE = 64 * 1024**2
_CHUNK = 1024 * 1024


def verified_copy(session: Session, panic_id: int) -> DumpCopy | None:
    """The newest verified copy of a panic's dump."""
    return session.exec(
        select(DumpCopy)
        .where(DumpCopy.panic_id == panic_id, DumpCopy.state == CopyState.VERIFIED)
        .order_by(col(DumpCopy.id).desc())
        .limit(1)
    ).first()


def read_head(head: bytes) -> VmcoreInfo:
    """What the beginning of a dump tells without a vmlinux. Raises UnreadableDump for what is no dump."""
    if not head.startswith(_MAGICS):
        raise UnreadableDump("it begins as no dump that makedumpfile or the kernel writes.")
    return read_vmcoreinfo(head)


def file_head(path: Path) -> VmcoreInfo:
    with path.open("rb") as file:
        return read_head(file.read(HEAD))


def copy_head(store: CentralStore, copy: DumpCopy) -> VmcoreInfo:
    """As `file_head`, of a copy in the store. Raises a StoreError."""
    with store.open(folder_of(copy)) as shelf:
        return read_head(b"".join(_first(shelf, HEAD)))


def _first(shelf: Shelf, length: int) -> Iterator[bytes]:
    for chunk in shelf.read(1, 0, length):
        yield chunk[:length]
        length -= len(chunk)
        if length <= 0:
            return


def folder_of(copy: DumpCopy) -> str:
    return (copy.place or "").rstrip("/").rpartition("/")[2]


async def put_together(store: CentralStore, copy: DumpCopy, target: Path) -> None:
    """The parts of a copy as one file, its sha256 checked. What is begun is removed when it fails or is cancelled.

    Raises a StoreError, and StoreFull when there is no room for it here.
    """
    stop = Event()
    work = asyncio.create_task(asyncio.to_thread(_put_together, store, copy, target, stop))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(work, return_exceptions=True)
        raise


def _put_together(store: CentralStore, copy: DumpCopy, target: Path, stop: Event) -> None:
    size = copy.size or 0
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < size + _SPARE:
        raise StoreFull(f"{target.parent} has {size_words(free)} free, and the dump has {size_words(size)}.")
    digest = hashlib.sha256()
    try:
        with (
            os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
            store.open(folder_of(copy)) as shelf,
        ):
            for number in sorted(shelf.sizes()):
                for chunk in shelf.read(number):
                    if stop.is_set():
                        raise StoreFailed("it was stopped.")
                    file.write(chunk)
                    digest.update(chunk)
        if digest.hexdigest() != copy.sha256:
            raise UnreadableDump(f"the copy in {copy.place} has not the sha256 with which it was verified.")
    except OSError as error:
        target.unlink(missing_ok=True)
        raise StoreFailed(f"{target}: {error.strerror or error}.") from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise
