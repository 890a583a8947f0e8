"""The unclassified wave: many hosts panic at once, and nobody can read why. One thread lists them."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from commands.incident import thread
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.incident.loops import tell_loop
from commands.incident.membership import LIVE, UNKNOWN, attach, leave, mention, near, post_parent
from commands.incident.rendering import Rendered, renderer
from commands.incident.storm import grow, redraw_later, touch
from integrations.slack import blocks as b
from integrations.slack.text import date, escape, sections, shorten
from storage import Incident, Panic, TimelineEntry, panic_ref

WAVE = "unclassified-wave"
_TITLE = "Unclassified wave: hosts that panicked without a readable cause"


def join_wave(
    session: Session, panic: Panic, config: IncidentConfig, routing: RoutingConfig, now: datetime
) -> Incident | None:
    """The wave that an unreadable panic is part of: more than `wave_threshold` hosts within `wave_window`."""
    wave = _running_wave(session, panic, config)
    if wave is None:
        crowd = _crowd(session, panic, config)
        if len({p.host for p in crowd} | {panic.host}) <= config.wave_threshold:
            return None
        wave = _open_wave(session, panic, crowd, routing, now)
    attach(session, panic, wave, now)
    joined = f"{escape(panic.host)} ({panic_ref(panic.id)})"
    thread.note(session, wave.id or 0, "joined", joined, panic_id=panic.id, at=now)
    storming = grow(session, panic, wave, config.storm, now)
    mention(session, panic, wave, routing, now)
    tell_loop(session, panic, wave.id or 0, config, now, quietly=storming)
    key, every = f"wave:{wave.id}", config.storm.digest_every
    if not storming or not redraw_later(session, key, every, now):
        thread.say(session, wave.id or 0, key, renderer="wave_list", subject_id=wave.id, now=now)
    touch(session, wave.id or 0, config.storm.edit_every if storming else timedelta(0), now)
    return wave


_LISTED = 60


@renderer("wave_list")
def draw_wave(session: Session, incident_id: int) -> Rendered | None:
    """Who is in the wave, and who was and could be read: one line a panic, the newest first."""
    rows = session.exec(
        select(Panic.id, Panic.host, Panic.occurred_at)
        .where(Panic.incident_id == incident_id)
        .order_by(col(Panic.occurred_at).desc())
    ).all()
    gone = session.exec(
        select(TimelineEntry.text)
        .where(TimelineEntry.incident_id == incident_id, TimelineEntry.verb == "moved")
        .order_by(col(TimelineEntry.id).desc())
    ).all()
    lines = [
        f"• {panic_ref(number)} {escape(shorten(host, 80))} {date(at)}" for number, host, at in rows[:_LISTED]
    ]
    if len(rows) > _LISTED:
        lines.append(f"and {len(rows) - _LISTED} more: `/panic list kind:unknown`")
    title = f"*{len(rows)} not read yet*" if rows else "*All of them could be read.*"
    made = [b.section(part) for part in sections([title, *lines])]
    if gone:
        read = [f"• {shorten(text, 160)}" for text in gone[:20]]
        if len(gone) > 20:
            read.append(f"and {len(gone) - 20} more")
        made += [b.section(part) for part in sections([f"*{len(gone)} read and moved out*", *read])]
    return Rendered(f"{len(rows)} hosts without a readable cause, {len(gone)} read since", made)


def _running_wave(session: Session, panic: Panic, config: IncidentConfig) -> Incident | None:
    waves = session.exec(
        select(Incident)
        .where(
            Incident.wave == True,  # noqa: E712 - SQL
            col(Incident.state).in_(LIVE),
            Incident.last_panic_at >= panic.occurred_at - config.wave_window,
        )
        .order_by(col(Incident.id).desc())
        .limit(5)
    ).all()
    return next((w for w in waves if near(session, w, panic, config.wave_window)), None)


def _crowd(session: Session, panic: Panic, config: IncidentConfig) -> list[Panic]:
    """The unreadable panics, still in threads of their own, of the fullest window that holds this one."""
    window = config.wave_window
    around = (panic.occurred_at - window, panic.occurred_at + window)
    rows = session.exec(
        select(Panic)
        .join(Incident, col(Incident.id) == Panic.incident_id)
        .where(
            Panic.signature_key == UNKNOWN,
            col(Panic.occurred_at).between(*around),
            Panic.id != panic.id,
            Incident.wave == False,  # noqa: E712 - SQL
            col(Incident.state).in_(LIVE),
        )
        .order_by(col(Panic.occurred_at))
        .limit(500)
    ).all()
    starts = [p.occurred_at for p in rows if p.occurred_at <= panic.occurred_at] + [panic.occurred_at]
    crowds = [[p for p in rows if start <= p.occurred_at <= start + window] for start in starts]
    return max(crowds, key=lambda crowd: len({p.host for p in crowd}))


def _open_wave(
    session: Session, panic: Panic, crowd: list[Panic], routing: RoutingConfig, now: datetime
) -> Incident:
    wave = Incident(
        signature_key=WAVE,
        title=_TITLE,
        wave=True,
        channel=routing.channel_for(panic.ring, panic.criticality, panic.owner),
        severity="normal",
        opened_at=now,
        last_panic_at=panic.occurred_at,
        silenced=panic.silenced,
    )
    post_parent(session, wave, now)
    thread.note(session, wave.id or 0, "opened", wave.title, at=now)
    for other in crowd:
        old = session.get_one(Incident, other.incident_id)
        attach(session, other, wave, now)
        leave(session, other, old, wave, now)
    return wave
