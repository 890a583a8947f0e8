"""What one look at a place brings, and what is handed on of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from commands.sweep.found import FoundDump, Sorted, report_id

MOST = 20  # dumps that one look reads and tells: a host in a crash loop has more, and they can wait


@dataclass(frozen=True)
class Told:
    """What is known of a host's crashes: `names` of crash directories that somebody told of, `ids` of this verb's own
    reports, and `mine`: those of both that came in the sweep under way (it was interrupted, and goes on)."""

    names: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()
    mine: frozenset[str] = frozenset()

    def of(self, host: str, names: Iterable[str]) -> bool:
        return any(name in self.names or report_id(host, name) in self.ids for name in names)

    def by_this_sweep(self, host: str, names: Iterable[str]) -> bool:
        return any(name in self.mine or report_id(host, name) in self.mine for name in names)


@dataclass(frozen=True)
class Terms:
    """What a look goes by: the present moment, and the settings' lengths of time."""

    now: datetime
    settle: timedelta
    since: timedelta
    most: int = MOST

    def is_history(self, found: FoundDump) -> bool:
        return found.died < self.now - self.since


@dataclass
class Findings:
    """What a look found, filled in as it goes: what was found before it broke off is not lost.

    `in_progress`, `unread` and `empty` are names; `unplaced` are (what stands before the date, why, how many).
    """

    known: int = 0
    tests: int = 0
    later: int = 0
    in_progress: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    unplaced: dict[str, tuple[str, int]] = field(default_factory=dict)
    found: list[dict[str, Any]] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)  # (host, name) of every crash that is there

    def add(self, sorted_out: Sorted) -> None:
        self.known += sorted_out.known
        self.tests += sorted_out.tests
        self.later += sorted_out.later
        self.in_progress += sorted_out.in_progress
        self.empty += sorted_out.empty

    def as_json(self) -> Mapping[str, Any]:
        return {
            "known": self.known,
            "tests": self.tests,
            "later": self.later,
            "in_progress": self.in_progress[:50],
            "unread": self.unread[:50],
            "empty": self.empty[:50],
            "unplaced": [[called, why, count] for called, (why, count) in sorted(self.unplaced.items())][
                :100
            ],
            "found": self.found[:200],
        }


Deliver = Callable[[FoundDump], Awaitable[None]]
