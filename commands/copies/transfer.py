"""Bytes on their way: from the host's stream through sha256 into numbered parts. Blocking; memory stays flat."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from integrations.kernel.completeness import Completeness, Read, plan, verdict
from integrations.stores import NotKept, Pace, Part, PartWriter, Shelf

_WAITING = 16  # pieces of at most 256 KiB between the host's side and the store's
_ROUNDS = 4
_LOOK = 0.25  # seconds between looks at whether the other side is still there


@dataclass
class Flow:
    """What the thread tells of its progress, and is told: read and set from any thread."""

    base: int = 0  # bytes that stood in the store before
    moved: int = 0  # bytes that went into the store, or were read back from it, since
    store_seconds: float = 0.0  # how long the host's side has waited for the store
    halt: threading.Event = field(default_factory=threading.Event)

    @property
    def stopped(self) -> bool:
        return self.halt.is_set()


class PartSink:
    """Takes pieces, cuts them into parts, and writes those in a thread of its own: a disk that syncs a part does not
    hold up the stream. `on_part` is called once a part is in the store. Close it, whatever happened."""

    def __init__(
        self, shelf: Shelf, part_size: int, first: int, on_part: Callable[[Part], None], flow: Flow
    ) -> None:
        self._shelf = shelf
        self._part_size = part_size
        self._number = first
        self._on_part = on_part
        self._flow = flow
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._whole = False
        self._writer: PartWriter | None = None
        self._thread = threading.Thread(target=self._run, name="copy-parts", daemon=True)
        self._thread.start()

    def take(self, piece: bytes) -> None:
        """Raises what went wrong with the store."""
        self._put(piece)

    def finish(self) -> None:
        """All has come: the last part, which may be a short one, is finished, too. Raises as `take` does."""
        self._whole = True
        self._put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """What was not finished is abandoned. No effect after `finish`."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                while True:
                    self._pieces.get_nowait()
            self._pieces.put(None)
            self._thread.join()

    def _put(self, piece: bytes | None) -> None:
        began = time.monotonic()
        while self._error is None:
            try:
                self._pieces.put(piece, timeout=_LOOK)
                break
            except queue.Full:
                if piece is not None and self._flow.stopped:
                    return
            finally:
                now = time.monotonic()
                self._flow.store_seconds += now - began
                began = now
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while (piece := self._pieces.get()) is not None:
                self._write(piece)
            if self._whole and self._writer is not None:
                self._end_part()
        except BaseException as error:  # noqa: BLE001 - handed to the other side
            self._error = error
        finally:
            if self._writer is not None:
                try:
                    self._writer.abandon()
                except Exception as error:  # noqa: BLE001 - the first error is the one to tell
                    self._error = self._error or error

    def _write(self, piece: bytes) -> None:
        while piece:
            if self._writer is None:
                self._writer = self._shelf.part(self._number)
            room = self._part_size - self._writer.size
            fits, piece = (piece, b"") if len(piece) <= room else (piece[:room], piece[room:])
            self._writer.write(fits)
            self._flow.moved += len(fits)
            if self._writer.size == self._part_size:
                self._end_part()

    def _end_part(self) -> None:
        assert self._writer is not None
        part = self._writer.finish()
        self._writer = None
        self._number += 1
        self._on_part(part)


def paced(take: Callable[[bytes], None], pace: Pace, flow: Flow) -> Callable[[bytes], None]:
    """`take`, no faster than the cap allows."""

    def slowed(piece: bytes) -> None:
        take(piece)
        pace.spend(len(piece), stop=lambda: flow.stopped)

    return slowed


def standing(shelf: Shelf, parts: Sequence[Part]) -> int:
    """How many of the parts, from the first on, stand in the store with their size.

    The last one's sha256 is checked, too; those of the others are when all is there.
    """
    sizes = shelf.sizes()
    count = 0
    for part in parts:
        if part.number != count + 1 or sizes.get(part.number) != part.size:
            break
        count += 1
    while count and _sha256(shelf, parts[count - 1].number) != parts[count - 1].sha256:
        count -= 1
    return count


def read_back(shelf: Shelf, parts: Sequence[Part], flow: Flow) -> tuple[list[int], str] | None:
    """(numbers of the parts that do not read back as they were sent, sha256 of all); None when stopped."""
    whole, bad = hashlib.sha256(), []
    for part in parts:
        digest, size = hashlib.sha256(), 0
        try:
            for piece in shelf.read(part.number):
                if flow.stopped:
                    return None
                digest.update(piece)
                whole.update(piece)
                size += len(piece)
                flow.moved += len(piece)
        except NotKept:
            size = -1
        if size != part.size or digest.hexdigest() != part.sha256:
            bad.append(part.number)
    return bad, whole.hexdigest()


def judge(shelf: Shelf, name: str, size: int, part_size: int) -> Completeness:
    """Whether what is in the store is a whole dump, by its content."""
    known: dict[Read, bytes] = {}
    for _ in range(_ROUNDS):
        wanted = plan(name, size, known)
        if not wanted:
            break
        known |= {
            read: _range(shelf, part_size, read.offset, min(read.length, size - read.offset))
            for read in wanted
        }
    return verdict(name, size, known)


def _range(shelf: Shelf, part_size: int, offset: int, length: int) -> bytes:
    out = bytearray()
    while length > 0:
        number, start = divmod(offset, part_size)
        piece = b"".join(shelf.read(number + 1, start, min(length, part_size - start)))
        if not piece:
            break
        out += piece
        offset, length = offset + len(piece), length - len(piece)
    return bytes(out)


def _sha256(shelf: Shelf, number: int) -> str:
    digest = hashlib.sha256()
    for piece in shelf.read(number):
        digest.update(piece)
    return digest.hexdigest()


def manifest(
    *,
    name: str,
    sha256: str,
    size: int,
    part_size: int,
    parts: Sequence[Part],
    names: Callable[[int], str],
    about: Mapping[str, object],
) -> dict[str, object]:
    """What stands in manifest.json beside the parts."""
    return {
        "format": 1,
        "name": name,
        "size": size,
        "sha256": sha256,
        "part_size": part_size,
        **about,
        "parts": [
            {"name": names(p.number), "number": p.number, "size": p.size, "sha256": p.sha256} for p in parts
        ],
    }
