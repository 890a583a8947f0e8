"""Whose dump it is: hosts by the names and addresses that kdump puts before the date. Pure.

kdump over NFS or SSH names its directories `ADDRESS-DATE` (RHEL, SUSE, Debian with HOSTTAG=ip) or `HOST-DATE`. An
address means a host only when exactly one in the inventory has it; what is not certain is told, never guessed.
"""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from commands.errors import BadArguments, NotFound
from commands.inventory import HostEntry, Inventory
from integrations.inbound import host_name
from integrations.slack.text import code

DIRECTORIES = "directories"
_STAMPED = re.compile(r"(?P<host>.{1,255}?)-(?:\d{12}|\d{4}-\d\d-\d\d-\d\d[:-]\d\d(?::\d\d)?)\Z", re.DOTALL)
_EXAMPLE = "/panic sweep web-17 ring:canary"


@dataclass(frozen=True)
class Fleet:
    """The hosts that can be looked at, by the name under which their panics are kept (as they report themselves)."""

    hosts: Mapping[str, HostEntry]

    @classmethod
    def of(cls, inventory: Inventory, seen: Iterable[str]) -> Fleet:
        """Every host that the inventory names, and of its patterns the hosts that were `seen` before.

        A host that reports itself as `web-17.example.org` and is in the inventory as `web-17` goes by its own name,
        where there is no doubt: otherwise its panics would be those of two hosts.
        """
        own: defaultdict[str, set[str]] = defaultdict(set)
        hosts: dict[str, HostEntry] = {}
        for name in sorted({name.lower() for name in seen}):
            entry = inventory.find(name)
            if entry is None:
                continue
            if entry.is_pattern:
                hosts[name] = entry
            else:
                own[entry.name.lower()].add(name)
        for entry in inventory.entries:
            name = entry.name.lower()
            if entry.is_pattern:
                continue
            called = own[name]
            hosts[next(iter(called)) if len(called) == 1 else name] = entry
        return cls(hosts)

    def called(self, name: str, inventory: Inventory) -> str | None:
        """The name under which a host is kept that is called so; None when the inventory does not know it."""
        entry = inventory.find(name)
        if entry is None or name.lower() in self.hosts:
            return None if entry is None else name.lower()
        if entry.is_pattern:
            return name.lower()
        return next((known for known, its in self.hosts.items() if its is entry), name.lower())

    def meant(self, words: Iterable[str], inventory: Inventory) -> list[str]:
        """The hosts that are asked for by name, by pattern (`web-*`) or by `ring:NAME`; sorted, each once.

        Raises NotFound for a word that means no host, BadArguments for one that can mean none.
        """
        found: set[str] = set()
        for word in words:
            kind, _, value = word.partition(":")
            ring = value if kind == "ring" else None
            wanted = (value if kind in ("ring", "host") and value else word).lower()
            if not value and kind in ("ring", "host") and ":" in word:
                raise BadArguments(f"{code(word)} names nothing.", example=_EXAMPLE)
            if ring is not None:
                here = {n for n, e in self.hosts.items() if fnmatchcase((e.ring or "").lower(), wanted)}
            elif any(mark in wanted for mark in "*?["):
                here = {
                    n
                    for n, e in self.hosts.items()
                    if fnmatchcase(n, wanted) or (not e.is_pattern and fnmatchcase(e.name.lower(), wanted))
                }
            else:
                name = self.called(wanted, inventory) if _is_host(wanted) else None
                here = {name} if name is not None else set()
            if not here:
                raise NotFound(
                    f"no host in the inventory is meant by {code(word[:80])}; a pattern there (`web-*`) means the "
                    "hosts that were heard of.",
                    example=_EXAMPLE,
                )
            found |= here
        return sorted(found)

    def entry(self, name: str, inventory: Inventory) -> HostEntry | None:
        return self.hosts.get(name) or inventory.find(name)


@dataclass(frozen=True)
class Owner:
    """Whose a directory is: `host`, or None and `why`. `called` is what stands before the date."""

    called: str
    host: str | None
    why: str = ""


def addresses(fleet: Fleet, resolved: Mapping[str, Iterable[str]] | None = None) -> dict[str, frozenset[str]]:
    """{address: names of the hosts that have it}. `resolved` gives the addresses of host names that were looked up."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name, entry in fleet.hosts.items():
        at = name if entry.is_pattern else entry.address or entry.name
        literal = _address(at)
        for text in (at,) if literal else (resolved or {}).get(at, ()):
            one = _address(text)
            if one is not None:
                found[str(one)].add(name)
    return {address: frozenset(names) for address, names in found.items()}


def unresolved(fleet: Fleet) -> list[str]:
    """The host names whose addresses the inventory does not say."""
    places = {n if e.is_pattern else e.address or e.name for n, e in fleet.hosts.items()}
    return sorted(place for place in places if _address(place) is None)


def called_of(directory: str) -> str | None:
    """What stands before the date in a crash directory's name: `10.0.0.5`, `web-17`; None where nothing does."""
    match = _STAMPED.match(directory)
    return match["host"] if match is not None else None


def is_address(called: str) -> bool:
    return _address(called) is not None


def owner_of(
    directory: str, fleet: Fleet, inventory: Inventory, known: Mapping[str, frozenset[str]]
) -> Owner:
    """Whose dump a directory of a central place holds, by its name alone. `known` as `addresses` gives it."""
    called = called_of(directory)
    if called is None:
        return Owner(directory[:80], None, "its name says no host")
    address = _address(called)
    if address is not None:
        return _by_address(called, address, known)
    if not _is_host(called.lower()):
        return Owner(called, None, "that can be no host's name")
    if called.lower().split(".", 1)[0] == "localhost":
        return Owner(called, None, "every host is called so")
    host = fleet.called(called, inventory)
    if host is None and not inventory.closed:
        host = host_name(called)
    return Owner(called, host, "" if host else "the inventory does not know it")


def _by_address(
    called: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address, known: Mapping[str, frozenset[str]]
) -> Owner:
    if address.is_loopback or address.is_unspecified:
        return Owner(called, None, "every host has this address")
    names = sorted(known.get(str(address), ()))
    if len(names) == 1:
        return Owner(called, names[0])
    if names:
        return Owner(
            called, None, f"{len(names)} hosts of the inventory have this address: {', '.join(names[:4])}"
        )
    return Owner(called, None, "no host of the inventory has this address")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.strip("[]").split("%", 1)[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _is_host(text: str) -> bool:
    try:
        host_name(text)
    except ValueError:
        return False
    return True
