"""VMCOREINFO from the first bytes of a dump: release, build id, time of the crash, without a vmlinux.

The note is plain `KEY=value` lines (Documentation/admin-guide/kdump/vmcoreinfo.rst), found as such in the
head of KDUMP, flattened and ELF files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class VmcoreInfo:
    """`build_id` is hex (BUILD-ID, 5.9+); `crash_time` has seconds; `page_size` is in bytes."""

    release: str | None = None
    build_id: str | None = None
    crash_time: datetime | None = None
    page_size: int | None = None


_VALUES = {
    b"OSRELEASE=": re.compile(rb"([\x21-\x7e]{1,64})[\n\x00]"),
    b"BUILD-ID=": re.compile(rb"([0-9a-fA-F]{16,128})[\n\x00]"),
    b"PAGESIZE=": re.compile(rb"(\d{3,9})[\n\x00]"),
    b"CRASHTIME=": re.compile(rb"(\d{1,11})[\n\x00]"),
}


def _find(head: bytes, key: bytes) -> re.Match[bytes] | None:
    """The first line of that key whose value is one. By the key: most of a head is zeros, each of which ends a line."""
    at = -1
    while (at := head.find(key, at + 1)) >= 0:
        if (at == 0 or head[at - 1] in b"\n\x00") and (found := _VALUES[key].match(head, at + len(key))):
            return found
    return None


def read_vmcoreinfo(head: bytes) -> VmcoreInfo:
    """Reads the head of a dump (64 KiB suffice for makedumpfile's output). Fields not found are None."""
    release = _find(head, b"OSRELEASE=")
    build = _find(head, b"BUILD-ID=")
    page = _find(head, b"PAGESIZE=")
    time = _find(head, b"CRASHTIME=")
    name = release[1].decode("ascii") if release else None
    if name is None and head.startswith(b"KDUMP   "):
        field = head[142:207].split(b"\x00", 1)[0]
        name = field.decode("ascii", "replace") if field and field.isascii() else None
    crash_time = None
    if time:
        crash_time = datetime.fromtimestamp(int(time[1]), UTC)
    return VmcoreInfo(
        release=name,
        build_id=build[1].decode("ascii").lower() if build else None,
        crash_time=crash_time,
        page_size=int(page[1]) if page else None,
    )
