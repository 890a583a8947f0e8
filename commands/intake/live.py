"""What a witness means for a panic that netconsole saw as it happened, and what two candidates mean for a report."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from commands.incident import living, thread
from commands.intake.joining import Found
from commands.intake.reading import Reading
from integrations.slack.text import date, escape
from storage import Panic, Report, panic_ref

# These tell that a boot ended; a console or an alert tells of a moment only.
_TELL_OF_AN_END = frozenset({"report", "pstore", "sweep", "no-dump"})
_TELL_OF_A_MOMENT = ("netconsole", "alertmanager", "console")


def replaces(session: Session, panic: Panic, reading: Reading) -> bool:
    """Whether this reading stands above the one that the panic has: more lines of the same trace, or the whole text
    of a panic of which only netconsole's lines are known."""
    known = living.sighting_of(session, panic.id)
    if known is None or not known.read_here or not reading.crash.crash:
        return False
    if reading.source == "netconsole":
        return known.provisional and reading.continues is not None
    return reading.source in _TELL_OF_AN_END and not (reading.crash.head_lost and not panic.head_lost)


def note_sighting(
    session: Session,
    panic: Panic,
    reading: Reading,
    report_within: timedelta,
    *,
    read_anew: bool,
    now: datetime,
) -> None:
    """Keeps the sighting of this panic up to date with what the reading tells."""
    known = living.sighting_of(session, panic.id)
    if reading.live is not None:
        living.see(
            session,
            panic,
            seen_at=reading.occurred_at,
            uptime=reading.crash.uptime,
            kdump=living.kdump_in("\n".join(reading.crash.lines)),
            fatal=reading.live.panic,
            ended=reading.live.ended,
            final=reading.live.final,
            read_here=read_anew,
            told_already=known is None and _told_already(session, panic),
            lost=reading.live.lost,
            dropped=reading.live.dropped,
            awaited_until=reading.occurred_at + report_within,
            now=now,
        )
    elif known is not None and reading.source in _TELL_OF_AN_END:
        if read_anew:
            known.read_here = False
        living.died(session, panic, known, now)
    else:
        return
    if panic.incident_id is not None:
        thread.touch(session, panic.incident_id)


def _told_already(session: Session, panic: Panic) -> bool:
    others = select(Report.id).where(
        Report.panic_id == panic.id, col(Report.source).not_in(_TELL_OF_A_MOMENT)
    )
    return session.exec(others.limit(1)).first() is not None


def tell_ambiguity(
    session: Session, panic: Panic, found: Found, ref: str, reading: Reading, now: datetime
) -> None:
    """Two panics fit, and nothing says which: the report stands alone, and all threads say so."""
    if not found.between or panic.incident_id is None:
        return
    names = " and ".join(panic_ref(other.id) for other in found.between[:5])
    fits = f"{ref} of {escape(reading.host)} ({escape(reading.source)}, {date(reading.occurred_at)})"
    said = f"{fits} fits {names} alike ({escape(found.by)}): it stands alone as {panic_ref(panic.id)}"
    homes = {panic.incident_id: None} | {
        o.incident_id: None for o in found.between if o.incident_id is not None
    }
    for home in homes:
        thread.note(session, home, "ambiguous", said, panic_id=panic.id, at=now)
        thread.say(session, home, f"ambiguous:{panic.id}:{home}", text=f":grey_question: {said}.", now=now)
