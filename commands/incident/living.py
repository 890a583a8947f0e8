"""A host that dies before everybody's eyes: what netconsole tells of it until its own report comes.

Transitions are made in the caller's transaction; what a reader sees of them is drawn by `parent.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select

from commands.incident import thread
from commands.incident.membership import LIVE, begin_again
from commands.incident.wording import listing, span
from integrations.kernel import Kind
from integrations.slack.text import date, escape
from storage import Incident, IncidentState, LiveSighting, LiveState, Panic, panic_ref

ITSELF = "panicroom"  # who resolved an incident whose host lived on
LIVES_AFTER = timedelta(seconds=60)
_SAME_BOOT = timedelta(seconds=120)
_HANGS = frozenset({Kind.SOFT_LOCKUP, Kind.HARD_LOCKUP, Kind.RCU_STALL, Kind.HUNG_TASK})
_KDUMP = re.compile(r"^.*\bCPU: \d+ .*$", re.MULTILINE)


def kdump_in(text: str) -> str | None:
    """ "loaded" or "none" by the crash's `CPU:` line (`Kdump: loaded` stands there since 4.19); None without one."""
    line = _KDUMP.search(text)
    if line is None:
        return None
    return "loaded" if "Kdump: loaded" in line[0] else "none"


def sighting_of(session: Session, panic_id: int | None) -> LiveSighting | None:
    return session.get(LiveSighting, panic_id) if panic_id is not None else None


def see(
    session: Session,
    panic: Panic,
    *,
    seen_at: datetime,
    uptime: float | None,
    kdump: str | None,
    fatal: bool,
    ended: bool,
    final: bool,
    read_here: bool,
    told_already: bool,
    lost: int,
    dropped: int,
    awaited_until: datetime,
    now: datetime,
) -> LiveSighting:
    """Netconsole tells (more) of this panic; `told_already` by a witness of its end.

    An oops with kdump loaded prints neither "end trace" nor "Kernel panic": the capture kernel starts at once. A
    lockup, and an oops that came to its end mark, need not be the end.
    """
    known = session.get(LiveSighting, panic.id)
    hang = panic.kind in _HANGS
    dying = fatal or (kdump == "loaded" and not ended and not hang)
    if known is None:
        known = LiveSighting(
            panic_id=panic.id or 0,
            host=panic.host,
            seen_at=seen_at,
            uptime=uptime,
            awaited_until=awaited_until,
            read_here=read_here,
            state=LiveState.PANICKING if dying else LiveState.MAY_LIVE,
        )
        if told_already:
            known.state = LiveState.DIED
    elif known.state in (LiveState.PANICKING, LiveState.MAY_LIVE):
        known.state = LiveState.PANICKING if dying or known.fatal else LiveState.MAY_LIVE
    elif known.state is LiveState.SURVIVED and fatal:
        _not_survived(session, panic, known, now)
        known.state = LiveState.PANICKING
    known.fatal = known.fatal or fatal
    known.kdump = kdump or known.kdump
    known.provisional = not final
    known.lost, known.dropped = max(known.lost, lost), max(known.dropped, dropped)
    session.add(known)
    session.flush()
    return known


def died(session: Session, panic: Panic, known: LiveSighting, now: datetime) -> None:
    """Another witness tells of the crash: it was one, whatever was thought of it."""
    if known.state is LiveState.SURVIVED:
        _not_survived(session, panic, known, now)
    known.state, known.provisional = LiveState.DIED, False
    session.add(known)
    session.flush()


def survived(
    session: Session, panic: Panic, known: LiveSighting, by: str, at: datetime, now: datetime
) -> bool:
    """The same boot was seen alive after it. Closes the incident when nothing else is in it. `by`: how it is known.

    False for a panic line (nothing lives after it) and where another witness has told of the crash.
    """
    if known.fatal or known.state not in (LiveState.MAY_LIVE, LiveState.PANICKING, LiveState.SILENT):
        return False
    known.state, known.provisional = LiveState.SURVIVED, False
    known.lived_until = at
    session.add(known)
    session.flush()
    incident = thread.incident_of(session, panic.id or 0)
    if incident is None:
        return True
    said = f"{escape(panic.host)} lives on after {panic_ref(panic.id)}: {by}"
    thread.note(session, incident.id or 0, "survived", said, panic_id=panic.id, at=now)
    closed = incident.state in LIVE and not incident.wave and not _others_died(session, incident)
    if closed:
        incident.state = IncidentState.RESOLVED
        incident.resolved_at, incident.resolved_by = now, ITSELF
        incident.cause = incident.cause or "the host survived it"
        session.add(incident)
        thread.note(session, incident.id or 0, "resolved", "closed: the host survived", at=now)
    words = f":large_yellow_circle: {said}." + (" Closed; `/panic reopen` opens it again." if closed else "")
    thread.say(session, incident.id or 0, f"survived:{panic.id}:{int(at.timestamp())}", text=words, now=now)
    thread.touch(session, incident.id or 0)
    return True


def awaited(session: Session, host: str) -> list[LiveSighting]:
    """The crashes of a host of which it is not known whether it lived on."""
    states = (LiveState.MAY_LIVE, LiveState.PANICKING, LiveState.SILENT)
    query = select(LiveSighting).where(LiveSighting.host == host, col(LiveSighting.state).in_(states))
    return list(session.exec(query).all())


def same_boot(facts: Mapping[str, Any], panic: Panic) -> bool:
    """Whether what was found on a host says that the boot of this panic is running: by its id (`boot_id`), else by its
    start (`booted_at`, ISO 8601)."""
    boot_id, booted = facts.get("boot_id"), facts.get("booted_at")
    if panic.boot_id and isinstance(boot_id, str):
        return boot_id.replace("-", "").lower() == panic.boot_id
    if panic.boot_started_at is None or not isinstance(booted, str):
        return False
    try:
        moment = datetime.fromisoformat(booted)
    except ValueError:
        return False
    return moment.tzinfo is not None and abs(moment - panic.boot_started_at) <= _SAME_BOOT


def visited(
    session: Session, host: str, facts: Mapping[str, Any], *, who: str, after: timedelta, at: datetime
) -> int:
    """Somebody (`who`) was on the host and found these facts: crashes that the boot outlived by `after` were survived.
    Returns how many."""
    count = 0
    for known in awaited(session, host):
        panic = session.get_one(Panic, known.panic_id)
        if at >= known.seen_at + after and same_boot(facts, panic):
            count += survived(session, panic, known, f"{who} found the same boot running", at, at)
    return count


def silent(session: Session, panic: Panic, known: LiveSighting, now: datetime) -> None:
    """The time limit is over, and nothing came."""
    known.state, known.provisional = LiveState.SILENT, False
    session.add(known)
    if panic.incident_id is not None:
        waited = span(known.awaited_until - known.seen_at)
        said = f"no report of {escape(panic.host)} came within {waited} of its panic ({panic_ref(panic.id)})"
        thread.note(session, panic.incident_id, "silent", said, panic_id=panic.id, at=now)
        thread.say(
            session,
            panic.incident_id,
            f"silent:{panic.id}",
            text=f":hourglass: {said.capitalize()}.",
            now=now,
        )
        thread.touch(session, panic.incident_id)


def _not_survived(session: Session, panic: Panic, known: LiveSighting, now: datetime) -> None:
    known.lived_until = known.lived_uptime = None
    incident = thread.incident_of(session, panic.id or 0)
    if incident is None:
        return
    said = f"{escape(panic.host)} did not survive {panic_ref(panic.id)} after all"
    if incident.state is IncidentState.RESOLVED and incident.resolved_by == ITSELF:
        incident.state = IncidentState.OPEN
        begin_again(incident, now)
        incident.resolved_at = incident.resolved_by = incident.cause = None
        session.add(incident)
        said += ": reopened"
    thread.note(session, incident.id or 0, "reopened", said, panic_id=panic.id, at=now)
    key = f"not-survived:{panic.id}:{int(now.timestamp())}"
    thread.say(session, incident.id or 0, key, text=f":leftwards_arrow_with_hook: {said}.", now=now)
    thread.touch(session, incident.id or 0)


def _others_died(session: Session, incident: Incident) -> bool:
    """Whether a panic of the incident is not known to have been survived."""
    survivors = select(LiveSighting.panic_id).where(LiveSighting.state == LiveState.SURVIVED)
    return (
        session.exec(
            select(Panic.id).where(Panic.incident_id == incident.id, col(Panic.id).not_in(survivors)).limit(1)
        ).first()
        is not None
    )


# -- what a reader sees ---------------------------------------------------------------------------------------


def doing(known: LiveSighting | None, host: str) -> str | None:
    """`web-17 is panicking; kdump is saving`, for a headline; None once its fate is known."""
    if known is None:
        return None
    if known.state is LiveState.PANICKING:
        kdump = {"loaded": "; kdump is saving", "none": "; no kdump is loaded"}.get(known.kdump or "", "")
        return f"{host} is panicking{kdump}"
    if known.state is LiveState.MAY_LIVE:
        return f"{host} has a crash; host may live"
    if known.state is LiveState.SURVIVED:
        return f"{host} survived a crash"
    return None


def lives(known: LiveSighting | None) -> bool:
    """Whether the host is not known to have gone down."""
    return known is not None and known.state in (LiveState.MAY_LIVE, LiveState.SURVIVED)


def awaited_line(session: Session, incident_id: int | None, newest: Panic) -> str:
    """What is awaited, and of which hosts, in mrkdwn; "" when nothing is."""
    panicking = session.exec(
        select(LiveSighting)
        .join(Panic, col(Panic.id) == LiveSighting.panic_id)
        .where(Panic.incident_id == incident_id, LiveSighting.state == LiveState.PANICKING)
        .order_by(col(LiveSighting.panic_id).desc())
        .limit(100)
    ).all()
    if panicking:
        hosts = list(dict.fromkeys(s.host for s in panicking))
        until = date(max(s.awaited_until for s in panicking), "{time}")
        if len(hosts) == 1:
            said = doing(panicking[0], escape(hosts[0]))
        else:
            said = f"{listing(hosts)} are panicking"
        reading = " The trace is still coming in." if any(s.provisional for s in panicking) else ""
        return f":hourglass_flowing_sand: *{said}.* Seen by netconsole; a report is awaited until {until}.{reading}"
    known = sighting_of(session, newest.id)
    if known is not None and known.state is LiveState.MAY_LIVE:
        return ":large_yellow_circle: Host may live: it closes by itself when the same boot is seen well after this."
    return ""


def loss_line(known: LiveSighting | None) -> str:
    """What of the text did not arrive, in mrkdwn; "" when nothing is missing."""
    if known is None or not known.read_here:
        return ""
    parts = [f"{known.lost} messages lost on the way"] if known.lost else []
    parts += [f"{known.dropped} dropped by a limit"] if known.dropped else []
    provisional = ["the trace is still coming in"] if known.provisional else []
    parts = parts + provisional
    return f"netconsole: {', '.join(parts)}" if parts else ""
