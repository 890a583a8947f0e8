"""When each thing of a crash happened, as the test saw it."""

from __future__ import annotations

import time
from collections.abc import Iterator


class Phases:
    """A stopwatch with notes: seconds since it was made, and since the note before."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._began = time.monotonic()
        self._notes: list[tuple[str, float, float]] = []

    def mark(self, what: str) -> float:
        """Notes that `what` has just happened; seconds since the beginning."""
        at = time.monotonic() - self._began
        before = self._notes[-1][1] if self._notes else 0.0
        self._notes.append((what, at, at - before))
        return at

    def note(self, what: str, seconds: float) -> None:
        """Notes a duration that was measured elsewhere."""
        at = self._notes[-1][1] if self._notes else 0.0
        self._notes.append((what, at, seconds))

    def lines(self) -> Iterator[str]:
        for what, at, took in self._notes:
            yield f"{at:7.1f} s  {took:+7.1f} s  {what}"
