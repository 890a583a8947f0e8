"""`df -hT`: how much room is where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50, "E": 2**60}
_ROW = re.compile(
    r"^(\S+) +(\S+) +([\d.]+[KMGTPE]?) +([\d.]+[KMGTPE]?) +([\d.]+[KMGTPE]?) +(\d+%|-) +(/.*)$", re.MULTILINE
)


@dataclass(frozen=True)
class Filesystem:
    """One row; sizes in bytes, as exact as `-h` writes them."""

    mounted_on: str
    kind: str
    size: int
    available: int


def read_df(text: str) -> tuple[Filesystem, ...]:
    found = []
    for match in _ROW.finditer(text):
        size, available = _bytes(match[3]), _bytes(match[5])
        if size is not None and available is not None:
            found.append(Filesystem(match[7].rstrip(), match[2], size, available))
    return tuple(found)


def holding(filesystems: tuple[Filesystem, ...], path: str) -> Filesystem | None:
    """The filesystem that a path lies on: the one mounted nearest above it; the last one where two are."""
    wanted = PurePosixPath(path)
    best: Filesystem | None = None
    for one in filesystems:
        mount = PurePosixPath(one.mounted_on)
        nearer = best is None or len(mount.parts) >= len(PurePosixPath(best.mounted_on).parts)
        if nearer and (wanted == mount or mount in wanted.parents):
            best = one
    return best


def _bytes(text: str) -> int | None:
    unit = text[-1] if text[-1] in "KMGTPE" else ""
    number = text.removesuffix(unit) if unit else text
    if number.count(".") > 1 or not number.strip(".") or len(number) > 15:
        return None
    return int(float(number) * _UNITS[unit])
