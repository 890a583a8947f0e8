"""What is known of a panic's past: on its host, with its signature, on which kernels, rings and hardware.

Every figure comes from an index (`ix_panic_host_occurred`, `ix_panic_signature_occurred`, those on kernel, ring and
hardware) or from the roll-ups; no query reads the columns that lie behind the panic's text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, text
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from storage.ids import panic_ref
from storage.kernels import includes_fix, kernel_base, kernel_order
from storage.known import KnownCause
from storage.rollups import SPREAD, Cut, panic_place, panic_spread
from storage.tables import Incident, Panic

__all__ = ["Recurrence", "is_readable", "kernel_order", "ordinal", "recurrence", "recurrence_line"]

HOST_WINDOW = timedelta(days=30)
SIMILAR_SHOWN = 3
NEW_SINCE_HOSTS = 2  # one host alone on the older kernel does not make a signature new

# A loose index scan: one look-up a distinct kernel, however many panics there are. The same in SQLite and
# PostgreSQL, which both lack a skip scan for DISTINCT.
_DISTINCT_KERNELS = text(
    "WITH RECURSIVE seen(kernel) AS ("
    " SELECT min(kernel) FROM panic"
    " UNION ALL"
    " SELECT (SELECT min(panic.kernel) FROM panic WHERE panic.kernel > seen.kernel)"
    " FROM seen WHERE seen.kernel IS NOT NULL"
    ") SELECT kernel FROM seen WHERE kernel IS NOT NULL LIMIT 5000"
)


@dataclass(frozen=True)
class Recurrence:
    """Facts about one panic among all that are known, as of the query.

    An ordinal counts the panic itself and those that occurred before it (for the same instant: with a lower
    id), so it does not change when later ones arrive; a total counts all. `readable` is false when the
    cause is unknown: such panics share a key, yet nothing says that they have anything in common, so all
    that is said of the signature is then zero or empty.
    """

    panic_id: int
    host: str
    kernel: str | None
    host_ordinal: int  # on this host, of all time
    host_ordinal_30d: int  # on this host, in the 30 days up to the panic
    host_previous_at: datetime | None  # when this host panicked the last time before
    readable: bool
    deliberate: bool
    signature_ordinal: int = 0
    signature_total: int = 0
    signature_hosts: int = 0
    signature_first: datetime | None = None
    signature_last: datetime | None = None
    signature_previous_at: datetime | None = None  # the last one before this panic
    by_kernel: Mapping[str, int] = field(default_factory=dict)  # with this signature, kernel known
    kernel_unknown: int = 0  # with this signature, kernel not known
    kernel_without: str | None = None  # the nearest older kernel that has panics, none of this signature
    without_hosts: int = 0  # hosts that are known to have run that kernel: they panicked on it
    without_days: int = 0  # whole days between the first and the last of those panics
    new_since: str | None = None  # the oldest kernel with it, when an older one was seen on hosts enough
    fixed_in: str | None = None  # the kernel that people say mends it
    came_back: bool = (
        False  # this panic's kernel is that one or a later one, and it occurred after that was said
    )
    ring: str | None = None
    hardware: str | None = None
    same_ring: int = 0  # with this signature, in the panic's ring (itself included)
    same_hardware: int = 0  # with this signature, on the panic's hardware (itself included)
    ring_tells: str | None = None  # the ring, when all are in it and panics in other rings are known
    hardware_tells: str | None = None  # the hardware, likewise
    similar: tuple[int, ...] = ()  # the newest others with this signature
    previous_incident: int | None = None  # the latest earlier incident of this signature


def is_readable(kind: str, signature_key: str) -> bool:
    """Whether the signature says anything: `unknown` is the key of all that nobody could read."""
    return kind != "unknown" and signature_key.split("|", 1)[0] not in ("", "unknown")


def recurrence(session: Session, panic: Panic) -> Recurrence:
    """The facts for a stored panic; a dozen small queries, each by index."""
    assert panic.id is not None
    host_ordinal, in_window, previous = _on_host(session, panic)
    base: dict[str, Any] = {
        "panic_id": panic.id,
        "host": panic.host,
        "kernel": panic.kernel,
        "host_ordinal": host_ordinal,
        "host_ordinal_30d": in_window,
        "host_previous_at": previous,
        "readable": is_readable(panic.kind, panic.signature_key),
        "deliberate": panic.deliberate,
        "ring": panic.ring,
        "hardware": panic.hardware,
    }
    if not base["readable"]:
        return Recurrence(**base)
    return Recurrence(**base, **_with_signature(session, panic))


def recurrence_line(facts: Recurrence, *, similar: bool = True) -> str:
    """The facts as a line of plain text, to be escaped for Slack: kernel and hardware names come from hosts.

    "3rd panic on this host in 30 d · 12th with this signature, new since 6.1.0-31, all on it, never on 6.1.0-30 (seen
    on 212 hosts, 40 days), only on Dell R640 · first seen 2026-11-02, last before this 2026-11-18 · similar: P-12".
    What the data do not support is left out: "all on" needs two panics, "never on" a kernel on which hosts panicked
    of other causes, "only on HARDWARE" and "only in ring" panics from elsewhere, "came back" a later kernel than the
    one that was said to mend it. Without `similar` its end is left out, for readers who get it as links.
    """
    parts = [_host_words(facts)]
    if facts.readable:
        parts.append(_signature_words(facts))
        if facts.came_back:
            parts.append(f"came back after being marked fixed in {facts.fixed_in}")
        parts.append(_seen_words(facts))
    if similar and facts.similar:
        parts.append("similar: " + ", ".join(panic_ref(i) for i in facts.similar))
    return " · ".join(part for part in parts if part)


def ordinal(number: int) -> str:
    """1 -> "first", 2 -> "2nd", 3 -> "3rd", 11 -> "11th"."""
    if number == 1:
        return "first"
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


# -- queries ------------------------------------------------------------------------------------------


def _not_after(panic: Panic) -> Any:
    """The panic itself and all that occurred before it."""
    return or_(
        col(Panic.occurred_at) < panic.occurred_at,
        and_(col(Panic.occurred_at) == panic.occurred_at, col(Panic.id) <= panic.id),
    )


def _on_host(session: Session, panic: Panic) -> tuple[int, int, datetime | None]:
    upto = (
        col(Panic.host) == panic.host,
        col(Panic.occurred_at) <= panic.occurred_at,  # stated beside the `or`: this one the index can use
        _not_after(panic),
    )
    total = session.exec(select(func.count()).select_from(Panic).where(*upto)).one()
    window = session.exec(
        select(func.count())
        .select_from(Panic)
        .where(*upto, col(Panic.occurred_at) > panic.occurred_at - HOST_WINDOW)
    ).one()
    previous = session.exec(
        select(Panic.occurred_at)
        .where(*upto, col(Panic.id) != panic.id)
        .order_by(col(Panic.occurred_at).desc())
        .limit(1)
    ).first()
    return total, window, previous


def _with_signature(session: Session, panic: Panic) -> dict[str, Any]:
    same = col(Panic.signature_key) == panic.signature_key
    moment = col(Panic.occurred_at)
    # One walk through the index, which holds the hosts.
    hosts, before = session.exec(
        select(func.count(func.distinct(Panic.host)), func.count().filter(moment < panic.occurred_at)).where(
            same
        )
    ).one()
    spread = _spread(session, panic.signature_key)
    rings, hardware = spread[Cut.RING], spread[Cut.HARDWARE]
    unknown_kernel = spread[Cut.KERNEL].pop(None, 0)
    kernels = Counter({kernel: n for kernel, n in spread[Cut.KERNEL].items() if kernel is not None})
    total = sum(rings.values())
    # One aggregate a query: only then is it one step in the index.
    first = session.exec(select(func.min(moment)).where(same)).one()
    last = session.exec(select(func.max(moment)).where(same)).one()
    upto = (same, moment <= panic.occurred_at, _not_after(panic))
    beside = session.exec(
        select(func.count()).where(same, moment == panic.occurred_at, col(Panic.id) <= panic.id)
    ).one()
    newest_first = (moment.desc(), col(Panic.id).desc())
    previous = session.exec(
        select(Panic.occurred_at).where(*upto, col(Panic.id) != panic.id).order_by(*newest_first).limit(1)
    ).first()
    others = session.exec(
        select(Panic.id).where(same, col(Panic.id) != panic.id).order_by(*newest_first).limit(SIMILAR_SHOWN)
    ).all()
    return {
        "signature_ordinal": before + beside,
        "signature_total": total,
        "signature_hosts": hosts,
        "signature_first": first,
        "signature_last": last,
        "signature_previous_at": previous,
        "by_kernel": dict(sorted(kernels.items(), key=lambda item: (-item[1], kernel_order(item[0])))),
        "kernel_unknown": unknown_kernel,
        **(_older_kernel(session, kernels) if total > 1 and not unknown_kernel else {}),
        **_fixed(session, panic),
        "same_ring": rings[panic.ring] if panic.ring else 0,
        "same_hardware": hardware[panic.hardware] if panic.hardware else 0,
        "ring_tells": _tells(session, Panic.ring, rings),
        "hardware_tells": _tells(session, Panic.hardware, hardware),
        "similar": tuple(i for i in others if i is not None),
        "previous_incident": _previous_incident(session, panic),
    }


def _spread(session: Session, signature_key: str) -> dict[Cut, Counter[str | None]]:
    """A signature's panics by kernel, ring and hardware, deliberate ones included; None: not known."""
    found: dict[Cut, Counter[str | None]] = {cut: Counter() for cut in SPREAD}
    spread = panic_spread.c
    for cut, value, number in session.execute(
        sa_select(spread.cut, spread.value, spread.panics).where(spread.signature_key == signature_key)
    ):
        found[Cut(cut)][value or None] = number
    return found


def _older_kernel(session: Session, kernels: Counter[str]) -> dict[str, Any]:
    """The nearest older kernel without this signature, and how many hosts are known to have run it for how long."""
    without = _older_kernel_without(session, kernels)
    if without is None:
        return {}
    hosts = session.execute(
        sa_select(func.count()).where(panic_place.c.cut == Cut.KERNEL.value, panic_place.c.value == without)
    ).scalar_one()
    ran = col(Panic.kernel) == without
    first = session.exec(select(func.min(Panic.occurred_at)).where(ran)).one()
    last = session.exec(select(func.max(Panic.occurred_at)).where(ran)).one()
    oldest = min(kernels, key=kernel_order)
    new = hosts >= NEW_SINCE_HOSTS and kernel_base(oldest) != kernel_base(without)
    return {
        "kernel_without": without,
        "without_hosts": hosts,
        "without_days": (last - first).days,
        "new_since": oldest if new else None,
    }


def _fixed(session: Session, panic: Panic) -> dict[str, Any]:
    known = session.get(KnownCause, panic.signature_key)
    if known is None or known.fixed_in is None:
        return {}
    said_before = known.marked_at is not None and known.marked_at < panic.occurred_at
    return {
        "fixed_in": known.fixed_in,
        "came_back": said_before and not panic.deliberate and includes_fix(panic.kernel, known.fixed_in),
    }


def _older_kernel_without(session: Session, kernels: Counter[str]) -> str | None:
    """The newest kernel below all that have this signature, among kernels that have panics at all."""
    if not kernels:
        return None
    known = session.execute(_DISTINCT_KERNELS).scalars().all()
    oldest = min(map(kernel_order, kernels))
    older = [k for k in known if k not in kernels and kernel_order(k) < oldest]
    return max(older, key=kernel_order, default=None)


def _tells(session: Session, column: Any, counts: Counter[str | None]) -> str | None:
    """The one value that all have, if that is a finding: two or more panics, and other values are known."""
    if len(counts) != 1 or sum(counts.values()) < 2:
        return None
    value = next(iter(counts))
    if not value:
        return None
    # One aggregate a query: only then is it one step in the index.
    lowest = session.exec(select(func.min(column))).one()
    highest = session.exec(select(func.max(column))).one()
    return value if (lowest, highest) != (value, value) else None


def _previous_incident(session: Session, panic: Panic) -> int | None:
    if panic.incident_id is None:
        return None
    own = session.get(Incident, panic.incident_id)
    if own is None:
        return None
    return session.exec(
        select(Incident.id)
        .where(
            col(Incident.signature_key) == panic.signature_key,
            col(Incident.id) != own.id,
            col(Incident.merged_into_id).is_(None),
            col(Incident.wave).is_(False),
            or_(
                col(Incident.opened_at) < own.opened_at,
                and_(col(Incident.opened_at) == own.opened_at, col(Incident.id) < own.id),
            ),
        )
        .order_by(col(Incident.opened_at).desc(), col(Incident.id).desc())
        .limit(1)
    ).first()


# -- words --------------------------------------------------------------------------------------------


def _host_words(facts: Recurrence) -> str:
    if facts.host_ordinal == 1:
        return "first panic on this host"
    words = f"{ordinal(facts.host_ordinal_30d)} panic on this host in 30 d"
    if facts.host_ordinal_30d == facts.host_ordinal:
        return words
    return f"{words}, {ordinal(facts.host_ordinal)} in all"


def _signature_words(facts: Recurrence) -> str:
    if facts.signature_total == 1:
        return "first with this signature"
    words = ordinal(facts.signature_ordinal)
    if facts.signature_total > facts.signature_ordinal:
        words += f" of {facts.signature_total}"
    clauses = [f"{words} with this signature"]
    if facts.signature_hosts > 1:
        clauses[0] += f" ({facts.signature_hosts} hosts)"
    clauses += _kernel_words(facts)
    clauses += _place_words(facts.hardware_tells, facts.hardware, facts.same_hardware, facts, "on")
    clauses += _place_words(facts.ring_tells, facts.ring, facts.same_ring, facts, "in ring")
    return ", ".join(clauses)


def _place_words(tells: str | None, here: str | None, count: int, facts: Recurrence, where: str) -> list[str]:
    if tells:
        return [f"only {where} {tells}"]
    if here and 0 < count < facts.signature_total:
        return [f"{count} {where} {here}"]
    return []


def _kernel_words(facts: Recurrence) -> list[str]:
    if not facts.by_kernel:
        return []
    clauses = [f"new since {facts.new_since}"] if facts.new_since else []
    if len(facts.by_kernel) == 1 and not facts.kernel_unknown:
        clauses.append("all on it" if facts.new_since else f"all on {next(iter(facts.by_kernel))}")
    else:
        shown = list(facts.by_kernel.items())[:3]
        clauses += [f"{count} on {kernel}" for kernel, count in shown]
        rest = len(facts.by_kernel) - len(shown)
        if rest:
            count = sum(facts.by_kernel.values()) - sum(c for _, c in shown)
            clauses.append(f"{count} on {rest} other kernel{'s' if rest > 1 else ''}")
        if facts.kernel_unknown:
            clauses.append(f"{facts.kernel_unknown} on a kernel not known")
    if facts.kernel_without:
        clauses.append(f"never on {facts.kernel_without} (seen on {_evidence(facts)})")
    return clauses


def _evidence(facts: Recurrence) -> str:
    """ "212 hosts, 40 days"; less than a day is not told."""
    hosts = f"{facts.without_hosts} host{'s' if facts.without_hosts != 1 else ''}"
    if not facts.without_days:
        return hosts
    return f"{hosts}, {facts.without_days} day{'s' if facts.without_days != 1 else ''}"


def _seen_words(facts: Recurrence) -> str:
    """First and last seen, as days in UTC; nothing of the only one."""
    words = []
    if facts.signature_ordinal > 1 and facts.signature_first is not None:
        words.append(f"first seen {facts.signature_first:%Y-%m-%d}")
    if facts.signature_ordinal < facts.signature_total and facts.signature_last is not None:
        words.append(f"last {facts.signature_last:%Y-%m-%d}")
    elif facts.signature_ordinal > 2 and facts.signature_previous_at is not None:
        words.append(f"last before this {facts.signature_previous_at:%Y-%m-%d}")
    return ", ".join(words)
