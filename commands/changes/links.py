"""A change ticket beside a panic: what happens to its row. Plain code, inside the caller's transaction.

A link is `pending` until the tracker has told what the ticket is, then `linked`, or `failed` for good;
`removed` once a person said that it is not related. `next_at` is when the desk works on it again.

People's acts are audited by the router. What the bot does by itself, and what comes of an act later, is audited
here, in the transaction that makes it: `changes.find`, `changes.tell`, and a `link` that failed after all.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NoReturn

from sqlmodel import Session, col, select

from commands.errors import BadArguments, Impossible, NotFound
from commands.incident import thread
from integrations.changes import BadKey, Change, read_key
from integrations.slack.text import escape, shorten
from storage import AuditEntry, ChangeLink, Incident, Panic, SlackMessage, incident_ref, panic_ref

EXAMPLE = "/panic link P-41 OPS-1182"
NOTE_LIMIT = 500
FIRST_LOOK = timedelta(minutes=10)  # after a ticket was read, it is read again
CARD, MOVED = "change_card", "change_moved"  # what draws the card where the panic is, and where it was


def ticket_key(text: str) -> str:
    """`OPS-1182`, from itself in any case or from the ticket's address. Raises BadArguments."""
    try:
        return read_key(text)
    except BadKey as error:
        shown = " ".join(text.split())[:40].replace("`", "'")
        shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        raise BadArguments(
            f"`{shown}` is no ticket key; they look like `OPS-1182`.", example=EXAMPLE
        ) from error


def add_link(
    session: Session, panic: Panic, key: str, *, by: str, note: str, now: datetime
) -> tuple[ChangeLink, str]:
    """The link a person asks for, and what came of it: "new", "confirmed" or "already" (nothing changed).

    One that was removed or has failed is tried again; one that the bot found by itself is confirmed by being
    asked for. Raises Impossible for a panic without a thread.
    """
    incident = incident_or_refuse(session, panic)
    link = session.exec(
        select(ChangeLink).where(ChangeLink.panic_id == panic.id, ChangeLink.key == key)
    ).first()
    if link is not None and link.state == "linked" and link.automatic:
        _confirm(session, link, by=by, note=note, now=now)
        return link, "confirmed"
    if link is not None and link.state in ("pending", "linked"):
        return link, "already"
    if link is None:
        link = ChangeLink(panic_id=panic.id or 0, key=key, linked_by=by)
    link.state, link.automatic, link.linked_by, link.linked_at = "pending", False, by, now
    link.note = note[:NOTE_LIMIT]
    link.error, link.attempts, link.next_at = None, 0, now
    session.add(link)
    session.flush()
    words = f"{escape(key)} linked to {panic_ref(panic.id)}"
    if note:
        words += f": {escape(shorten(note, 300))}"
    thread.note(session, incident.id or 0, "link", words, actor=by, panic_id=panic.id, at=now)
    show(session, link, now)
    return link, "new"


def _confirm(session: Session, link: ChangeLink, *, by: str, note: str, now: datetime) -> None:
    """A person agrees with the bot. The ticket is told now if it was not, and not a second time if it was."""
    link.automatic, link.linked_by, link.linked_at, link.note = False, by, now, note[:NOTE_LIMIT]
    if link.told_at is None:
        link.next_at = now
    session.add(link)
    incident = thread.incident_of(session, link.panic_id)
    if incident is not None:
        words = f"{escape(link.key)} confirmed for {panic_ref(link.panic_id)}"
        words += f": {escape(shorten(note, 300))}" if note else ""
        thread.note(session, incident.id or 0, "link", words, actor=by, panic_id=link.panic_id, at=now)
    show(session, link, now)


def add_likely(
    session: Session, panic: Panic, change: Change, *, why: str, tell: bool, now: datetime
) -> bool:
    """The link the bot found by itself; `why` says what it names.

    Not made, and False, when the incident has one of that key in any state: a person's "not related" holds.
    """
    incident = incident_or_refuse(session, panic)
    if find_in_incident(session, incident, change.key) is not None:
        return False
    link = ChangeLink(
        panic_id=panic.id or 0,
        key=change.key,
        automatic=True,
        state="linked",
        linked_by="panicroom",
        linked_at=now,
    )
    take_facts(link, change)
    link.look_at = now + FIRST_LOOK
    link.note = why
    link.next_at = now if tell else None
    session.add(link)
    session.flush()
    _audit(session, link, "changes.find", "done", f"it {why}", actor="panicroom", now=now)
    show(session, link, now)
    return True


def found_ticket(session: Session, link: ChangeLink, change: Change, now: datetime) -> None:
    """The tracker told what a pending ticket is: next, the ticket is to be told of the thread."""
    if change.key != link.key and not renamed(session, link, change.key, now):
        return
    take_facts(link, change)
    link.look_at = now + FIRST_LOOK
    link.state, link.error, link.attempts = "linked", None, 0
    link.next_at = None if link.told_at else now
    session.add(link)
    show(session, link, now)


def told_ticket(session: Session, link: ChangeLink, where: str, now: datetime) -> None:
    """The ticket carries the comment and the link of the thread at the address `where`."""
    link.told_at, link.error, link.attempts, link.next_at = now, None, 0, None
    session.add(link)
    detail = f"comment and link to {where}"
    _audit(session, link, "changes.tell", "done", detail, actor="panicroom", now=now)
    show(session, link, now)


def failed_for_good(session: Session, link: ChangeLink, why: str, now: datetime) -> None:
    """A pending link fails; one whose ticket is known stays, and says that the ticket could not be told."""
    link.error, link.next_at = why[:1000], None
    if link.state == "linked":
        _audit(session, link, "changes.tell", "failed", why, actor="panicroom", now=now)
    if link.state == "pending":
        link.state = "failed"
        _audit(session, link, "link", "failed", why, actor=link.linked_by, now=now)
        incident = thread.incident_of(session, link.panic_id)
        if incident is not None:
            words = f"{escape(link.key)} could not be linked: {escape(shorten(why, 300))}"
            thread.note(session, incident.id or 0, "link", words, panic_id=link.panic_id, at=now)
    session.add(link)
    show(session, link, now)


def failed_for_now(
    session: Session, link: ChangeLink, why: str, *, again_at: datetime, now: datetime
) -> None:
    link.attempts += 1
    link.error, link.next_at = why[:1000], again_at
    session.add(link)
    show(session, link, now)


def remove_link(session: Session, panic: Panic, key: str, *, by: str, now: datetime) -> bool:
    """Marks the link; what was written on the ticket stays there. False when it was removed before."""
    incident = incident_or_refuse(session, panic)
    link = session.exec(
        select(ChangeLink).where(ChangeLink.panic_id == panic.id, ChangeLink.key == key)
    ).first() or find_in_incident(session, incident, key)
    if link is None:
        ref = panic_ref(panic.id)
        raise NotFound(
            f"{key} is not linked to {ref}, so there is nothing to undo. `/panic show {ref}` lists what is."
        )
    if link.state == "removed":
        return False
    link.state, link.next_at, link.look_at = "removed", None, None
    session.add(link)
    thread.note(
        session, incident.id or 0, "unlink", f"{escape(key)} unlinked", actor=by, panic_id=panic.id, at=now
    )
    show(session, link, now)
    return True


def retry_link(session: Session, panic: Panic, key: str, *, now: datetime) -> bool:
    """A failed link, or a ticket that could not be told, is worked on at once. False when there is nothing to do."""
    incident = incident_or_refuse(session, panic)
    link = find_in_incident(session, incident, key)
    if link is None:
        ref = panic_ref(panic.id)
        raise NotFound(f"{key} is not linked to {ref} any more. `/panic show {ref}` lists what is.")
    if link.state == "removed" or link.error is None:
        return False
    if link.state == "failed":
        link.state = "pending"
    link.attempts, link.error, link.next_at = 0, None, now
    session.add(link)
    show(session, link, now)
    return True


def show(session: Session, link: ChangeLink, now: datetime) -> None:
    """The card in the thread where the panic is now is drawn (again), and so is the parent message."""
    incident = thread.incident_of(session, link.panic_id)
    if incident is not None and incident.id is not None:
        _show_in(session, link, incident.id, now)


def follow(session: Session, panic_id: int, old: int | None, new: int, *, now: datetime) -> None:
    """The panic has moved from incident `old` to `new`: its cards stand in the new thread, the old ones point there.

    What was unlinked stays behind. A ticket that was told is not told again: the old thread says where to go on.
    """
    if old == new:
        return
    standing = session.exec(
        select(ChangeLink)
        .where(ChangeLink.panic_id == panic_id, ChangeLink.state != "removed")
        .order_by(col(ChangeLink.id))
    ).all()
    for link in standing:
        _show_in(session, link, new, now)
        left = _card_in(session, link, old) if old is not None else None
        if left is not None:
            left.renderer = MOVED
            session.add(left)
            thread.redraw(session, left.key)
    if standing and old is not None:
        thread.touch(session, old)


def _show_in(session: Session, link: ChangeLink, incident_id: int, now: datetime) -> None:
    back = _card_in(session, link, incident_id)
    if back is not None:
        back.renderer = CARD  # the panic may have been elsewhere in between
    key = _card_key(link, incident_id)
    thread.say(session, incident_id, key, renderer=CARD, subject_id=link.id, now=now)
    thread.touch(session, incident_id)


def _card_in(session: Session, link: ChangeLink, incident_id: int) -> SlackMessage | None:
    return session.exec(select(SlackMessage).where(SlackMessage.key == _card_key(link, incident_id))).first()


def _card_key(link: ChangeLink, incident_id: int) -> str:
    return f"change:{link.id}:{incident_id}"


def find_in_incident(session: Session, incident: Incident, key: str) -> ChangeLink | None:
    """The newest link of that key on any panic of the incident; one that stands before one that was removed."""
    return session.exec(
        select(ChangeLink)
        .join(Panic, col(Panic.id) == ChangeLink.panic_id)
        .where(ChangeLink.key == key, Panic.incident_id == incident.id)
        .order_by(col(ChangeLink.state) == "removed", col(ChangeLink.id).desc())
    ).first()


def parent_of(session: Session, incident_id: int) -> tuple[str, str] | None:
    """(channel, ts) of the incident's parent message; None until it is posted."""
    message = session.exec(
        select(SlackMessage).where(SlackMessage.key == thread.parent_key(incident_id))
    ).first()
    return (message.channel, message.ts) if message is not None and message.ts else None


def mark(session: Session, incident_id: int) -> str:
    """`I-7-1763889240`: what tells this incident from any other on a ticket, the seconds being those of its birth.

    Ids alone begin anew with a new database, and two installations may write on the same ticket.
    """
    born = session.exec(
        select(SlackMessage.created_at).where(SlackMessage.key == thread.parent_key(incident_id))
    ).first()
    opened = born or session.get_one(Incident, incident_id).opened_at
    return f"{incident_ref(incident_id)}-{int(opened.timestamp())}"


def incident_or_refuse(session: Session, panic: Panic) -> Incident:
    incident = thread.incident_of(session, panic.id or 0)
    if incident is None:
        _no_thread(panic)
    return incident


def _no_thread(panic: Panic) -> NoReturn:
    raise Impossible(
        f"{panic_ref(panic.id)} has no thread to put the ticket in. If it came in just now, try again in a moment; "
        "one that was imported from an old crash directory has none."
    )


def _audit(
    session: Session, link: ChangeLink, verb: str, outcome: str, detail: str, *, actor: str, now: datetime
) -> None:
    subject = f"{panic_ref(link.panic_id)} {link.key}"
    session.add(
        AuditEntry(at=now, actor=actor, verb=verb, subject=subject, outcome=outcome, detail=detail[:1000])
    )


def take_facts(link: ChangeLink, change: Change) -> None:
    """What the tracker says of the ticket now, which can be read then."""
    link.summary, link.status, link.assignee = change.summary, change.status, change.assignee
    link.started, link.ended, link.url, link.gone = change.started, change.ended, change.url, None


def facts(link: ChangeLink) -> tuple[Any, ...]:
    """What of the ticket its card shows."""
    return (
        link.key, link.summary, link.status, link.assignee, link.started, link.ended, link.url, link.gone,
    )  # fmt: skip


def renamed(session: Session, link: ChangeLink, key: str, now: datetime) -> bool:
    """The ticket was moved and has another key now. False when that one is linked to the panic already: one goes."""
    old = link.key
    other = session.exec(
        select(ChangeLink).where(ChangeLink.panic_id == link.panic_id, ChangeLink.key == key)
    ).first()
    stays = other is None or other.state == "removed"
    if other is not None and stays:  # their keys change places; no two rows may have the same in between
        other.key = f"moved:{other.id}"
        session.add(other)
        session.flush()
    if stays:
        link.key = key
        session.add(link)
        session.flush()
    else:
        link.state, link.next_at, link.look_at = "removed", None, None
        session.add(link)
    if other is not None and stays:
        other.key = old
        session.add(other)
    incident = thread.incident_of(session, link.panic_id)
    if incident is not None:
        words = f"{escape(old)} was moved at the tracker: it is {escape(key)} now"
        words += "" if stays else ", which is linked already"
        thread.note(session, incident.id or 0, "change-status", words, panic_id=link.panic_id, at=now)
    if not stays:
        show(session, link, now)
    return stays
