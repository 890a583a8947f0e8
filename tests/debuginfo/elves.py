"""ELF files as small as they can be: a build id's note, and debug information in name."""

from __future__ import annotations

import struct


def elf(
    build_id: str | None, *, debug: bool = True, wide: bool = True, order: str = "<", padding: int = 0
) -> bytes:
    """An ELF file with a note and, with `debug`, a section `.debug_info`."""
    note = b""
    if build_id is not None:
        raw = bytes.fromhex(build_id)
        note = struct.pack(f"{order}III", 4, 3, 3) + b"Xen\x00" + b"abc\x00"  # another note comes first
        note += struct.pack(f"{order}III", 4, len(raw), 3) + b"GNU\x00" + raw
    names = b"\x00.note.gnu.build-id\x00.debug_info\x00.shstrtab\x00"
    info = b"types and lines" + bytes(padding)
    start = 64 if wide else 52
    parts = [(1, 7, note), (20, 1, info if debug else b""), (32, 3, names)]
    body, rows, at = b"", [bytes(64 if wide else 40)], start
    for name, kind, data in parts:
        if wide:
            rows.append(struct.pack(f"{order}IIQQQQIIQQ", name, kind, 0, 0, at, len(data), 0, 0, 1, 0))
        else:
            rows.append(struct.pack(f"{order}IIIIIIIIII", name, kind, 0, 0, at, len(data), 0, 0, 1, 0))
        body += data
        at += len(data)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    form = f"{order}HHIQQQIHHHHHH" if wide else f"{order}HHIIIIIHHHHHH"
    sizes = (64, 0, 0, 64, len(rows), 3) if wide else (52, 0, 0, 40, len(rows), 3)
    return ident + struct.pack(form, 2, 62, 1, 0, 0, at, 0, *sizes) + body + b"".join(rows)
