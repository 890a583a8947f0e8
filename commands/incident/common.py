"""What the hosts of a storm have in common and others have not: "214 of 214 on 6.1.0-31, 0 of 1,790 on 6.1.0-30"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select as select_columns
from sqlmodel import Session, col, func, select

from integrations.slack.text import code, escape, shorten
from storage import Host, Panic
from storage.rollups import Cut, panic_place

NEARLY_ALL = 0.9  # of the hosts of a storm
RARE = 0.05  # of the hosts elsewhere
_WORDS = {"kernel": "on", "ring": "in ring", "hardware": "on"}


@dataclass(frozen=True)
class Elsewhere:
    """Hosts that are known with another value (`value` None: any other), and how many of those have it as well."""

    value: str | None
    have: int
    total: int


@dataclass(frozen=True)
class Share:
    """`have` of a storm's `total` hosts have this value of `what` (kernel, ring, hardware)."""

    what: str
    value: str
    have: int
    total: int
    elsewhere: Elsewhere | None = None

    @property
    def telling(self) -> bool:
        """Common to (nearly) all. A kernel is told of also when nothing is known of others: it is what was rolled
        out; a ring or a machine only when others are known that have it not."""
        if self.total < 2 or self.have < NEARLY_ALL * self.total:
            return False
        known = self.elsewhere is not None and self.elsewhere.total > 0
        if not known:
            return self.what == "kernel"
        assert self.elsewhere is not None
        return self.what == "kernel" or self.elsewhere.have <= RARE * self.elsewhere.total


def share_of(what: str, values: Mapping[str, str | None], elsewhere: Elsewhere | None) -> Share | None:
    """`values`: host -> its value, None where it is not known. None when nothing is known of anybody."""
    counts = Counter(value for value in values.values() if value)
    if not counts:
        return None
    value, have = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return Share(what, value, have, len(values), elsewhere)


def share_words(share: Share) -> str:
    """In mrkdwn. Only what is known: who was never heard of is in neither count."""
    shown = code(share.value) if share.what != "ring" else escape(shorten(share.value, 60))
    words = f"{share.have:,} of {share.total:,} {_WORDS[share.what]} {shown}"
    other = share.elsewhere
    if other is None or other.total == 0:
        return words
    if other.value is not None:
        return f"{words}, {other.have:,} of {other.total:,} known {_WORDS[share.what]} {code(other.value)}"
    return f"{words}, {other.have:,} of {other.total:,} known hosts elsewhere"


def hosts_with(rows: Iterable[tuple[str, str | None]]) -> dict[str, str | None]:
    """The last known value of each host."""
    found: dict[str, str | None] = {}
    for host, value in rows:
        found[host] = value or found.get(host)
    return found


# -- what is known of others --------------------------------------------------------------------------------


def look_elsewhere(session: Session, incident_ids: Collection[int]) -> dict[str, Any]:
    """`Storm.elsewhere`: for each of kernel, ring and hardware the hosts that are known with another value."""
    rows = session.execute(
        select_columns(
            col(Panic.host), col(Panic.kernel), col(Panic.ring), col(Panic.hardware), col(Panic.signature_key)
        )
        .where(col(Panic.incident_id).in_(incident_ids))
        .order_by(col(Panic.id))
    ).all()
    signatures = {row[4] for row in rows}
    found: dict[str, Any] = {}
    for place, what in enumerate(("kernel", "ring", "hardware"), start=1):
        share = share_of(what, hosts_with((row[0], row[place]) for row in rows), None)
        if share is None:
            continue
        if what == "kernel":
            other = _other_kernel(session, share.value, signatures)
        else:
            column = Host.ring if what == "ring" else Host.hardware
            with_another = {row[0] for row in rows if row[place] and row[place] != share.value}
            other = _other_hosts(session, column, share.value, with_another)
        if other is not None:
            found[what] = {"of": share.value, **asdict(other)}
    return found


def elsewhere_of(known: Mapping[str, Any], share: Share) -> Elsewhere | None:
    """What was looked up for this very value; a storm that turned out to be of another one is looked up anew."""
    found = known.get(share.what)
    if not isinstance(found, Mapping) or found.get("of") != share.value:
        return None
    return Elsewhere(found.get("value"), int(found["have"]), int(found["total"]))


def _other_kernel(session: Session, kernel: str, signatures: Collection[str]) -> Elsewhere | None:
    """The kernel that most other hosts were seen with, and on how many of those the storm's signatures were, ever."""
    place = panic_place.c
    best = session.execute(
        select_columns(place.value, func.count())
        .where(place.cut == Cut.KERNEL.value, place.value.not_in(("", kernel)))
        .group_by(place.value)
        .order_by(func.count().desc(), place.value)
        .limit(1)
    ).first()
    if best is None:
        return None
    have = session.exec(
        select(func.count(func.distinct(Panic.host))).where(
            col(Panic.signature_key).in_(signatures), Panic.kernel == best[0]
        )
    ).one()
    return Elsewhere(str(best[0]), int(have), int(best[1]))


def _other_hosts(
    session: Session, column: Any, value: str, with_another: Collection[str]
) -> Elsewhere | None:
    """The known hosts with another value, and how many of those are in the storm."""
    total = session.exec(
        select(func.count()).select_from(Host).where(col(column).is_not(None), column != value)
    ).one()
    return Elsewhere(None, len(with_another), max(total, len(with_another))) if total else None
