"""What an erasure would take, what forbids it, and what it cannot reach. Reads only, in the caller's transaction."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session, col
from sqlmodel import select as sql

from commands.inventory import Inventory
from storage import (
    Artefact,
    ChangeLink,
    CopyState,
    DumpCopy,
    Host,
    Incident,
    IncidentState,
    Panic,
    Pin,
    ProblemTicket,
    Report,
    RetentionRun,
    RunbookRun,
    RunState,
    SlackMessage,
    StepResult,
    SweepRun,
    incident_ref,
    panic_ref,
)  # fmt: skip
from storage.copies import UNDER_WAY

_OPEN = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
_AT_WORK = (RunState.WAITING, RunState.RUNNING)
_NAMED = 5
_IN_CENTRAL = (
    CopyState.VERIFIED,
    CopyState.DAMAGED,
    CopyState.FAILED,
    CopyState.CANCELLED,
    CopyState.REMOVED,
)


@dataclass(frozen=True)
class Extent:
    """Counts of what is known of a host, by what it is, and `mark`: the same for the same panics."""

    host: str
    panics: tuple[int, ...]
    incidents: tuple[int, ...]
    whole: tuple[int, ...]  # incidents in which there is no panic of another host
    counts: dict[str, int]
    pinned: tuple[int, ...]

    @property
    def mark(self) -> str:
        said = f"{self.host}|{','.join(map(str, self.panics))}"
        return hashlib.blake2s(said.encode(), digest_size=8).hexdigest()

    @property
    def empty(self) -> bool:
        return not self.panics and not self.counts.get("reports") and not self.counts.get("known")


def extent(session: Session, host: str) -> Extent:
    """`host` in lower case."""
    ids = panics_of(session, host)
    of_host = select(col(Panic.id)).where(func.lower(Panic.host) == host)
    incidents = tuple(
        i
        for i in session.exec(
            sql(Panic.incident_id)
            .where(func.lower(Panic.host) == host)
            .distinct()
            .order_by(col(Panic.incident_id))
        )
        if i is not None
    )
    shared = set(
        session.exec(
            sql(Panic.incident_id).where(
                col(Panic.incident_id).in_(incidents), func.lower(Panic.host) != host
            )
        )
    )
    runs = select(col(RunbookRun.id)).where(col(RunbookRun.panic_id).in_(of_host))

    def count(table: Any, *which: Any) -> int:
        return int(session.execute(select(func.count()).select_from(table).where(*which)).scalar_one())

    messages = [SlackMessage.ts != None, col(SlackMessage.incident_id).in_(incidents)]  # noqa: E711 - SQL
    counts = {
        "reports": count(Report, func.lower(Report.host) == host),
        "texts": count(Panic, func.lower(Panic.host) == host, Panic.text != ""),
        "outputs": count(StepResult, col(StepResult.run_id).in_(runs)),
        "bundles": count(Artefact, col(Artefact.panic_id).in_(of_host)),
        "copies": len(copies_of(session, host)),
        "files": count(SlackMessage, *messages, col(SlackMessage.ts).startswith("file:")),
        "messages": count(SlackMessage, *messages, ~col(SlackMessage.ts).startswith("file:")),
        "known": count(Host, func.lower(Host.name) == host),
    }
    pinned = session.exec(
        sql(Pin.panic_id).where(col(Pin.slot).is_not(None), Pin.kind == "pin", col(Pin.panic_id).in_(of_host))
    )
    whole = tuple(i for i in incidents if i not in shared)
    return Extent(host, ids, incidents, whole, counts, tuple(sorted(set(pinned))))


def panics_of(session: Session, host: str) -> tuple[int, ...]:
    query = sql(Panic.id).where(func.lower(Panic.host) == host).order_by(col(Panic.id))
    return tuple(i for i in session.exec(query) if i is not None)


def copies_of(session: Session, host: str) -> list[DumpCopy]:
    """The copies of which something may stand in a store."""
    of_host = select(col(Panic.id)).where(func.lower(Panic.host) == host)
    query = sql(DumpCopy).where(
        col(DumpCopy.panic_id).in_(of_host),
        col(DumpCopy.state).in_(_IN_CENTRAL),
        col(DumpCopy.place).is_not(None),
    )
    return list(session.exec(query.order_by(col(DumpCopy.id))))


def obstacles(session: Session, host: str) -> list[str]:
    """Why it may not be now, in words without the host's name; [] where nothing forbids it."""
    of_host = select(col(Panic.id)).where(func.lower(Panic.host) == host)
    held = session.exec(
        sql(Pin).where(col(Pin.slot).is_not(None), Pin.kind == "hold", col(Pin.panic_id).in_(of_host))
    ).all()
    made = [
        f"{panic_ref(pin.panic_id)} is on legal hold ({pin.reason[:200]}): an admin releases it with "
        f"/panic release {panic_ref(pin.panic_id)}"
        for pin in held[:_NAMED]
    ]
    open_ = [i for i in _living(session, host) if i is not None]
    made += [f"{incident_ref(i)} is open: resolve it first" for i in open_[:_NAMED]]
    runs = session.exec(
        sql(RunbookRun).where(col(RunbookRun.panic_id).in_(of_host), col(RunbookRun.state).in_(_AT_WORK))
    ).all()
    made += [f"{run.kind} of {panic_ref(run.panic_id)} is under way" for run in runs[:_NAMED]]
    copying = session.exec(
        sql(DumpCopy.panic_id).where(col(DumpCopy.panic_id).in_(of_host), col(DumpCopy.state).in_(UNDER_WAY))
    ).all()
    made += [f"the dump of {panic_ref(i)} is being copied" for i in copying[:_NAMED]]
    if session.exec(sql(SweepRun.id).where(col(SweepRun.slot).is_not(None))).first() is not None:
        made.append("a sweep is under way: it will have ended in a while")
    if session.exec(sql(RetentionRun.id).where(col(RetentionRun.slot).is_not(None))).first() is not None:
        made.append("a retention sweep is under way: it will have ended in a while")
    return made


def _living(session: Session, host: str) -> list[int | None]:
    """The open incidents that the host's panics are in, or that theirs were merged into."""
    made = []
    for incident_id in session.exec(
        sql(Panic.incident_id)
        .where(func.lower(Panic.host) == host)
        .distinct()
        .order_by(col(Panic.incident_id))
    ):
        incident = session.get(Incident, incident_id) if incident_id is not None else None
        seen: set[int | None] = set()
        while incident is not None and incident.merged_into_id is not None and incident.id not in seen:
            seen.add(incident.id)
            incident = session.get(Incident, incident.merged_into_id)
        if incident is not None and incident.state in _OPEN and incident.id not in made:
            made.append(incident.id)
    return made


def beyond(session: Session, found: Extent, inventory: Inventory, *, sqlite: bool) -> list[str]:
    """What the bot cannot reach, in words without the host's name."""
    made = []
    dumps = session.execute(
        select(func.count()).where(func.lower(Panic.host) == found.host, col(Panic.dump_path).is_not(None))
    ).scalar_one()
    made.append(
        "the host's own disk: its crash directory and journal"
        + (f" (dumps of {dumps} panics were seen there)" if dumps else "")
    )
    of_host = select(col(Panic.id)).where(func.lower(Panic.host) == found.host)
    keys = set(session.exec(sql(ChangeLink.key).where(col(ChangeLink.panic_id).in_(of_host))))
    signatures = select(col(Panic.signature_key)).where(func.lower(Panic.host) == found.host)
    problems = session.exec(sql(ProblemTicket.key).where(col(ProblemTicket.signature_key).in_(signatures)))
    keys |= {key for key in problems if key}
    if keys:
        made.append(f"comments and links at the tracker: {', '.join(sorted(keys)[:40])}")
    if found.incidents:
        shown = ", ".join(incident_ref(i) for i in found.incidents[:20])
        made.append(
            f"what people wrote themselves in the threads of {shown}, and what the bot told them alone"
        )
    paged = session.execute(
        select(func.count()).where(col(Incident.id).in_(found.incidents), col(Incident.paged_at).is_not(None))
    ).scalar_one()
    if paged:
        made.append("what the pager was told")
    if inventory.find(found.host) is not None:
        made.append(
            "the inventory, which names the host: while it is there, a sweep finds its old dumps again"
        )
    made.append("archives of other hosts in the store directory, where they quote the name")
    made.append("the bot's log, and backups of the database, of the store and of the central store")
    if not sqlite:
        made.append(
            "PostgreSQL's WAL, and its files where what was written over stands until the space is used"
        )
    return made
