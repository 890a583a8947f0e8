"""What must be known of an ELF file before it is taken for a vmlinux: its build id, and whether it holds debug info.

Reads headers, notes and section names only, however large the file is. Everything in it is doubted.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from integrations.debuginfo.errors import WrongFile

_MAGIC = b"\x7fELF"
_MOST_SECTIONS = 65536
_MOST_NOTES = 4 * 1024 * 1024
_MOST_NAMES = 16 * 1024 * 1024
_SHT_NOTE, _SHT_NOBITS = 7, 8
_NT_GNU_BUILD_ID = 3
_DEBUG = (b".debug_info", b".zdebug_info")


@dataclass(frozen=True, slots=True)
class ElfFacts:
    """`build_id` is hex, None when the file has none; `debug_info`: its types and lines are in it."""

    build_id: str | None
    debug_info: bool
    machine: int


@dataclass(frozen=True, slots=True)
class _Section:
    name: int
    kind: int
    offset: int
    size: int


def read_elf(path: Path) -> ElfFacts:
    """Raises WrongFile for what is no ELF file or is cut short, OSError when it cannot be read."""
    with path.open("rb") as file:
        try:
            return _read(file, path.stat().st_size)
        except (struct.error, ValueError, OverflowError) as error:
            raise WrongFile(f"{path.name} is a damaged ELF file ({error}).") from error


def _read(file: BinaryIO, length: int) -> ElfFacts:
    head = file.read(64)
    if head[:4] != _MAGIC:
        raise WrongFile("it is no ELF file.")
    if len(head) < 52 or head[4] not in (1, 2) or head[5] not in (1, 2):
        raise WrongFile("it is a damaged ELF file.")
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    machine = struct.unpack_from(f"{order}H", head, 18)[0]
    if wide:
        table = struct.unpack_from(f"{order}Q", head, 40)[0]
        entry, count, names = struct.unpack_from(f"{order}HHH", head, 58)
    else:
        table = struct.unpack_from(f"{order}I", head, 32)[0]
        entry, count, names = struct.unpack_from(f"{order}HHH", head, 46)
    sections = list(_sections(file, length, order, wide, table, entry, count))
    text = _names(file, length, sections, names, order, wide, table)
    found = {s: _name_of(text, s.name) for s in sections}
    debug = any(name in _DEBUG and s.kind != _SHT_NOBITS and s.size > 0 for s, name in found.items())
    return ElfFacts(_build_id(file, length, order, sections), debug, int(machine))


def _sections(
    file: BinaryIO, length: int, order: str, wide: bool, table: int, entry: int, count: int
) -> list[_Section]:
    size = 64 if wide else 40
    if not table or entry < size:
        return []
    if count == 0:  # more than fit into 16 bits: the first section says how many
        first = _at(file, length, table, size)
        count = struct.unpack_from(f"{order}Q" if wide else f"{order}I", first, 32 if wide else 20)[0]
    if count > _MOST_SECTIONS:
        raise ValueError("too many sections")
    data = _at(file, length, table, entry * count)
    made = []
    for number in range(count):
        row = data[number * entry : number * entry + size]
        name, kind = struct.unpack_from(f"{order}II", row, 0)
        offset, extent = struct.unpack_from(f"{order}QQ" if wide else f"{order}II", row, 24 if wide else 16)
        made.append(_Section(name, kind, offset, extent))
    return made


def _names(
    file: BinaryIO, length: int, sections: list[_Section], index: int, order: str, wide: bool, table: int
) -> bytes:
    if index == 0xFFFF:
        first = _at(file, length, table, 64 if wide else 40)
        index = struct.unpack_from(f"{order}I", first, 40 if wide else 24)[0]
    if index >= len(sections):
        return b""
    section = sections[index]
    if section.size > _MOST_NAMES:
        raise ValueError("too many section names")
    return _at(file, length, section.offset, section.size)


def _name_of(names: bytes, at: int) -> bytes:
    end = names.find(b"\x00", at)
    return names[at : end if end >= 0 else at + 64] if at < len(names) else b""


def _build_id(file: BinaryIO, length: int, order: str, sections: list[_Section]) -> str | None:
    for section in sections:
        if section.kind != _SHT_NOTE or not 12 < section.size <= _MOST_NOTES:
            continue
        data = _at(file, length, section.offset, section.size)
        at = 0
        while at + 12 <= len(data):
            name_size, value_size, kind = struct.unpack_from(f"{order}III", data, at)
            name_at = at + 12
            value_at = name_at + _padded(name_size)
            if value_at + value_size > len(data):
                break
            if kind == _NT_GNU_BUILD_ID and data[name_at : name_at + name_size] == b"GNU\x00":
                return data[value_at : value_at + value_size].hex()
            at = value_at + _padded(value_size)
    return None


def _padded(size: int) -> int:
    return (size + 3) & ~3


def _at(file: BinaryIO, length: int, offset: int, size: int) -> bytes:
    if offset + size > length:
        raise ValueError("cut short")
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise ValueError("cut short")
    return data
