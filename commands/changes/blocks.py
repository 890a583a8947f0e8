"""What a reader sees of a change ticket: its card in the thread, and the modal that links one."""

from __future__ import annotations

import json
import re
from datetime import datetime

from sqlmodel import Session, col, select

from commands.incident.rendering import Rendered, renderer
from commands.incident.thread import incident_link
from commands.incident.wording import redacted, span
from integrations.changes import Change
from integrations.slack import blocks as b
from integrations.slack.text import clean, date, escape, shorten, user
from storage import ChangeLink, Panic, SlackMessage, incident_ref, panic_ref

MODAL = "changes.link"
SEARCH = "changes.search"  # the box in it
_DAY = "{date_short_pretty} {time}"


@renderer("change_card")
def draw_change_card(session: Session, link_id: int) -> Rendered | None:
    link = session.get(ChangeLink, link_id)
    panic = session.get(Panic, link.panic_id) if link is not None else None
    if link is None or panic is None:
        return None
    return change_card(link, panic, told_elsewhere=_told_elsewhere(session, link, panic))


def _told_elsewhere(session: Session, link: ChangeLink, panic: Panic) -> bool:
    """Whether the panic has been in another thread: the ticket may have the link of that one."""
    if link.told_at is None:
        return False
    key = f"change:{link.id}:"
    other = select(SlackMessage.id).where(
        col(SlackMessage.key).startswith(key, autoescape=True), SlackMessage.incident_id != panic.incident_id
    )
    return session.exec(other.limit(1)).first() is not None


@renderer("change_moved")
def draw_moved_card(session: Session, link_id: int) -> Rendered | None:
    """What stays of the card in a thread that the panic has left."""
    link = session.get(ChangeLink, link_id)
    panic = session.get(Panic, link.panic_id) if link is not None else None
    if link is None or panic is None:
        return None
    text = f":arrow_right: {escape(link.key)} went with {panic_ref(panic.id)}"
    if panic.incident_id is None:
        return Rendered(f"{text}.", [b.context(f"{text}.")])
    address = incident_link(session, panic.incident_id)
    return Rendered(f"{text} to {incident_ref(panic.incident_id)}.", [b.context(f"{text} to {address}.")])


def change_card(link: ChangeLink, panic: Panic, *, told_elsewhere: bool = False) -> Rendered:
    """The card in whatever state the link is; `link.next_at` says when a failure is tried again."""
    if link.state == "pending":
        return _pending(link, panic)
    if link.state == "failed":
        return _failed(link, panic)
    if link.state == "removed":
        return _removed(link, panic)
    return _linked(link, panic, told_elsewhere)


def link_modal(panic: Panic, *, channel: str = "", thread_ts: str | None = None) -> b.Block:
    """The form behind the `Link change` button: a box that searches the tracker, and a field for a key.

    `channel` and `thread_ts` say where the person is answered.
    """
    what = f"{escape(shorten(panic.host, 80))}: {escape(shorten(redacted(panic.title, panic.host), 200))}"
    shown = [
        b.section(f"*{panic_ref(panic.id)}* {what}"),
        _search_box(),
        b.text_input(
            "Or its key",
            "key",
            optional=True,
            placeholder="OPS-1182, or the ticket's address",
            max_length=300,
        ),
        b.text_input(
            "Note",
            "note",
            optional=True,
            multiline=True,
            max_length=500,
            hint="Stands in the timeline and in the comment on the ticket.",
        ),
    ]
    return b.modal(
        MODAL,
        "Link a change",
        shown,
        submit="Link",
        private_metadata=json.dumps(
            {"panic": panic_ref(panic.id), "channel": channel, "thread_ts": thread_ts}
        ),
    )


def suggestion(change: Change) -> str:
    """A change in one line of at most 75 characters, as an option shows it."""
    status = f" ({clean(change.status)})" if change.status else ""
    return shorten(f"{change.key}{status} {' '.join(clean(change.summary).split())}", 75)


def _search_box() -> b.Block:
    return {
        "type": "input",
        "block_id": "ticket",
        "optional": True,
        "label": b.plain("Ticket"),
        "hint": b.plain("Nothing typed: the changes that name this host or its ring."),
        "element": {
            "type": "external_select",
            "action_id": SEARCH,
            "min_query_length": 0,
            "placeholder": b.plain("Search by key or by words of the summary"),
        },
    }


def _pending(link: ChangeLink, panic: Panic) -> Rendered:
    key = escape(link.key)
    if link.error is None:
        text = f":hourglass_flowing_sand: *{key}* is being looked up at the change tracker …"
        return Rendered(f"Looking up {key}", [b.section(text)])
    lines = [f":hourglass: *{key}* is not linked yet: {escape(shorten(link.error, 400))}"]
    lines.append(_again(link) + " Nothing needs to be done: this message changes once it is linked.")
    made = [b.section("\n".join(lines)), _buttons(link, panic, retry=True, unlink="Do not link")]
    return Rendered(f"{key} is not linked yet; it will be tried again", made)


def _failed(link: ChangeLink, panic: Panic) -> Rendered:
    why = escape(shorten(link.error or "the tracker refused", 600))
    text = f":x: *{escape(link.key)}* could not be linked to {panic_ref(panic.id)}: {why}"
    hint = (
        "When that is put right, press *Try now*. Another ticket: the *Link change* button, or "
        f"`/panic link {panic_ref(panic.id)} OPS-1182`."
    )
    return Rendered(
        f"{escape(link.key)} could not be linked",
        [b.section(text), b.context(hint), _buttons(link, panic, retry=True, unlink="")],
    )


def _removed(link: ChangeLink, panic: Panic) -> Rendered:
    name = f"*{_ticket(link)}*" + (f" {escape(shorten(link.summary, 200))}" if link.summary else "")
    said = "What Panicroom wrote on the ticket stays there." if link.told_at else "The ticket was not told."
    return Rendered(
        f"{escape(link.key)} unlinked",
        [b.section(f":heavy_minus_sign: {name} was unlinked from {panic_ref(panic.id)}."), b.context(said)],
    )


def _linked(link: ChangeLink, panic: Panic, told_elsewhere: bool) -> Rendered:
    words = "Problem ticket" if link.problem else "Likely change" if link.automatic else "Change"
    lead = f"*{words}*"
    title = f":ticket: {lead} *{_ticket(link)}* {escape(shorten(link.summary, 400))}"
    before = "" if link.problem else _before(link.started, panic.occurred_at)
    fields = [f"*Status*\n{escape(shorten(link.status, 100)) or 'unknown'}"]
    fields.append(f"*Assignee*\n{escape(shorten(link.assignee, 100)) if link.assignee else 'nobody'}")
    fields.append(f"*Started*\n{date(link.started, _DAY) if link.started else 'unknown'}{before}")
    fields.append(f"*Ended*\n{date(link.ended, _DAY) if link.ended else 'not ended'}")
    made = [b.section(title, fields=fields)]
    if link.note and not link.automatic:
        made.append(b.section(f"> {escape(shorten(' '.join(link.note.split()), 500))}"))
    made.append(b.context(" · ".join(_how(link, panic, told_elsewhere))))
    made.append(
        _buttons(link, panic, retry=bool(link.error), unlink="Not related" if link.automatic else "Unlink")
    )
    return Rendered(escape(shorten(f"{words} {link.key}: {link.summary}", 300)), made)


def _how(link: ChangeLink, panic: Panic, told_elsewhere: bool) -> list[str]:
    if link.problem:
        parts = [f"made by Panicroom {date(link.linked_at, _DAY)}, because this panic keeps coming back"]
    elif link.automatic:
        parts = [f"found by Panicroom itself: it {escape(shorten(link.note, 200))}"]
    else:
        parts = [f"linked to {panic_ref(panic.id)} by {user(link.linked_by)} {date(link.linked_at, _DAY)}"]
    if link.told_at is not None:
        parts.append(
            f"the ticket has a comment with the link of a thread that {panic_ref(panic.id)} was in"
            if told_elsewhere
            else "the ticket has a comment with this thread's link"
        )
    elif link.error is not None:
        again = f" {_again(link)}" if link.next_at is not None else ""
        parts.append(f":warning: the ticket could not be told: {escape(shorten(link.error, 300))}{again}")
    elif link.next_at is not None:
        parts.append("the ticket is being told")
    if link.told_at is not None and link.error is not None:
        again = f" {_again(link)}" if link.next_at is not None else ""
        parts.append(f":warning: the comment could not be renewed: {escape(shorten(link.error, 300))}{again}")
    if link.gone is not None:
        parts.append(f":warning: it can no longer be read: {escape(shorten(link.gone, 300))}")
    return parts


def _again(link: ChangeLink) -> str:
    tries = f"Tried {link.attempts} time{'s' if link.attempts != 1 else ''}"
    return f"{tries}; next try {date(link.next_at)}." if link.next_at else f"{tries}."


def _before(started: datetime | None, occurred_at: datetime) -> str:
    if started is None or started > occurred_at:
        return ""
    return f" ({span(occurred_at - started)} before the panic)"


def _ticket(link: ChangeLink) -> str:
    if re.fullmatch(r"https?://[^\s<>|]{1,2000}", link.url):
        return f"<{link.url.replace('&', '&amp;')}|{escape(link.key)}>"
    return escape(link.key)


def _buttons(link: ChangeLink, panic: Panic, *, retry: bool, unlink: str) -> b.Block:
    value = f"{panic_ref(panic.id)} {link.key}"
    elements = [b.button("Confirm", "changes.confirm", value)] if link.automatic else []
    if retry:
        elements.append(b.button("Try now", "changes.retry", value))
    if unlink:
        elements.append(b.button(unlink, "changes.unlink", value))
    return b.actions(elements)
