"""Which panics are wanted, as data: what `/panic list`, `trends`, `export` and the terminal hand to the queries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Match(StrEnum):
    """How a pattern is held against a column; never with regard to case."""

    PREFIX = "prefix"
    EXACT = "exact"
    GLOB = "glob"  # `*` any run of characters, `?` one; the whole value must match
    CONTAINS = "contains"


class Sort(StrEnum):
    """The order of a list."""

    NEWEST = "newest"
    OLDEST = "oldest"
    HOST = "host"  # by name; of one host the oldest first
    KERNEL = "kernel"  # the highest release first, as releases are numbered; of one kernel the newest first


@dataclass(frozen=True)
class Pattern:
    """One wanted value of a filter. Nothing in `text` has a meaning to SQL."""

    text: str
    how: Match = Match.PREFIX

    @property
    def like(self) -> str:
        r"""The LIKE pattern, to be used with `ESCAPE '\'`."""
        escaped = self.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        if self.how is Match.GLOB:
            return escaped.replace("*", "%").replace("?", "_")
        return {Match.PREFIX: f"{escaped}%", Match.EXACT: escaped, Match.CONTAINS: f"%{escaped}%"}[self.how]

    def matches(self, value: str) -> bool:
        """What `like` says, for a value that is at hand."""
        text, value = self.text.lower(), value.lower()
        if self.how is Match.GLOB:
            return globbed(text, value)
        if self.how is Match.EXACT:
            return text == value
        return value.startswith(text) if self.how is Match.PREFIX else text in value


@dataclass(frozen=True)
class Releases:
    """A range of kernel releases, both ends included, in the order in which releases are numbered.

    An end stands for all that begin with it: `6.1.0-31` includes `6.1.0-31-amd64`. An empty end is open.
    """

    low: str
    high: str

    def holds(self, release: str) -> bool:
        key, low, high = (kernel_order(text) for text in (release, self.low, self.high))
        return key[: len(low)] >= low and (not high or key[: len(high)] <= high)


@dataclass(frozen=True)
class Filters:
    """All fields together must hold; of several patterns in one field, one must. Empty: no condition.

    `since` is inclusive, `until` exclusive. `states` holds IncidentState values, or "none" for a panic
    without an incident. `same_as` are ids of panics whose signature is wanted. `change` are keys of tickets that are
    linked to the panic or likely for its incident. `upto_id` freezes a list while somebody pages through it.
    """

    host: tuple[Pattern, ...] = ()
    kernel: tuple[Pattern, ...] = ()
    releases: tuple[Releases, ...] = ()  # with `kernel`: one of either must hold
    kind: tuple[Pattern, ...] = ()
    ring: tuple[Pattern, ...] = ()
    hardware: tuple[Pattern, ...] = ()
    signature: tuple[Pattern, ...] = ()
    same_as: tuple[int, ...] = ()
    states: tuple[str, ...] = ()
    change: tuple[Pattern, ...] = ()
    dump: bool = False  # something of a vmcore is there
    since: datetime | None = None
    until: datetime | None = None
    words: tuple[str, ...] = ()  # each must stand in the title or in the frames
    incident: int | None = None
    upto_id: int | None = None
    sort: Sort = Sort.NEWEST


def kernel_order(release: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which 6.1.0-9 comes before 6.1.0-31."""
    return tuple(
        (1, int(part[:18]), "") if part.isdecimal() and part.isascii() else (0, 0, part)
        for part in re.findall(r"[0-9]+|[^0-9]+", release)
    )


def globbed(glob: str, value: str) -> bool:
    """Greedy, going back to the last `*` only: a regular expression of many stars would not end."""
    g = v = 0
    star, resume = -1, 0
    while v < len(value):
        if g < len(glob) and glob[g] == "*":
            star, resume = g, v
            g += 1
        elif g < len(glob) and glob[g] in ("?", value[v]):
            g, v = g + 1, v + 1
        elif star >= 0:
            resume += 1
            g, v = star + 1, resume
        else:
            return False
    return not glob[g:].strip("*")
