"""Which host a pasted text is of: by the log's own lines, or by a name of the inventory in it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from commands.inventory import Inventory
from integrations.inbound import host_name

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?"
# `Nov 23 09:14:01 web-17 kernel: …`, `2026-11-23T09:14:01.12+01:00 web-17 kernel[0]: …`
_LOGGED = re.compile(
    r"^(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d(?:\.\d{1,9})?|\d{4}-\d\d-\d\d[T ]\S{8,30}) "
    rf"({_NAME}) kernel(?:\[\d{{1,7}}\])?: ",
    re.MULTILINE,
)
_SAID = re.compile(
    rf"\b(?:host|hostname|instance|node|server)\b\"?\s*(?:[:=]|is)\s*\"?({_NAME})", re.IGNORECASE
)
_WORD = re.compile(_NAME)
_WORDS = 5_000  # looked up in the inventory


@dataclass(frozen=True)
class HostTold:
    """`sure`: the log's own lines name it and no other, or it is the one name of the inventory that stands there."""

    name: str
    sure: bool


def host_told(text: str, inventory: Inventory) -> HostTold | None:
    """None where the text names no host; the first of several, and not surely."""
    logged = _names(_LOGGED.findall(text))
    if logged:
        return HostTold(logged[0], len(logged) == 1)
    exact = {entry.name.lower() for entry in inventory.entries if not entry.is_pattern}
    known = []
    for word in dict.fromkeys(w.lower() for w in _WORD.findall(text)[:_WORDS]):
        if (word in exact or word.split(".", 1)[0] in exact) and _valid(word):
            known.append(word)
    if known:
        return HostTold(known[0], len({word.split(".", 1)[0] for word in known}) == 1)
    said = _names(_SAID.findall(text))
    return HostTold(said[0], False) if said else None


def _names(found: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(f.lower() for f in found) if _valid(name)]


def _valid(name: str) -> bool:
    try:
        host_name(name)
    except ValueError:
        return False
    return True
