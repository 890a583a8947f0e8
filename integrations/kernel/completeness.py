"""Whether a dump file holds the whole dump, told from a few small reads.

The caller performs the reads that `plan` asks for (over SSH: `dd`, `head -c`, `tail -c`), asks `plan` again
with what it got, until no read is wanted (four rounds at most), then calls `verdict`:

    known: dict[Read, bytes] = {}
    while wanted := plan(name, size, known):
        known |= {read: fetch(path, read.offset, read.length) for read in wanted}
    print(verdict(name, size, known))

Formats: makedumpfile's KDUMP (diskdump_mod.h) and flattened output (END_FLAG_FLAT_HEADER), ELF, and these
inside gzip, xz, bzip2, lz4 or zstd. A compressor cannot tell that makedumpfile failed before it, so a
compressed dump is never called complete from its ends alone.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

State = Literal["complete", "incomplete", "empty", "unverified"]


@dataclass(frozen=True, slots=True, order=True)
class Read:
    """`length` bytes from `offset`; fewer may come back at the end of the file."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Completeness:
    state: State
    format: str
    reason: str


HEAD = 64 * 1024
TAIL = 64
_NOTHING: Mapping[Read, bytes] = MappingProxyType({})
_SHORTEST = 512
_FLAT_END = b"\xff" * 16
_DESCRIPTOR = struct.Struct("<qIIQ")
_INCOMPLETE = 0x8
_REACHES = (1024, 128 * 1024)  # descriptors read from the end: 24 KiB, then 3 MiB
_PACKED = (
    ("gzip", b"\x1f\x8b"),
    ("xz", b"\xfd7zXZ\x00"),
    ("bzip2", b"BZh"),
    ("lz4", b"\x04\x22\x4d\x18"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
)


def plan(name: str, size: int, known: Mapping[Read, bytes] = _NOTHING) -> tuple[Read, ...]:
    """The reads still wanted for a file of `size` bytes, given those `known`; empty when the verdict can be
    told. The first round asks for the head (64 KiB, VMCOREINFO is in it) and the last 64 bytes."""
    if size <= 0:
        return ()
    head = Read(0, min(size, HEAD))
    wanted = [head]
    if size > HEAD:
        wanted.append(Read(max(0, size - TAIL), min(size, TAIL)))
    missing = tuple(read for read in wanted if read not in known)
    if missing:
        return missing
    return tuple(
        read for read in _second(size, known) if read not in known and read.offset + read.length <= size
    )


def _second(size: int, known: Mapping[Read, bytes]) -> tuple[Read, ...]:
    head = known.get(Read(0, min(size, HEAD)), b"")
    if head.startswith(b"KDUMP   "):
        table = _Kdump.read(head)
        if table is None:
            return ()
        first = Read(table.descriptors, _DESCRIPTOR.size)
        if first not in known:
            return (first,)
        start = _bytes_at(known, first)
        pages = table.pages(start)
        for reach in _REACHES if pages else ():
            ends = table.end(pages, reach)
            if ends not in known:
                return (ends,)
            if _last_page(known[ends], start) is not None:
                break
        return ()
    if head.startswith(b"\x7fELF"):
        elf = _Elf.read(head)
        if elf and elf.table_end > len(head):
            return (Read(elf.offset, min(elf.table_end - elf.offset, 16 * 1024 * 1024)),)
    return ()


def _bytes_at(known: Mapping[Read, bytes], wanted: Read) -> bytes:
    """The bytes of a read, also out of a longer one that holds it."""
    for read, data in known.items():
        start = wanted.offset - read.offset
        if start >= 0 and start + wanted.length <= len(data):
            return data[start : start + wanted.length]
    return b""


@dataclass(slots=True)
class _Kdump:
    """Header of a 64-bit little-endian KDUMP file: disk_dump_header of diskdump_mod.h."""

    status: int
    descriptors: int

    @classmethod
    def read(cls, head: bytes) -> _Kdump | None:
        if len(head) < 464:
            return None
        status, block, sub, bitmap = struct.unpack_from("<IIII", head, 424)
        if not 512 <= block <= 1 << 20 or sub > 1 << 20:
            return None
        return cls(status, block * (1 + sub + bitmap))

    def pages(self, first: bytes) -> int:
        """How many page descriptors there are: the first page's data begins where they end."""
        if len(first) < _DESCRIPTOR.size:
            return 0
        data = _DESCRIPTOR.unpack(first)[0] - self.descriptors
        return data // _DESCRIPTOR.size if data > 0 and data % _DESCRIPTOR.size == 0 else 0

    def end(self, pages: int, reach: int) -> Read:
        """The last `reach` descriptors."""
        count = min(pages, reach)
        return Read(self.descriptors + (pages - count) * _DESCRIPTOR.size, count * _DESCRIPTOR.size)


def _last_page(table: bytes, first: bytes) -> int | None:
    """Where the farthest page of these descriptors ends. None when all are the page that `first` tells of:
    makedumpfile keeps one copy of the page of zeros, right behind the descriptors."""
    zeros = _DESCRIPTOR.unpack(first)[0]
    ends = [offset + length for offset, length, _, _ in _DESCRIPTOR.iter_unpack(table) if offset != zeros]
    return max(ends, default=None)


@dataclass(slots=True)
class _Elf:
    flags: int
    offset: int
    entry: int
    count: int
    wide: bool
    order: str

    @property
    def table_end(self) -> int:
        return self.offset + self.entry * self.count

    @classmethod
    def read(cls, head: bytes) -> _Elf | None:
        if len(head) < 64 or head[4] not in (1, 2) or head[5] not in (1, 2):
            return None
        wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
        if wide:
            offset, sections, flags, _, entry, count = struct.unpack_from(order + "QQIHHH", head, 32)
        else:
            offset, sections, flags, _, entry, count = struct.unpack_from(order + "IIIHHH", head, 28)
        if count == 0xFFFF and sections and sections + 48 <= len(head):
            count = struct.unpack_from(order + "I", head, sections + (44 if wide else 28))[0]
        if entry < (56 if wide else 32) or count > 1 << 20:
            return None
        return cls(flags, offset, entry, count, wide, order)

    def end(self, table: bytes) -> int:
        """Where the last segment's bytes end."""
        last = self.table_end
        for index in range(self.count):
            at = index * self.entry
            if self.wide:
                start, _, _, length = struct.unpack_from(self.order + "QQQQ", table, at + 8)
            else:
                start, _, _, length = struct.unpack_from(self.order + "IIII", table, at + 4)
            last = max(last, start + length)
        return last


def verdict(name: str, size: int, reads: Mapping[Read, bytes]) -> Completeness:
    """What the bytes say. `unverified`: nothing speaks against the dump, and nothing proves it whole."""
    if size <= 0:
        return Completeness("empty", "none", "the file has no bytes")
    head = next((data for read, data in sorted(reads.items()) if read.offset == 0), b"")
    if not head:
        return Completeness("unverified", "unknown", "the head of the file was not read")
    if head.startswith(b"makedumpfile\x00"):
        return _flattened(size, reads)
    if head.startswith(b"KDUMP   "):
        return _kdump(size, head, reads)
    if head.startswith(b"\x7fELF"):
        return _elf(size, head, reads)
    for kind, magic in _PACKED:
        if head.startswith(magic):
            return _packed(kind, size, reads)
    if size < _SHORTEST:
        return Completeness("incomplete", "unknown", f"a file of {size} bytes holds no dump")
    if not head.strip(b"\x00"):
        return Completeness("incomplete", "unknown", "the file begins with zeros: its head was never written")
    if "incomplete" in name:
        return Completeness("incomplete", "unknown", "the name says so, and the head is of no known format")
    return Completeness("unverified", "unknown", "the head is of no known dump format")


def _tail(size: int, reads: Mapping[Read, bytes], length: int) -> bytes:
    return _bytes_at(reads, Read(size - length, length)) if size >= length else b""


def _flattened(size: int, reads: Mapping[Read, bytes]) -> Completeness:
    end = _tail(size, reads, 16)
    if size < 4096 + 32:
        return Completeness("incomplete", "flattened", "the file ends within its header")
    if not end:
        return Completeness("unverified", "flattened", "the last 16 bytes were not read")
    if end == _FLAT_END:
        return Completeness("complete", "flattened", "the end mark stands at the end")
    return Completeness(
        "incomplete", "flattened", "the end mark is missing: the file was cut or never finished"
    )


def _kdump(size: int, head: bytes, reads: Mapping[Read, bytes]) -> Completeness:
    table = _Kdump.read(head)
    if table is None:
        cut = len(head) < 464
        state: State = "incomplete" if cut else "unverified"
        return Completeness(
            state, "kdump", "the file ends within its header" if cut else "a header of another byte order"
        )
    if table.status & _INCOMPLETE:
        return Completeness(
            "incomplete", "kdump", "the header's status has the INCOMPLETE bit: space ran out"
        )
    if size < table.descriptors + _DESCRIPTOR.size:
        return Completeness("incomplete", "kdump", "the file ends before its page descriptors")
    first = _bytes_at(reads, Read(table.descriptors, _DESCRIPTOR.size))
    if not first:
        return Completeness("unverified", "kdump", "the page descriptors were not read")
    pages = table.pages(first)
    if not pages:
        return Completeness("incomplete", "kdump", "the first page descriptor was never written")
    if size < table.descriptors + pages * _DESCRIPTOR.size:
        return Completeness("incomplete", "kdump", "the file ends within its page descriptors")
    for reach in _REACHES:
        ends = _bytes_at(reads, table.end(pages, reach))
        if not ends:
            return Completeness("unverified", "kdump", "the last page descriptors were not read")
        if not ends.endswith(first) and not ends[-_DESCRIPTOR.size :].strip(b"\x00"):
            return Completeness("incomplete", "kdump", "the last page descriptor was never written")
        last = _last_page(ends, first)
        if last is not None:
            break
    else:
        last = sum(_DESCRIPTOR.unpack(first)[:2])
        if pages > _REACHES[-1]:
            return Completeness(
                "unverified", "kdump", "the last pages are all zeros: the end of the others is not seen"
            )
    if last > size:
        return Completeness("incomplete", "kdump", f"the last page ends at {last}, the file at {size}")
    return Completeness("complete", "kdump", "the last page lies within the file")


def _elf(size: int, head: bytes, reads: Mapping[Read, bytes]) -> Completeness:
    elf = _Elf.read(head)
    if elf is None:
        return Completeness("incomplete", "elf", "the file ends within its header, or the header is damaged")
    if elf.flags & 1:
        return Completeness("incomplete", "elf", "the header's flags have makedumpfile's INCOMPLETE bit")
    if size < elf.table_end:
        return Completeness("incomplete", "elf", "the file ends within its program headers")
    table = _bytes_at(reads, Read(elf.offset, elf.table_end - elf.offset))
    if not table and elf.count:
        return Completeness("unverified", "elf", "the program headers were not read")
    end = elf.end(table)
    if end > size:
        return Completeness("incomplete", "elf", f"the last segment ends at {end}, the file at {size}")
    return Completeness("complete", "elf", "all segments lie within the file")


def _packed(kind: str, size: int, reads: Mapping[Read, bytes]) -> Completeness:
    tail = _tail(size, reads, min(size, TAIL)) or _tail(size, reads, min(size, 16))
    if not tail:
        return Completeness("unverified", kind, "the end of the file was not read")
    cut = (
        (kind == "xz" and not tail.endswith(b"YZ"))
        or (kind == "bzip2" and not _bzip2_ends(tail))
        or (kind == "lz4" and b"\x00\x00\x00\x00" not in tail[-8:])
        or (kind == "gzip" and not tail.strip(b"\x00"))
    )
    if cut:
        return Completeness("incomplete", kind, f"the {kind} stream has no end: the file was cut")
    if kind in ("gzip", "zstd"):
        return Completeness(
            "unverified", kind, f"{kind} has no end mark: run `{kind} -t`, then check what is inside"
        )
    return Completeness(
        "unverified", kind, f"the {kind} stream is whole; the dump inside must be checked unpacked"
    )


def _bzip2_ends(tail: bytes) -> bool:
    """Whether bzip2's end-of-stream mark stands in the last 11 bytes, at any bit."""
    bits = int.from_bytes(tail[-11:], "big")
    return any((bits >> shift) & ((1 << 48) - 1) == 0x177245385090 for shift in range(32, 41))
