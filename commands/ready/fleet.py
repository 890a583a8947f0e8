"""Which hosts are asked: those that the inventory names, and of its patterns those that were heard of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from sqlmodel import Session, select

from commands.errors import BadArguments, NotFound
from commands.inventory import HostEntry, Inventory
from integrations.slack.text import code
from storage import Host

EXAMPLE = "/panic ready host:web-* ring:canary"


def fleet_of(inventory: Inventory, heard_of: Iterable[str]) -> dict[str, HostEntry]:
    """{name in lower case: its entry}."""
    hosts = {entry.name.lower(): entry for entry in inventory.entries if not entry.is_pattern}
    for name in heard_of:
        entry = inventory.find(name)
        if entry is not None and entry.is_pattern:
            hosts.setdefault(name.lower(), entry)
    return hosts


def heard_of(session: Session) -> list[str]:
    return list(session.exec(select(Host.name)))


def chosen(words: Iterable[str], fleet: Mapping[str, HostEntry]) -> list[str]:
    """The hosts meant by `host:web-*`, `ring:canary` or a plain name; with both kinds, those in both. All of them
    without a word. Raises BadArguments, NotFound."""
    names: set[str] = set()
    rings: list[str] = []
    asked = False
    for word in words:
        kind, found, value = word.partition(":")
        kind = kind.lower() if found else "host"
        value = (value if found else word).lower()
        if kind not in ("host", "ring") or not value:
            raise BadArguments(f"{code(word[:80])} means no host and no ring.", example=EXAMPLE)
        if kind == "ring":
            rings.append(value)
            continue
        asked = True
        here = {name for name in fleet if fnmatchcase(name, value)}
        if not here:
            raise NotFound(f"no host in the inventory is meant by {code(word[:80])}.", example=EXAMPLE)
        names |= here
    meant = names if asked else set(fleet)
    if rings:
        meant = {n for n in meant if any(fnmatchcase((fleet[n].ring or "").lower(), ring) for ring in rings)}
    if not meant and (asked or rings):
        raise NotFound("no host in the inventory is meant by that.", example=EXAMPLE)
    return sorted(meant)
