"""`/panic link`, `/panic unlink`, the `Link change` button with its modal, and the buttons on a card."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from sqlmodel import Session

from commands.access import Role
from commands.changes import links
from commands.changes.blocks import MODAL, SEARCH, link_modal
from commands.changes.choosing import SearchBox
from commands.changes.desk import ChangeDesk
from commands.errors import BadArguments
from commands.incident.lookup import panic_meant
from commands.router import Ask, Router
from integrations.slack.text import date, user
from storage import ChangeLink, Panic, panic_ref, parse_ref
from storage.requests import once

T = TypeVar("T")


def register(router: Router, desk: ChangeDesk) -> None:
    """Verbs and buttons, and the hook that looks for a change when a host panics."""
    counter = Counter(desk)
    router.verb(
        "link",
        counter.link,
        role=Role.RESPONDER,
        usage="link P-41 OPS-1182 [note]",
        help="put a change ticket beside a panic: a card in the thread, the thread's link on the ticket",
        example=f"{router.command} link P-41 OPS-1182",
    )
    router.verb(
        "unlink",
        counter.unlink,
        role=Role.RESPONDER,
        usage="unlink P-41 OPS-1182",
        help="say that a ticket has nothing to do with it; what stands on the ticket stays",
        example=f"{router.command} unlink P-41 OPS-1182",
    )
    router.action("changes.link", counter.open_form, role=Role.RESPONDER, acts=False)
    router.action("changes.confirm", counter.confirm_clicked, role=Role.RESPONDER)
    router.action("changes.unlink", counter.unlink_clicked, role=Role.RESPONDER)
    router.action("changes.retry", counter.retry_clicked, role=Role.RESPONDER)
    router.options[SEARCH] = SearchBox(desk.ctx, desk.the_tracker, desk.suggestions).options
    router.modal(MODAL, counter.form_sent, role=Role.RESPONDER, check=check_form)
    desk.ctx.on_panic.append(desk.on_panic)
    desk.ctx.on_moved.append(desk.on_moved)


class Counter:
    """Takes what people ask for, commits it once a request, and wakes the desk that does it.

    A request that is worked on again after a crash finds its effect made, and makes and answers nothing.
    """

    def __init__(self, desk: ChangeDesk) -> None:
        self.desk = desk
        self.ctx = desk.ctx

    async def link(self, ask: Ask) -> None:
        panic, key, note = split_line(ask.text)
        await self._link(ask, panic, key, note)

    async def unlink(self, ask: Ask) -> None:
        panic, key, _rest = split_line(ask.text)
        await self._unlink(ask, panic, key)

    async def confirm_clicked(self, ask: Ask) -> None:
        panic, key, _rest = split_line(ask.value or "")
        await self._link(ask, panic, key, "")

    async def unlink_clicked(self, ask: Ask) -> None:
        panic, key, _rest = split_line(ask.value or "")
        await self._unlink(ask, panic, key)

    async def retry_clicked(self, ask: Ask) -> None:
        word, key, _rest = split_line(ask.value or "")
        self.desk.the_tracker()
        now = self.ctx.clock()
        retried = await self._once(
            ask, lambda s: links.retry_link(s, panic_meant(s, ask, word), key, now=now)
        )
        if retried is not None:
            await ask.reply(
                f"{key} is being tried again now; its card changes with the outcome."
                if retried
                else f"{key} needs no other try: nothing about it has failed."
            )

    async def open_form(self, ask: Ask) -> None:
        """Opens the form; its search box asks for options by itself."""
        self.desk.the_tracker()
        panic = await self.ctx.db.read(lambda s: panic_meant(s, ask))
        form = link_modal(panic, channel=ask.channel, thread_ts=ask.thread_ts or ask.message_ts)
        await self.ctx.slack.open_view(ask.trigger_id or "", form)

    async def form_sent(self, ask: Ask) -> None:
        view = ask.view or {}
        try:
            word = str(json.loads(str(view.get("private_metadata") or ""))["panic"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadArguments(
                "this form is from an older version of Panicroom; please open it again.",
                example=links.EXAMPLE,
            ) from error
        await self._link(ask, word, links.ticket_key(chosen_key(ask.values)), _typed(ask.values, "note"))

    async def _link(self, ask: Ask, word: str | None, key: str, note: str) -> None:
        self.desk.the_tracker()
        now = self.ctx.clock()

        def write(session: Session) -> tuple[Panic, ChangeLink, str]:
            panic = panic_meant(session, ask, word)
            return panic, *links.add_link(session, panic, key, by=ask.user, note=note, now=now)

        made = await self._once(ask, write)
        if made is not None:
            await ask.reply(_linking(*made))

    async def _unlink(self, ask: Ask, word: str | None, key: str) -> None:
        now = self.ctx.clock()

        def write(session: Session) -> tuple[Panic, bool]:
            panic = panic_meant(session, ask, word)
            return panic, links.remove_link(session, panic, key, by=ask.user, now=now)

        made = await self._once(ask, write)
        if made is None:
            return
        panic, removed = made
        if removed:
            await ask.reply(
                f"{key} is unlinked from {panic_ref(panic.id)}. What was written on the ticket stays there."
            )
        else:
            await ask.reply(f"{key} was unlinked before; nothing about {panic_ref(panic.id)} has changed.")

    async def _once(self, ask: Ask, act: Callable[[Session], T]) -> T | None:
        """What the act returns; None when this request's effect stands already."""

        def guarded(session: Session) -> T | None:
            return act(session) if once(session, ask.request_id) else None

        made = await self.ctx.db.write(guarded)
        self.ctx.wake()
        self.desk.wake()
        return made


def _linking(panic: Panic, link: ChangeLink, outcome: str) -> str:
    """What the person is told who has asked for a link."""
    key, ref = link.key, panic_ref(panic.id)
    if outcome == "new":
        return f"{key} is being linked to {ref}; its card appears in the thread."
    if outcome == "confirmed":
        return f"{key} is confirmed for {ref}. Thank you."
    if link.state == "pending":
        return f"{key} is being linked to {ref} already; its card in the thread says how far it is."
    return f"{key} is linked to {ref} already (by {user(link.linked_by)} {date(link.linked_at)})."


def split_line(line: str) -> tuple[str | None, str, str]:
    """(panic or None, ticket key, note) of `[P-41] OPS-1182 [note]`. Raises BadArguments.

    The note is taken as it was typed: apostrophes need no closing partner.
    """
    words = line.strip().split(None, 1)
    panic = None
    if words and (parse_ref(words[0], "P") or parse_ref(words[0], "I")):
        panic = words[0]
        words = words[1].split(None, 1) if len(words) > 1 else []
    if not words:
        raise BadArguments("say which ticket, by its key or its address.", example=links.EXAMPLE)
    note = (
        re.sub(r"\A([\"“'])(.*)([\"”'])\Z", r"\2", words[1].strip(), flags=re.DOTALL)
        if len(words) > 1
        else ""
    )
    return panic, links.ticket_key(words[0]), note.strip()


def check_form(ask: Ask) -> dict[str, str]:
    """{block_id: what is wrong} for the form as it is sent."""
    typed, chosen = _typed(ask.values, "key"), _selected(ask.values)
    if not typed and not chosen:
        return {"key": "Type a ticket key such as OPS-1182, or choose a change above."}
    if not typed:
        return {}
    try:
        key = links.ticket_key(typed)
    except BadArguments:
        return {"key": "That is no ticket key. They look like OPS-1182; the ticket's address will do, too."}
    if chosen and key != chosen:
        return {"key": f"You chose {chosen} above and typed {key} here. Leave one of them out."}
    return {}


def chosen_key(values: Any) -> str:
    return _typed(values, "key") or _selected(values)


def _typed(values: Any, block_id: str) -> str:
    return str((values.get(block_id) or {}).get("value", {}).get("value") or "").strip()


def _selected(values: Any) -> str:
    option = (values.get("ticket") or {}).get(SEARCH, {}).get("selected_option") or {}
    return str(option.get("value") or "")
