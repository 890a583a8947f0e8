"""Which thread a panic belongs to: join an open incident, reopen a fresh one, or open a new one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from sqlmodel import Session, col, func, select

from commands.incident import thread
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.incident.loops import tell_loop
from commands.incident.membership import (
    LIVE,
    UNKNOWN,
    attach,
    begin_again,
    leave,
    mention,
    near,
    others,
    post_parent,
    shares,
)
from commands.incident.storm import grow, is_storming, takes, touch
from commands.incident.wave import join_wave
from integrations.slack.text import date, escape
from storage import (
    Correction,
    Incident,
    IncidentState,
    Panic,
    Silence,
    SlackMessage,
    incident_ref,
    panic_ref,
)


@dataclass(frozen=True)
class Placement:
    """Where a panic went. `how`: opened, joined, reopened, wave, stayed (its thread became the right one), late (it
    died before its incident was resolved, and was told of after that)."""

    incident: Incident
    how: str


def place(
    session: Session, panic: Panic, config: IncidentConfig, routing: RoutingConfig, now: datetime
) -> Placement:
    """Gives the panic its incident; everything is said in the caller's transaction.

    A cause that nobody could read, and a deliberate crash, never share a thread with another host's: nothing says
    that they belong together. Too many unreadable ones at once are one wave.
    """
    panic.silenced = silence_for(session, panic.host, now, panic.occurred_at) is not None
    if panic.signature_key == UNKNOWN:
        wave = join_wave(session, panic, config, routing, now)
        if wave is not None:
            return Placement(wave, "wave")
    placement = (
        _join(session, panic, config)
        or _merged(session, panic, config)
        or _reopen(session, panic, config, now)
        or Placement(_open(session, panic, routing, now), "opened")
    )
    if placement.how != "joined":
        placement.incident.remind_at = now + config.remind_after
    attach(session, panic, placement.incident, now)
    _tell(session, panic, placement, config, routing, now)
    return placement


def silence_for(session: Session, host: str, *moments: datetime) -> Silence | None:
    """The silence that covers this host at one of these moments, if any; a pattern may name its short name, too."""
    if not _any_silence(session, min(moments)):
        return None
    active = session.exec(
        select(Silence).where(Silence.created_at <= max(moments), Silence.until > min(moments))
    ).all()
    names = {host.lower(), host.lower().split(".", 1)[0]}
    return next(
        (
            silence
            for silence in active
            if any(fnmatchcase(name, silence.pattern.lower()) for name in names)
            and any(_covers(silence, moment) for moment in moments)
        ),
        None,
    )


def _any_silence(session: Session, since: datetime) -> bool:
    """Whether any silence ends after this. Looked up once a transaction, however many panics share it."""
    if "silent_until" not in session.info:
        session.info["silent_until"] = session.exec(select(func.max(Silence.until))).one()
    until = session.info["silent_until"]
    return until is not None and until > since


def _covers(silence: Silence, moment: datetime) -> bool:
    ended = silence.ended_at
    return silence.created_at <= moment < silence.until and (ended is None or ended > moment)


def move(
    session: Session, panic: Panic, config: IncidentConfig, routing: RoutingConfig, now: datetime
) -> Placement:
    """The panic's cause has been read (or corrected): out of the old thread, into the right one."""
    old = session.get(Incident, panic.incident_id) if panic.incident_id else None
    if old is not None and not old.wave:
        alone = not others(session, old, panic)
        stays = old.signature_key == panic.signature_key and (alone or shares(session, panic, old))
        elsewhere = _join(session, panic, config) or _resolved_lately(session, panic, config, now)
        if stays or (alone and elsewhere is None):
            if alone:  # the thread itself becomes the right one
                old.signature_key, old.title = panic.signature_key, panic.title
                session.add(old)
                if not stays:
                    _link_previous(session, panic, old, now)
            said = f"{panic_ref(panic.id)}: {escape(panic.title)}"
            thread.note(session, old.id or 0, "read", said, panic_id=panic.id, at=now)
            show_text(session, panic, now)
            thread.touch(session, old.id or 0)
            return Placement(old, "stayed")
    panic.incident_id = None
    session.add(panic)
    session.flush()
    placement = place(session, panic, config, routing, now)
    if old is not None and old.id != placement.incident.id:
        leave(session, panic, old, placement.incident, now)
    return placement


def show_text(session: Session, panic: Panic, now: datetime) -> None:
    """The panic's own text in its thread; in a storm only where it stands already, or it would be thousands."""
    if not is_storming(session, panic.incident_id) or text_stands(session, panic):
        thread.show_text(session, panic, now)


def text_stands(session: Session, panic: Panic) -> bool:
    key = f"text:{panic.id}:{panic.incident_id}"
    return session.exec(select(SlackMessage.id).where(SlackMessage.key == key)).first() is not None


def open_alone(session: Session, panic: Panic, routing: RoutingConfig, now: datetime) -> Incident:
    """A thread of its own for a panic that a person split off."""
    incident = _open(session, panic, routing, now, link_previous=False)
    panic.incident_id = None
    attach(session, panic, incident, now)
    words = f"{escape(panic.host)} panicked: {escape(panic.title)}"
    thread.note(session, incident.id or 0, "opened", words, panic_id=panic.id, at=now)
    thread.show_text(session, panic, now)
    return incident


def _join(session: Session, panic: Panic, config: IncidentConfig) -> Placement | None:
    candidates = session.exec(
        select(Incident)
        .where(
            Incident.signature_key == panic.signature_key,
            col(Incident.state).in_(LIVE),
            Incident.wave == False,  # noqa: E712 - SQL
            Incident.last_panic_at >= panic.occurred_at - config.join_window,
        )
        .order_by(col(Incident.id).desc())
        .limit(50)
    ).all()
    for incident in candidates:
        if takes(session, panic, incident, config.join_window):
            return Placement(incident, "joined")
        if shares(session, panic, incident) and near(session, incident, panic, config.join_window):
            return Placement(incident, "joined")
    return None


def _merged(session: Session, panic: Panic, config: IncidentConfig) -> Placement | None:
    """A person said that this signature's incident belongs to another one: that holds for the next panic, too."""
    merges = session.exec(
        select(Correction)
        .join(Incident, col(Incident.id) == Correction.incident_id)
        .where(
            Correction.verb == "merge",
            col(Correction.undone_at).is_(None),
            Incident.signature_key == panic.signature_key,
            Incident.state == IncidentState.MERGED,
        )
        .order_by(col(Correction.id).desc())
        .limit(20)
    ).all()
    for merge in merges:
        home = session.get_one(Incident, merge.incident_id)
        while home.merged_into_id is not None:
            home = session.get_one(Incident, home.merged_into_id)
        if (
            home.state in LIVE
            and shares(session, panic, home)
            and near(session, home, panic, config.join_window)
        ):
            return Placement(home, "joined")
    return None


def _resolved_lately(
    session: Session, panic: Panic, config: IncidentConfig, now: datetime
) -> Incident | None:
    """Resolved at most `reopen_within` before this panic; one that died before the resolution brings nothing back,
    and neither does a test or a cause that nobody could read: nothing says that it is the same again."""
    incident = _last_resolved(session, panic)
    if incident is None or incident.resolved_at is None:
        return None
    if not _returns(panic) and panic.occurred_at > incident.resolved_at:
        return None
    if (
        not incident.resolved_at
        <= max(panic.occurred_at, incident.resolved_at)
        <= incident.resolved_at + config.reopen_within
    ):
        return None
    return incident


def _reopen(session: Session, panic: Panic, config: IncidentConfig, now: datetime) -> Placement | None:
    incident = _resolved_lately(session, panic, config, now)
    if incident is None:
        return None
    if incident.resolved_at is not None and panic.occurred_at <= incident.resolved_at:
        return Placement(incident, "late")
    incident.state = IncidentState.OPEN
    incident.silenced = panic.silenced
    begin_again(incident, now)
    session.add(incident)
    return Placement(incident, "reopened")


def _returns(panic: Panic) -> bool:
    """Whether a panic like it says that what was resolved is back."""
    return panic.signature_key != UNKNOWN and not panic.deliberate


def _last_resolved(session: Session, panic: Panic) -> Incident | None:
    query = (
        select(Incident)
        .where(Incident.signature_key == panic.signature_key, Incident.state == IncidentState.RESOLVED)
        .order_by(col(Incident.resolved_at).desc())
        .limit(20)
    )
    for incident in session.exec(query).all():
        if shares(session, panic, incident):
            return incident
    return None


def _open(
    session: Session, panic: Panic, routing: RoutingConfig, now: datetime, *, link_previous: bool = True
) -> Incident:
    incident = Incident(
        signature_key=panic.signature_key,
        title=panic.title,
        channel=routing.channel_for(panic.ring, panic.criticality, panic.owner),
        severity="critical" if panic.criticality == "critical" else "normal",
        silenced=panic.silenced,
        opened_at=now,
        last_panic_at=panic.occurred_at,
    )
    post_parent(session, incident, now)
    if link_previous:
        _link_previous(session, panic, incident, now)
    return incident


def _link_previous(session: Session, panic: Panic, incident: Incident, now: datetime) -> None:
    """The same signature was resolved before: both threads name the other one."""
    previous = _last_resolved(session, panic) if _returns(panic) else None
    if previous is None or previous.id == incident.id:
        return
    incident.previous_id = previous.id
    session.add(incident)
    back = f"{incident_ref(previous.id)} is back as {incident_ref(incident.id)}"
    thread.note(session, previous.id or 0, "came_back", back, at=now)
    thread.say(
        session,
        previous.id or 0,
        f"came-back:{previous.id}:{incident.id}",
        text=f":leftwards_arrow_with_hook: It came back: {thread.link_to(incident.id)} "
        f"on {escape(panic.host)}, {date(panic.occurred_at)}.",
        now=now,
    )
    thread.touch(session, previous.id or 0)


def _tell(
    session: Session,
    panic: Panic,
    placement: Placement,
    config: IncidentConfig,
    routing: RoutingConfig,
    now: datetime,
) -> None:
    incident, how = placement.incident, placement.how
    incident_id = incident.id or 0
    words = {
        "opened": f"{escape(panic.host)} panicked: {escape(panic.title)}",
        "joined": f"{escape(panic.host)} panicked, too ({panic_ref(panic.id)})",
        "reopened": f"{escape(panic.host)} panicked again ({panic_ref(panic.id)}): reopened",
        "late": f"{escape(panic.host)} had panicked before this was resolved ({panic_ref(panic.id)})",
    }[how]
    thread.note(
        session,
        incident_id,
        how,
        words,
        actor=f"host:{panic.host}",
        panic_id=panic.id,
        at=panic.occurred_at if how == "opened" else now,
    )
    storming = grow(session, panic, incident, config.storm, now)
    if how == "reopened" or (how != "opened" and not storming):
        icon = ":leftwards_arrow_with_hook: *Reopened.*" if how == "reopened" else ":heavy_plus_sign:"
        thread.say(
            session,
            incident_id,
            f"{how}:{incident_id}:{panic.id}:{int(now.timestamp())}",
            text=f"{icon} {words}, {date(panic.occurred_at)}.",
            now=now,
        )
    if how == "opened" or not storming:
        thread.show_text(session, panic, now)
    mention(session, panic, incident, routing, now)
    tell_loop(session, panic, incident_id, config, now, quietly=storming)
    if storming:
        touch(session, incident_id, config.storm.edit_every, now)
    else:
        thread.touch(session, incident_id)
