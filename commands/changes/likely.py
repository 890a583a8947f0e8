"""The record that a panic's change was looked for, and the order in which tickets are suggested to a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from commands.changes.config import ChangesConfig
from commands.changes.found import NOT_ASKED, named, nothing_found
from commands.changes.links import add_likely
from commands.changes.weighing import SHOWN, Weighed
from commands.incident import thread
from integrations.changes import Change
from integrations.slack.text import escape, shorten
from storage import Panic, TimelineEntry, panic_ref

VERB = "change-search"  # the timeline entry that says a panic's change was looked for: made once a panic


def most_likely(changes: Iterable[Change], occurred_at: datetime) -> list[Change]:
    """Tickets as they are suggested: naming the host itself, in progress when it died, the latest begun.

    What began after the panic cannot be its cause (it may well be its repair) and is left out; so is what
    names nothing but the hardware, which half the fleet may share.
    """
    possible = [
        c for c in changes if (c.started is None or c.started <= occurred_at) and set(c.names) != {"hardware"}
    ]

    def rank(change: Change) -> tuple[bool, bool, datetime, datetime, str]:
        running = change.started is not None and (change.ended is None or change.ended >= occurred_at)
        never = datetime.min.replace(tzinfo=occurred_at.tzinfo)
        return "host" in change.names, running, change.started or never, change.updated or never, change.key

    return sorted(possible, key=rank, reverse=True)


def conclude(
    session: Session,
    panic_id: int,
    weighed: Sequence[Weighed],
    config: ChangesConfig,
    now: datetime,
    *,
    considered: int,
    known: bool,
    failed: str | None = None,
) -> None:
    """Links the likeliest when it is a ticket, and notes in the timeline that the search was made, in one transaction.

    `known`: somebody could have told of a change; `failed`: why the tracker was given up.
    """
    panic = session.get_one(Panic, panic_id)
    incident = thread.incident_of(session, panic_id)
    if incident is None or incident.id is None or panic_id in searched_of(session, incident.id):
        return
    said = []
    if failed is not None:
        said.append(f"the tracker could not be searched for changes: {escape(shorten(failed, 300))}")
    if weighed:
        best = weighed[0]
        if best.change.source == "jira":
            why = "; ".join(best.reasons)
            add_likely(session, panic, best.change, why=why, tell=config.tell_likely, now=now)
        words = f"likely change of {panic_ref(panic_id)}: {escape(named(best.change))}"
        others = ", ".join(escape(named(w.change)) for w in weighed[1:SHOWN])
        said.append(words + (f"; also possible: {others}" if others else ""))
    elif known:
        said.append(f"{escape(nothing_found(config, considered))} ({panic_ref(panic_id)})")
    elif failed is None:
        said.append(NOT_ASKED)
    thread.note(session, incident.id, VERB, "; ".join(said), panic_id=panic_id, at=now)


def searched_of(session: Session, incident_id: int) -> set[int]:
    """Ids of the incident's panics that were searched for."""
    rows = session.exec(
        select(TimelineEntry.panic_id).where(
            TimelineEntry.incident_id == incident_id, TimelineEntry.verb == VERB
        )
    ).all()
    return {i for i in rows if i is not None}


def unsearched(session: Session, since: datetime, limit: int) -> list[int]:
    """Panics that occurred since then, have a thread, and were not searched for in it; oldest first.

    Of each incident only as many as are missing to `limit` searches. Two queries, however many incidents there are.
    """
    recent = (col(Panic.occurred_at) >= since, col(Panic.incident_id).is_not(None))
    panics = session.exec(select(Panic.id, Panic.incident_id).where(*recent)).all()
    searches = session.exec(
        select(TimelineEntry.incident_id, TimelineEntry.panic_id).where(
            TimelineEntry.verb == VERB,
            col(TimelineEntry.incident_id).in_(select(Panic.incident_id).where(*recent)),
        )
    ).all()
    done = {(incident, panic) for incident, panic in searches if panic is not None}
    made = Counter(incident for incident, _panic in done)
    left = []
    for panic, incident in sorted((p, i) for p, i in panics if p is not None and i is not None):
        if (incident, panic) not in done and made[incident] < limit:
            made[incident] += 1
            left.append(panic)
    return left
