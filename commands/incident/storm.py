"""A storm in a thread: hosts come faster than a person reads, and are counted instead of told one by one.

All of it in the caller's transaction. What is told, and when, is in `stormdesk`; how it looks, in `stormwords`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, col, delete, func, select

from commands.incident import thread
from commands.incident.common import look_elsewhere
from commands.incident.config import StormConfig
from integrations.slack.text import escape, shorten
from storage import Incident, MessageState, Panic, SlackMessage, Storm, incident_ref

log = structlog.get_logger(__name__)

VERB = "storm"
_PER_HOST = (
    "joined",
    "text",
    "textfile",
    "loop",
)  # keys of what is said of each host while there is no storm


def storm_of(session: Session, incident_id: int | None) -> Storm | None:
    """The storm that the incident is in, or was. Looked up once a transaction, however many reports share it."""
    if incident_id is None:
        return None
    # A session lets go of rows that nobody holds.
    held: dict[int, Storm | None] = session.info.setdefault("storms", {})
    if incident_id not in held:
        held[incident_id] = session.get(Storm, incident_id)
    storm = held[incident_id]
    if storm is not None and storm not in session:  # a savepoint with its beginning was undone
        storm = held[incident_id] = session.get(Storm, incident_id)
    return storm


def forget(session: Session) -> None:
    """A savepoint was undone: what was looked up or touched in it is so no longer."""
    session.info.pop("storms", None)
    session.info.pop("touched", None)


def is_storming(session: Session, incident_id: int | None) -> bool:
    """Whether the incident's hosts are counted now, not told one by one."""
    storm = storm_of(session, incident_id)
    return storm is not None and storm.closed_at is None


def takes(session: Session, panic: Panic, incident: Incident, window: timedelta) -> bool:
    """Whether the incident is in a storm of its own that this panic is surely part of, without another look: many
    hosts are in it, so none of its panics is deliberate, and its last one was a moment ago."""
    storm = storm_of(session, incident.id)
    if storm is None or storm.closed_at is not None or storm.lead_id != incident.id or panic.deliberate:
        return False
    return abs(storm.last_at - panic.occurred_at) <= window


def members(session: Session, lead_id: int) -> list[Storm]:
    """The storms that are one event, the lead's first."""
    found = session.exec(select(Storm).where(Storm.lead_id == lead_id).order_by(col(Storm.began_at))).all()
    return sorted(found, key=lambda storm: (storm.incident_id != lead_id, storm.incident_id))


def hosts_in(session: Session, incident_ids: list[int]) -> int:
    return session.exec(
        select(func.count(func.distinct(Panic.host))).where(col(Panic.incident_id).in_(incident_ids))
    ).one()


def grow(session: Session, panic: Panic, incident: Incident, config: StormConfig, now: datetime) -> bool:
    """A panic was put into the incident: counts it, and says whether the incident is in a storm (now).

    A storm begins when `hosts` hosts were told of within `window`, or with the first panic of a thread that belongs
    to a running storm's event: the same kernel, the same minute.
    """
    storm = storm_of(session, incident.id)
    if storm is not None and storm.closed_at is None:
        storm.grown_at = now
        storm.first_at = min(storm.first_at, panic.occurred_at)
        storm.last_at = max(storm.last_at, panic.occurred_at)
        session.add(storm)
        return True
    if panic.deliberate:
        return False
    lead = _running(session, panic, config)
    if lead is None:
        crowd = session.exec(
            select(func.count(func.distinct(Panic.host))).where(
                Panic.incident_id == incident.id,
                col(Panic.reported_at) > now - config.window,
            )
        ).one()
        if crowd < config.hosts:
            return False
    _begin(session, panic, incident, storm, lead, config, now)
    return True


def _begin(
    session: Session,
    panic: Panic,
    incident: Incident,
    before: Storm | None,
    lead: Storm | None,
    config: StormConfig,
    now: datetime,
) -> None:
    incident_id = incident.id or 0
    first_at = session.exec(
        select(func.min(Panic.occurred_at)).where(
            Panic.incident_id == incident_id, col(Panic.reported_at) > now - config.window
        )
    ).one()
    storm = before or Storm(
        incident_id=incident_id,
        lead_id=incident_id,
        first_at=first_at or panic.occurred_at,
        last_at=panic.occurred_at,
        began_at=now,
        grown_at=now,
    )
    storm.kernel = panic.kernel
    storm.first_at, storm.last_at = first_at or panic.occurred_at, panic.occurred_at
    storm.began_at = storm.grown_at = now
    storm.closed_at = storm.told_at = storm.pictured_at = None
    storm.lead_id = lead.lead_id if lead is not None else incident_id
    session.add(storm)
    session.flush()
    session.info.setdefault("storms", {})[incident_id] = storm
    storm.elsewhere = look_elsewhere(session, [incident_id])
    session.add(storm)
    withdrawn = _withdraw(session, incident_id)
    said = "a storm began: hosts are counted, and no longer told one by one"
    if lead is not None:
        _link(session, incident, lead, now)
        said = f"part of one event with {incident_ref(lead.lead_id)}: the same kernel, the same minute"
    thread.note(session, incident_id, VERB, said, panic_id=panic.id, at=now)
    log.warning("storm.began", incident=incident_ref(incident_id), lead=storm.lead_id, withdrawn=withdrawn)


def _running(session: Session, panic: Panic, config: StormConfig) -> Storm | None:
    """The storm on the panic's kernel, if one is running and was seen to panic within a minute of it."""
    if panic.kernel is None:
        return None
    return session.exec(
        select(Storm)
        .where(
            col(Storm.closed_at).is_(None),
            Storm.kernel == panic.kernel,
            Storm.incident_id != panic.incident_id,
            Storm.first_at <= panic.occurred_at + config.same_event,
            Storm.last_at >= panic.occurred_at - config.same_event,
        )
        .order_by(col(Storm.began_at), col(Storm.incident_id))
        .limit(1)
    ).first()


def _link(session: Session, incident: Incident, lead: Storm, now: datetime) -> None:
    """Each thread names the other one; the event is told in the lead's."""
    incident_id = incident.id or 0
    thread.say(
        session,
        incident_id,
        f"event:{incident_id}:{lead.lead_id}",
        text=f":link: One event with {thread.link_to(lead.lead_id)} (the same kernel, the same minute), told there.",
        now=now,
    )
    words = f"{incident_ref(incident_id)} belongs to this event: {escape(shorten(incident.title, 160))}"
    thread.note(session, lead.lead_id, VERB, words, at=now)
    touch(session, lead.lead_id, timedelta(0), now)


def _withdraw(session: Session, incident_id: int) -> int:
    """What was to be said of single hosts and was not begun: the storm's digest says it for all of them. The first
    panic's own text stays."""
    first = session.exec(select(func.min(Panic.id)).where(Panic.incident_id == incident_id)).one()
    doomed = [
        message.id
        for message in session.exec(
            select(SlackMessage).where(
                SlackMessage.incident_id == incident_id,
                SlackMessage.state == MessageState.WAITING,
                col(SlackMessage.ts).is_(None),
                col(SlackMessage.thread_key).is_not(None),
            )
        ).all()
        if _of_a_host(message.key, first)
    ]
    if not doomed:
        return 0
    gone = session.exec(
        delete(SlackMessage).where(
            col(SlackMessage.id).in_(doomed),
            col(SlackMessage.state) == MessageState.WAITING,
            col(SlackMessage.ts).is_(None),
        )
    )
    return int(gone.rowcount)


def _of_a_host(key: str, first: int | None) -> bool:
    kind, _, rest = key.partition(":")
    return kind in _PER_HOST and not (kind in ("text", "textfile") and rest.split(":", 1)[0] == str(first))


# -- the count at the head of the thread --------------------------------------------------------------------


def touch(session: Session, incident_id: int, every: timedelta, now: datetime) -> None:
    """`thread.touch`, and the edit waits until `every` has passed: what comes meanwhile costs no call of its own.

    Once is enough in one transaction: it is drawn from what is there when the edit is made.
    """
    touched: set[tuple[int, timedelta]] = session.info.setdefault("touched", set())
    if (incident_id, every) in touched:
        return
    touched.add((incident_id, every))
    redraw_later(session, thread.parent_key(incident_id), every, now)


def redraw_later(session: Session, key: str, every: timedelta, now: datetime) -> bool:
    """`thread.redraw` after `every`; False when there is no such message."""
    message = session.exec(select(SlackMessage).where(SlackMessage.key == key)).first()
    if message is None:
        return False
    fresh = message.state is not MessageState.WAITING
    thread.redraw(session, key)
    if fresh and message.state is MessageState.WAITING and message.ts is not None:
        message.next_at = now + every
        session.add(message)
    return True


def rest(session: Session, message: SlackMessage, config: StormConfig) -> timedelta:
    """How long a message that is out of date again as soon as it was edited waits for its next edit."""
    if not is_storming(session, message.incident_id):
        return timedelta(0)
    return config.edit_every if message.thread_key is None else config.digest_every / 6
