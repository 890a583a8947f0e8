"""The hosts that there are and what they belong to: which of them a change's scope covers, which a text names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property

from integrations.changes import Scope

_WORD = re.compile(r"[\w.\-]+")
_KEPT = 4096  # scopes whose hosts are kept in mind
_SHORTEST = 3  # a ring called "a" would be named by every ticket


@dataclass(frozen=True)
class Place:
    """One host and what it belongs to, in lower case."""

    name: str
    ring: str | None = None
    hardware: str | None = None
    service: str | None = None


class Fleet:
    """All hosts known, by name and by what they belong to. Two places of one name: the first counts."""

    def __init__(self, places: Iterable[Place] = ()) -> None:
        self.places: dict[str, Place] = {}
        for place in places:
            self.places.setdefault(place.name, place)
        self.names = frozenset(self.places)
        self._rings = _grouped((p.ring, p.name) for p in self.places.values())
        self._hardware = _grouped((p.hardware, p.name) for p in self.places.values())
        self._services = _grouped((p.service, p.name) for p in self.places.values())
        self._short = _grouped((n.split(".", 1)[0], n) for n in self.names)
        self._globs: dict[str, frozenset[str]] = {}
        self._covered: dict[Scope, frozenset[str]] = {}

    def covered(self, scope: Scope) -> frozenset[str]:
        """The hosts that are named, and those that fit all of the rings, hardware models and services given.

        `rings = [prod-2], hardware = [R640]` are the R640s of that ring. A name without a domain is that of any.
        """
        if scope.everywhere:
            return self.names
        known = self._covered.get(scope)
        if known is None:
            if len(self._covered) >= _KEPT:
                self._covered.clear()
            known = self._covered[scope] = self._cover(scope)
        return known

    def _cover(self, scope: Scope) -> frozenset[str]:
        named: set[str] = set()
        for name in scope.hosts:
            if name in self.names:
                named.add(name)
            elif any(sign in name for sign in "*?["):
                named |= self._matching(name)
            elif "." in name:
                named |= self.names & {name.split(".", 1)[0]}
            else:
                named |= self._short.get(name, frozenset())
        groups = [
            frozenset[str]().union(*(members.get(name, frozenset()) for name in wanted))
            for wanted, members in (
                (scope.rings, self._rings),
                (scope.hardware, self._hardware),
                (scope.services, self._services),
            )
            if wanted
        ]
        return frozenset(named | frozenset.intersection(*groups)) if groups else frozenset(named)

    def mentioned(self, text: str) -> Scope:
        """What of the fleet stands in a text by its whole name: web-1 is not named by web-17 or web-1-old.

        A host's domain may be missing or added: web-1.example.com is web-1.
        """
        folded = text.casefold()
        words = {word.strip(".-") for word in _WORD.findall(folded)}
        hosts = {w for w in words if w in self.names or w in self._short}
        hosts |= {short for w in words if "." in w and (short := w.split(".", 1)[0]) in self.names}
        found = {
            kind: tuple(sorted(name for name in names if _stands(name, folded, words)))
            for kind, names in self._group_names.items()
        }
        return Scope(tuple(sorted(hosts)), found["ring"], found["hardware"], found["service"])

    @cached_property
    def _group_names(self) -> dict[str, tuple[str, ...]]:
        groups = {"ring": self._rings, "hardware": self._hardware, "service": self._services}
        return {k: tuple(n for n in names if len(n) >= _SHORTEST) for k, names in groups.items()}

    def _matching(self, pattern: str) -> frozenset[str]:
        known = self._globs.get(pattern)
        if known is None:
            if len(self._globs) >= _KEPT:
                self._globs.clear()
            # One pattern is matched against names of at most 253 characters, and translate makes no nested repeats.
            fits = re.compile(translate(pattern)).match
            known = self._globs[pattern] = frozenset(n for n in self.names if fits(n))
        return known


def _stands(name: str, folded: str, words: set[str]) -> bool:
    if _WORD.fullmatch(name):
        return name in words
    return name in folded and (
        re.search(rf"(?<![\w.\-]){re.escape(name)}(?![\w\-])", folded) is not None  # "PowerEdge R640"
    )


def _grouped(pairs: Iterable[tuple[str | None, str]]) -> dict[str, frozenset[str]]:
    groups: dict[str, set[str]] = defaultdict(set)
    for group, name in pairs:
        if group:
            groups[group].add(name)
    return {group: frozenset(names) for group, names in groups.items()}
