"""Which change, of those that name the host, is the likeliest; and the record that it was looked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from commands.changes.config import ChangesConfig
from commands.changes.links import add_likely
from commands.durations import write_duration
from commands.incident import thread
from integrations.changes import Change
from integrations.slack.text import escape, shorten
from storage import Panic, TimelineEntry, panic_ref

VERB = "change-search"  # the timeline entry that says a panic's change was looked for: made once a panic


def most_likely(changes: Iterable[Change], occurred_at: datetime) -> list[Change]:
    """Likeliest first: naming the host itself, in progress when it died, the latest begun, the latest touched.

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


def reason(change: Change, panic: Panic) -> str:
    """What the ticket names, to follow "it": `names web-17 and ring prod-2`."""
    said = {"host": panic.host, "ring": f"ring {panic.ring}", "hardware": panic.hardware or "the hardware"}
    named = [said.get(name, f"its {name}") for name in change.names]
    return f"names {' and '.join(named)}" if named else f"is about {panic.host}"


def conclude(
    session: Session,
    panic_id: int,
    found: Sequence[Change],
    config: ChangesConfig,
    now: datetime,
    *,
    failed: str | None = None,
) -> None:
    """Links the likeliest of `found`, and notes in the timeline that the search was made, in one transaction."""
    panic = session.get_one(Panic, panic_id)
    incident = thread.incident_of(session, panic_id)
    if incident is None or incident.id is None or panic_id in searched_of(session, incident.id):
        return
    window = write_duration(config.look_back)
    if failed is not None:
        words = f"the tracker could not be searched for changes: {escape(shorten(failed, 300))}"
    elif not found:
        words = (
            f"no change of the {window} before {panic_ref(panic_id)} names {escape(panic.host)} or its ring"
        )
    else:
        best = found[0]
        add_likely(session, panic, best, why=reason(best, panic), tell=config.tell_likely, now=now)
        words = (
            f"likely change of {panic_ref(panic_id)}: {escape(best.key)} {escape(shorten(best.summary, 120))}"
        )
        if len(found) > 1:
            others = ", ".join(escape(c.key) for c in found[1:5])
            words += f"; also possible: {others}" + (" and more" if len(found) > 5 else "")
    thread.note(session, incident.id, VERB, words, panic_id=panic_id, at=now)


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
