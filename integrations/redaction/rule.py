"""A rule that holds within a line, and looks only at lines that can have what it is for: most have not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_SECRETS = 4  # behind one program's name


@dataclass(frozen=True)
class Rule:
    """Patterns that hold within a line, for the lines in which one of `fragments` (small letters) stands."""

    fragments: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]

    def sub(self, name: Callable[[re.Match[str]], str], text: str) -> str:
        parts: list[str] = []
        at = 0
        for start, end in self._lines(text):
            line = text[start:end]
            for pattern in self.patterns:
                line = self._repeated(pattern, name, line)
            parts += (text[at:start], line)
            at = end
        return "".join([*parts, text[at:]]) if parts else text

    @staticmethod
    def _repeated(pattern: re.Pattern[str], name: Callable[[re.Match[str]], str], line: str) -> str:
        """A command line may hold two secrets behind one program's name, which a match begins with."""
        for _ in range(_SECRETS):
            line, count = pattern.subn(name, line)
            if not count:
                break
        return line

    def _lines(self, text: str) -> list[tuple[int, int]]:
        lowered = text.lower()
        if len(lowered) != len(text):  # a few letters grow when they are made small
            lowered = text.translate(_SMALL)
        starts: set[int] = set()
        for fragment in self.fragments:
            at = lowered.find(fragment)
            while at >= 0:
                starts.add(lowered.rfind("\n", 0, at) + 1)
                end = lowered.find("\n", at)
                at = lowered.find(fragment, end) if end >= 0 else -1
        found = []
        for start in sorted(starts):
            end = text.find("\n", start)
            found.append((start, len(text) if end < 0 else end))
        return found


_SMALL = {n: n + 32 for n in range(ord("A"), ord("Z") + 1)}


def rule(fragments: str, *patterns: str, flags: int = re.I) -> Rule:
    """A rule; `fragments` are words with spaces between them."""
    return Rule(tuple(fragments.split()), tuple(re.compile(p, flags) for p in patterns))
