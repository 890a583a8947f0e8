"""How each host stands, in rows: who waits for a look, what it brought, what is to be told. Inside a transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, func, or_, select

from commands.inventory import HostEntry
from integrations.readiness import State, Verdict, state_of
from storage import CopyState, DumpCopy, HostReadiness, Incident, IncidentState, Panic, ReadinessChange

_CHUNK = 500
_RESOLVED_WITHIN = timedelta(days=1)


@dataclass(frozen=True)
class Looked:
    """What came of a look: a verdict, or a `note` that says why there is none."""

    verdict: Verdict | None
    note: str = ""


def want(
    session: Session, hosts: Mapping[str, HostEntry], names: Iterable[str], now: datetime, by: str
) -> int:
    """These hosts wait for a look; one that waits already goes on waiting. Returns how many were added."""
    wanted = list(names)
    known: dict[str, HostReadiness] = {}
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        for row in session.exec(select(HostReadiness).where(col(HostReadiness.host).in_(chunk))):
            known[row.host] = row
    added = 0
    for name in wanted:
        row = known.get(name) or HostReadiness(host=name, since=now)
        row.ring = hosts[name].ring or ""
        if row.wanted_at is None:
            row.wanted_at, row.wanted_by = now, by
            added += 1
        session.add(row)
    return added


def due(session: Session, names: Iterable[str], now: datetime, every: timedelta) -> list[str]:
    """The hosts that were not asked for so long, or never."""
    fresh = set(
        session.exec(
            select(HostReadiness.host).where(
                or_(col(HostReadiness.asked_at) > now - every, col(HostReadiness.wanted_at).is_not(None))
            )
        )
    )
    return [name for name in names if name not in fresh]


def resolved(session: Session, now: datetime) -> list[str]:
    """Hosts of incidents that were resolved of late and that nobody asked since."""
    rows = session.exec(
        select(Panic.host)
        .join(Incident, col(Incident.id) == col(Panic.incident_id))
        .outerjoin(HostReadiness, col(HostReadiness.host) == func.lower(Panic.host))
        .where(
            Incident.state == IncidentState.RESOLVED,
            col(Incident.resolved_at) > now - _RESOLVED_WITHIN,
            col(HostReadiness.wanted_at).is_(None),
            or_(
                col(HostReadiness.asked_at).is_(None),
                col(HostReadiness.asked_at) < col(Incident.resolved_at),
            ),
        )
        .distinct()
    )
    return sorted({host.lower() for host in rows})


def waiting(session: Session, most: int, but: Iterable[str] = ()) -> list[HostReadiness]:
    """The next hosts to be asked, those that wait longest first."""
    query = select(HostReadiness).where(col(HostReadiness.wanted_at).is_not(None))
    at_work = list(but)
    if at_work:
        query = query.where(col(HostReadiness.host).not_in(at_work))
    return list(session.exec(query.order_by(col(HostReadiness.wanted_at), col(HostReadiness.id)).limit(most)))


def central(session: Session, host: str) -> tuple[State, str]:
    """How the newest central copy of this host's dumps went."""
    newest = session.exec(
        select(DumpCopy)
        .where(func.lower(DumpCopy.host) == host, col(DumpCopy.finished_at).is_not(None))
        .order_by(col(DumpCopy.id).desc())
        .limit(1)
    ).first()
    if newest is None:
        return State.READY, "no dump of this host was copied yet"
    if newest.state in (CopyState.FAILED, CopyState.DAMAGED):
        return State.AT_RISK, f"the last copy to the central store is {newest.state.value}"
    return State.READY, f"the last copy to the central store: {newest.state.value}"


def looked(session: Session, host: str, what: Looked, now: datetime) -> str:
    """Keeps what came of a look and whether the state changed. Returns the state."""
    row = session.exec(select(HostReadiness).where(HostReadiness.host == host)).one()
    state = state_of(what.verdict.findings) if what.verdict is not None else State.UNKNOWN
    last = row.answered_at
    row.wanted_at, row.asked_at, row.note = None, now, what.note[:1000]
    if what.verdict is not None:
        row.findings = [f.as_json() for f in what.verdict.findings]
        row.facts = dict(what.verdict.facts)
        row.answered_at = now
    if state.value != row.state:
        row.state, row.since = state.value, now
    if state is not State.UNKNOWN and state.value != row.known:
        broken = [f.check for f in what.verdict.findings if f.state is state] if what.verdict else []
        worse = state is State.NOT_READY and row.known != ""
        session.add(
            ReadinessChange(
                host=host,
                ring=row.ring,
                at=now,
                before=row.known,
                after=state.value,
                check_name=broken[0] if broken else "",
                last_good=last,
                told_at=None if worse else now,
            )
        )
        row.known = state.value
    session.add(row)
    return state.value


def untold(session: Session) -> list[ReadinessChange]:
    return list(
        session.exec(
            select(ReadinessChange)
            .where(col(ReadinessChange.told_at).is_(None))
            .order_by(col(ReadinessChange.id))
        )
    )


def rows_of(session: Session, names: Sequence[str]) -> list[HostReadiness]:
    """The rows of these hosts, the worst first."""
    wanted = set(names)
    rows = [row for row in session.exec(select(HostReadiness)) if row.host in wanted]
    order = {s.value: n for n, s in enumerate((State.NOT_READY, State.UNKNOWN, State.AT_RISK, State.READY))}
    return sorted(rows, key=lambda r: (order.get(r.state, 1), r.ring, r.host))


def counts(session: Session) -> dict[str, int]:
    """{state: hosts}, every state named."""
    found: Counter[str] = Counter({state.value: 0 for state in State})
    for state, number in session.exec(
        select(HostReadiness.state, func.count()).group_by(col(HostReadiness.state))
    ):
        found[state] += number
    return dict(found)


def as_json(row: HostReadiness) -> dict[str, Any]:
    """A host for machines, with all of its findings."""
    return {
        "host": row.host,
        "ring": row.ring,
        "state": row.state,
        "since": row.since.isoformat(),
        "answered_at": row.answered_at.isoformat() if row.answered_at else None,
        "note": row.note,
        "findings": row.findings,
    }
