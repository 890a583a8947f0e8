"""How much there is, of whom, how fast it grows, and when the budget will be full. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from commands.retention.items import Copy, Inventory, LocalDump

SPAN = 14  # days over which growth is taken


@dataclass(frozen=True)
class Share:
    """Bytes and number of dumps, the largest holders first."""

    size: int = 0
    count: int = 0
    by_host: tuple[tuple[str, int], ...] = ()
    by_ring: tuple[tuple[str, int], ...] = ()
    by_signature: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Usage:
    """`growth`: bytes a day that come to central net of those that leave. `full_in`: days until the budget is full;
    None where it is not set or nothing grows."""

    central: Share = field(default=Share())
    hosts: Share = field(default=Share())
    budget: int | None = None
    growth: float = 0.0
    full_in: float | None = None


def usage_of(inventory: Inventory, came: int, freed: int) -> Usage:
    """`came`, `freed`: bytes that came to central and left it in the last `SPAN` days."""
    growth = (came - freed) / SPAN
    full_in = None
    if inventory.budget is not None:
        left = inventory.budget - inventory.stored
        full_in = 0.0 if left <= 0 else left / growth if growth > 0 else None
    signatures = {c.panic_id: c.signature for c in inventory.copies}
    return Usage(
        _share(inventory.copies, signatures),
        _share(inventory.locals, signatures),
        inventory.budget,
        growth,
        full_in,
    )


def _share(items: Iterable[Copy | LocalDump], signatures: dict[int, str]) -> Share:
    hosts: Counter[str] = Counter()
    rings: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    size = count = 0
    for item in items:
        size, count = size + item.size, count + 1
        hosts[item.host] += item.size
        rings[item.ring or "no ring"] += item.size
        if item.panic_id in signatures:
            kinds[signatures[item.panic_id]] += item.size
    return Share(size, count, _ranked(hosts), _ranked(rings), _ranked(kinds))


def _ranked(counted: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counted.items(), key=lambda entry: (-entry[1], entry[0])))
