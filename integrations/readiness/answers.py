"""What a host answered, by the keys of readiness.toml, and the small readers of it. Any text may come."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_ASSIGNED = re.compile(r"^[ \t]*([A-Za-z_][A-Za-z0-9_.]{0,60})[ \t]*[= \t][ \t]*([^\n]*)$", re.MULTILINE)
_SIZE = re.compile(r"(\d{1,9})([KMG]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_MOST = 1024 * 1024  # characters of one output that are read


@dataclass(frozen=True)
class Output:
    """One command's output. `outcome` says in words how it ended."""

    text: str
    ok: bool = True
    outcome: str = "exit 0"


class Outputs:
    """Outputs by key. What was not asked, or failed, reads as None."""

    def __init__(self, outputs: Mapping[str, Output]) -> None:
        self._outputs = dict(outputs)

    def text(self, key: str, *, even_failed: bool = False) -> str | None:
        output = self._outputs.get(key)
        if output is None or not (output.ok or (even_failed and output.text.strip())):
            return None
        return output.text[:_MOST]

    def number(self, key: str) -> int | None:
        """A file that holds one number."""
        text = (self.text(key) or "").strip()
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None

    def settings(self, key: str, *, even_failed: bool = False) -> dict[str, str]:
        """`name = value` and `name value` lines, comments left out; the last one of a name counts."""
        text = self.text(key, even_failed=even_failed) or ""
        return {m[1]: m[2].strip().strip("\"'") for m in _ASSIGNED.finditer(text)}

    def why_not(self, key: str) -> str:
        output = self._outputs.get(key)
        if output is None:
            return "not asked"
        return "an answer that cannot be read" if output.ok else output.outcome


def whole(value: str | None) -> int | None:
    """A decimal number, with a sign at most; None for any other text."""
    return int(value) if value is not None and re.fullmatch(r"-?\d{1,18}", value, re.ASCII) else None


def mebibytes(size: float) -> str:
    """`192 MiB`, `4.0 GiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def size_of(word: str) -> int | None:
    """`256M` in bytes."""
    found = _SIZE.fullmatch(word.strip())
    return int(found[1]) * _UNITS[found[2].upper()] if found else None
