"""Bytes on their way: from the host's stream through sha256 into numbered parts. Blocking; memory stays flat."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from integrations.kernel.completeness import Completeness, Read, plan, verdict
from integrations.stores import NotKept, Pace, Part, PartWriter, Shelf, StoreError

_STEP = 256 * 1024  # bytes between two looks at the progress
_ROUNDS = 4


@dataclass
class Flow:
    """What the thread tells of its progress, and is told: read and set from any thread."""

    base: int = 0  # bytes that stood in the store before
    moved: int = 0  # bytes that went into the store, or were read back from it, since
    halt: threading.Event = field(default_factory=threading.Event)
    _waited: float = 0.0
    _waits_since: float | None = None

    @property
    def store_seconds(self) -> float:
        """How long the host's side has waited for the store, the present wait included."""
        waited, since = self._waited, self._waits_since
        return waited if since is None else waited + time.monotonic() - since

    @contextlib.contextmanager
    def waits_for_store(self) -> Iterator[None]:
        self._waits_since = began = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - began
            self._waits_since = None

    @property
    def stopped(self) -> bool:
        return self.halt.is_set()


class PartSink:
    """Takes pieces, cuts them into parts and writes those; while a part is made durable, which a disk takes its time
    for, the next one is written already where the store can do both. `on_part` is called once a part is in the store,
    from a thread of the sink's own. Close it, whatever happened."""

    def __init__(
        self, shelf: Shelf, part_size: int, first: int, on_part: Callable[[Part], None], flow: Flow
    ) -> None:
        self._shelf = shelf
        self._part_size = part_size
        self._number = first
        self._on_part = on_part
        self._flow = flow
        self._writer: PartWriter | None = None
        self._ending: Future[None] | None = None
        self._ends = ThreadPoolExecutor(1, "copy-parts")

    def take(self, piece: bytes) -> None:
        """Raises what went wrong with the store."""
        view = memoryview(piece)
        while view:
            with self._flow.waits_for_store():
                if self._writer is None:
                    self._writer = self._shelf.part(self._number)
                fits = view[: min(self._part_size - self._writer.size, _STEP)]
                self._writer.write(fits)
            self._flow.moved += len(fits)
            view = view[len(fits) :]
            if self._writer.size == self._part_size:
                self._end_part()

    def finish(self) -> None:
        """All has come: the last part, which may be a short one, is finished, too. Raises as `take` does."""
        if self._writer is not None:
            self._end_part()
        self._ended()

    def close(self) -> None:
        """What was not finished is abandoned. No effect after `finish`."""
        self._ends.shutdown()
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.abandon()

    def _end_part(self) -> None:
        self._ended()
        assert self._writer is not None
        writer, self._writer = self._writer, None
        self._number += 1
        self._ending = self._ends.submit(self._end, writer)
        if not self._shelf.overlaps:
            self._ended()

    def _end(self, writer: PartWriter) -> None:
        try:
            part = writer.finish()
        except BaseException:
            with contextlib.suppress(StoreError):  # the first error is the one to tell
                writer.abandon()
            raise
        self._on_part(part)

    def _ended(self) -> None:
        """The part before is in the store: never more than one is on its way there."""
        if self._ending is not None:
            ending, self._ending = self._ending, None
            with self._flow.waits_for_store():
                ending.result()


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
