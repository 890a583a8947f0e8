"""What is known of a panic's past: on its host, with its signature, on which kernels, rings and hardware.

Every figure comes from an index (`ix_panic_host_occurred`, `ix_panic_signature_occurred`, the single-column
indexes on kernel, ring and hardware); no query reads the columns that lie behind the panic's text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, text
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from storage.ids import panic_ref
from storage.tables import Incident, Panic

HOST_WINDOW = timedelta(days=30)
SIMILAR_SHOWN = 3

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
    by_kernel: Mapping[str, int] = field(default_factory=dict)  # with this signature, kernel known
    kernel_unknown: int = 0  # with this signature, kernel not known
    kernel_without: str | None = None  # the nearest older kernel that has panics, none of this signature
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
    }
    if not base["readable"]:
        return Recurrence(**base)
    return Recurrence(**base, **_with_signature(session, panic))


def recurrence_line(facts: Recurrence, *, similar: bool = True) -> str:
    """The facts as a line of plain text, to be escaped for Slack: kernel and hardware names come from hosts.

    "3rd panic on this host in 30 d · 12th with this signature, all on 6.1.0-31, none on 6.1.0-30 · similar:
    P-12, P-33". What the data do not support is left out: "all on" needs two panics, "none on" a kernel
    that has panics of other signatures, "all in ring" and "all on HARDWARE" panics from elsewhere. Without `similar`
    its end is left out, for readers who get it as links.
    """
    parts = [_host_words(facts)]
    if facts.readable:
        parts.append(_signature_words(facts))
    if similar and facts.similar:
        parts.append("similar: " + ", ".join(panic_ref(i) for i in facts.similar))
    return " · ".join(parts)


def ordinal(number: int) -> str:
    """1 -> "first", 2 -> "2nd", 3 -> "3rd", 11 -> "11th"."""
    if number == 1:
        return "first"
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def kernel_order(release: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which 6.1.0-9 comes before 6.1.0-31."""
    return tuple(
        (1, int(part[:18]), "") if part.isdecimal() and part.isascii() else (0, 0, part)
        for part in re.findall(r"[0-9]+|[^0-9]+", release)
    )


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
    places = (col(Panic.kernel), col(Panic.ring), col(Panic.hardware))
    moments = (func.min(Panic.occurred_at), func.max(Panic.occurred_at))
    groups = session.execute(sa_select(*places, func.count(), *moments).where(same).group_by(*places)).all()
    kernels: Counter[str] = Counter()
    rings: Counter[str | None] = Counter()
    hardware: Counter[str | None] = Counter()
    unknown_kernel = 0
    for kernel, ring, machine, count, _first, _last in groups:
        if kernel:
            kernels[kernel] += count
        else:
            unknown_kernel += count
        rings[ring] += count
        hardware[machine] += count
    total = sum(rings.values())
    place, hosts = session.exec(
        select(
            func.count().filter(_not_after(panic)),
            func.count(func.distinct(Panic.host)),
        )
        .select_from(Panic)
        .where(same)
    ).one()
    others = session.exec(
        select(Panic.id)
        .where(same, col(Panic.id) != panic.id)
        .order_by(col(Panic.occurred_at).desc(), col(Panic.id).desc())
        .limit(SIMILAR_SHOWN)
    ).all()
    return {
        "signature_ordinal": place,
        "signature_total": total,
        "signature_hosts": hosts,
        "signature_first": min(g[4] for g in groups),
        "signature_last": max(g[5] for g in groups),
        "by_kernel": dict(sorted(kernels.items(), key=lambda item: (-item[1], kernel_order(item[0])))),
        "kernel_unknown": unknown_kernel,
        "kernel_without": _older_kernel_without(session, kernels)
        if total > 1 and not unknown_kernel
        else None,
        "same_ring": rings[panic.ring] if panic.ring else 0,
        "same_hardware": hardware[panic.hardware] if panic.hardware else 0,
        "ring_tells": _tells(session, Panic.ring, rings),
        "hardware_tells": _tells(session, Panic.hardware, hardware),
        "similar": tuple(i for i in others if i is not None),
        "previous_incident": _previous_incident(session, panic),
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
    clauses = [f"{words} with this signature", *_kernel_words(facts)]
    if facts.hardware_tells:
        clauses.append(f"all on {facts.hardware_tells}")
    if facts.ring_tells:
        clauses.append(f"all in ring {facts.ring_tells}")
    return ", ".join(clauses)


def _kernel_words(facts: Recurrence) -> list[str]:
    if not facts.by_kernel:
        return []
    if len(facts.by_kernel) == 1 and not facts.kernel_unknown:
        clauses = [f"all on {next(iter(facts.by_kernel))}"]
    else:
        shown = list(facts.by_kernel.items())[:3]
        clauses = [f"{count} on {kernel}" for kernel, count in shown]
        rest = len(facts.by_kernel) - len(shown)
        if rest:
            count = sum(facts.by_kernel.values()) - sum(c for _, c in shown)
            clauses.append(f"{count} on {rest} other kernel{'s' if rest > 1 else ''}")
        if facts.kernel_unknown:
            clauses.append(f"{facts.kernel_unknown} on a kernel not known")
    if facts.kernel_without:
        clauses.append(f"none on {facts.kernel_without}")
    return clauses
