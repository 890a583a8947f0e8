"""A storm in words: the lines at the head of its thread, and its digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from commands.incident import thread
from commands.incident.common import Share, elsewhere_of, hosts_with, share_of, share_words
from commands.incident.digest import rate
from commands.incident.storm import members, storm_of
from commands.incident.wording import listing, span
from integrations.slack.text import date, escape, shorten
from storage import Incident, Panic, Storm, incident_ref, panic_ref

_NAMED = 20  # critical hosts


@dataclass(frozen=True)
class Count:
    """What is counted of one thread, or of the threads of one event."""

    hosts: int
    panics: int
    kernels: Counter[str]
    rings: Counter[str]
    first: datetime
    last: datetime
    a_minute: int
    shares: tuple[Share, ...]
    critical: tuple[str, ...]
    newest: int


def count(session: Session, incident_ids: Sequence[int], storm: Storm) -> Count | None:
    """Hosts are counted once, whatever number of panics they had. None when the threads are empty."""
    rows = session.execute(
        select_columns(
            col(Panic.id), col(Panic.host), col(Panic.occurred_at), col(Panic.kernel), col(Panic.ring),
            col(Panic.hardware), col(Panic.criticality),
        )
        .where(col(Panic.incident_id).in_(incident_ids))
        .order_by(col(Panic.id))
    ).all()  # fmt: skip
    if not rows:
        return None
    moments = [row[2] for row in rows]
    places = {
        what: hosts_with((row[1], row[at]) for row in rows)
        for at, what in ((3, "kernel"), (4, "ring"), (5, "hardware"))
    }
    shares = []
    for what, values in places.items():
        share = share_of(what, values, None)
        if share is not None:
            share = share_of(what, values, elsewhere_of(storm.elsewhere, share))
            if share is not None and share.telling:
                shares.append(share)
    return Count(
        hosts=len(places["kernel"]),
        panics=len(rows),
        kernels=Counter(v or "unknown" for v in places["kernel"].values()),
        rings=Counter(v for v in places["ring"].values() if v),
        first=min(moments),
        last=max(moments),
        a_minute=rate(moments),
        shares=tuple(shares),
        critical=tuple(dict.fromkeys(row[1] for row in rows if row[6] == "critical")),
        newest=rows[-1][0],
    )


def head_lines(session: Session, incident_id: int) -> list[str]:
    """For the parent of a thread that is or was in a storm; nothing for another one."""
    storm = storm_of(session, incident_id)
    counted = count(session, [incident_id], storm) if storm is not None else None
    if storm is None or counted is None:
        return []
    state = ":ocean: *Storm:*" if storm.closed_at is None else "Storm, over:"
    lines = [f"{state} {_pace_words(counted)}"]
    lines += _common_lines(counted) + _critical_lines(counted) + _event_lines(session, storm)
    return lines


def digest(session: Session, lead: Storm, *, closing: bool, collects: int | None) -> str | None:
    """One reply: how far the storm is, or was when it ended. `collects`: the setting, None when nothing collects."""
    event = members(session, lead.lead_id)
    counted = count(session, [storm.incident_id for storm in event], lead)
    if counted is None:
        return None
    grown = counted.hosts - lead.hosts_told
    more = f" (+{grown:,} since the last word)" if lead.digests and grown > 0 and not closing else ""
    head = (
        f":checkered_flag: *The storm is over: {counted.hosts:,} hosts*"
        if closing
        else f":ocean: *{counted.hosts:,} hosts so far*{more}"
    )
    lines = [f"{head}, {_pace_words(counted)}."]
    places = [f"kernels {_counted(counted.kernels)}"]
    if counted.rings:
        places.append(f"rings {_counted(counted.rings)}")
    lines.append(f"By host: {' · '.join(places)}")
    lines += _common_lines(counted) + _critical_lines(counted)
    if len(event) > 1:
        lines += _causes(session, event)
    lines.append(_evidence_line(counted, collects))
    return "\n".join(lines)


def _pace_words(counted: Count) -> str:
    """`2,014 panics in 58 s, up to 312 a minute · first …, last …`."""
    took = span(counted.last - counted.first)
    panics = f"{counted.panics:,} panics" if counted.panics != counted.hosts else f"{counted.hosts:,} panics"
    return (
        f"{panics} in {took}, {counted.a_minute:,} in the last minute of it · first "
        f"{date(counted.first, '{time_secs}')}, last {date(counted.last, '{time_secs}')}"
    )


def _common_lines(counted: Count) -> list[str]:
    if not counted.shares:
        return []
    return [f"Common to them: {' · '.join(share_words(share) for share in counted.shares)}"]


def _critical_lines(counted: Count) -> list[str]:
    if not counted.critical:
        return []
    return [f":rotating_light: Critical: {listing(list(counted.critical), _NAMED)}"]


def _event_lines(session: Session, storm: Storm) -> list[str]:
    """The lead names the others, each of the others the lead."""
    if storm.lead_id != storm.incident_id:
        return [f":link: One event with {thread.incident_link(session, storm.lead_id)}, and told there."]
    others = members(session, storm.lead_id)[1:]
    if not others:
        return []
    shown = ", ".join(thread.incident_link(session, other.incident_id) for other in others[:8])
    more = f" and {len(others) - 8} more" if len(others) > 8 else ""
    return [f":link: One event, with other causes in {shown}{more}"]


def _causes(session: Session, event: Sequence[Storm]) -> list[str]:
    lines = ["One event by its kernel and its time, told here; by cause:"]
    for storm in event[:6]:
        incident = session.get_one(Incident, storm.incident_id)
        counted = count(session, [storm.incident_id], storm)
        hosts = counted.hosts if counted is not None else 0
        where = thread.incident_link(session, incident.id)
        lines.append(f"• {where}: {hosts:,} × {escape(shorten(incident.title, 160))}")
    if len(event) > 6:
        lines.append(f"• and {len(event) - 6} more causes")
    return lines


def _evidence_line(counted: Count, collects: int | None) -> str:
    ref = panic_ref(counted.newest)
    how = f"`/panic evidence {ref}`"
    if not collects:
        said = f"Evidence is collected on demand: {how}."
    else:
        first = "the first host" if collects == 1 else f"the first {collects} hosts"
        said = (
            f"Evidence is collected from {first} and from every critical one; from the rest on demand: {how}."
        )
    return (
        f"{said} No text of single hosts is posted in a storm: `/panic list sig:{ref}`, `/panic show {ref}`."
    )


def _counted(counts: Counter[str]) -> str:
    shown = [f"{escape(shorten(name, 60))} ×{number:,}" for name, number in counts.most_common(4)]
    more = len(counts) - 4
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def event_title(session: Session, storm: Storm) -> str:
    """What the picture of a storm is called."""
    incident = session.get_one(Incident, storm.incident_id)
    return f"{incident_ref(incident.id)}: {incident.title}"
