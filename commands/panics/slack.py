"""`/panic list`, `show`, `help` and `whoami`: they read, and answer the one who asked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session

from commands.access import Role
from commands.context import Context
from commands.errors import BadArguments, NotFound
from commands.filters import EXAMPLE, parse_filters, split_words, tidy
from commands.incident.causes import known_line
from commands.incident.lookup import panic_meant
from commands.panics.blocks import (
    COUNTED,
    PAGE_SIZE,
    Page,
    Wider,
    empty_message,
    list_message,
    show_message,
)
from commands.panics.card import register_card
from commands.panics.incident_blocks import incident_message, timeline_message
from commands.panics.manual import help_message, verb_message, whoami_message
from commands.panics.reporting import register_reporting
from commands.permalinks import permalinks
from commands.router import Ask, Router
from commands.timeline import TURN as TIMELINE_TURN
from commands.timeline import read_turn as read_timeline_turn
from commands.timeline import stretch
from integrations.slack.text import code
from storage import incident_ref, parse_ref
from storage.queries import Filters, PanicRow, Place, count_panics, list_rows, newest_panic_id
from storage.records import PanicRecord, incident_record, record


def register(router: Router, ctx: Context) -> None:
    desk = Reading(router, ctx)
    command = router.command
    router.verb(
        "list",
        desk.list,
        role=Role.VIEWER,
        usage="list [host:…] [kernel:…] [since:…] [until:…] [kind:…] [state:…] [ring:…] [hw:…] "
        "[sig:…] [change:…] [has:dump] [sort:…] [words]",
        help="panics, newest first or as sorted, eight a page",
        example=f"{command} list host:web-* kernel:6.1.* since:7d",
        acts=False,
        aliases=("ls", "find", "search"),
    )
    router.verb(
        "show",
        desk.show,
        role=Role.VIEWER,
        usage="show P-41|I-7",
        help="all that is known of a panic, or of an incident with its timeline",
        example=f"{command} show P-41",
        acts=False,
    )
    router.verb(
        "help",
        desk.help,
        role=Role.NOBODY,
        usage="help [verb]",
        help="what you can type; with a verb, that one in detail",
        example=f"{command} help list",
        acts=False,
        aliases=("?", "--help", "-h"),
    )
    router.verb(
        "whoami",
        desk.whoami,
        role=Role.NOBODY,
        usage="whoami",
        help="your role, and what it allows",
        example=f"{command} whoami",
        acts=False,
    )
    register_card(router, ctx)
    register_reporting(router, ctx)
    router.action("panics.page", desk.page, role=Role.VIEWER, acts=False)
    router.action("panics.show", desk.show, role=Role.VIEWER, acts=False)
    router.action(TIMELINE_TURN, desk.timeline, role=Role.VIEWER, acts=False)


class Reading:
    """The handlers; they change nothing."""

    def __init__(self, router: Router, ctx: Context) -> None:
        self.router = router
        self.ctx = ctx

    async def list(self, ask: Ask) -> None:
        await self._list(ask, tidy(ask.text), Turn(self.ctx.clock()))

    async def page(self, ask: Ask) -> None:
        line, turn = read_turn(ask.value or "")
        await self._list(ask, line, turn)

    async def show(self, ask: Ask) -> None:
        words = ask.words()
        word = words[0] if words else ask.value
        incident_id = parse_ref(word, "I") if word else None
        if incident_id is not None:
            await self._show_incident(ask, incident_id)
            return
        found, known = await self.ctx.db.read(lambda s: _record_meant(s, ask, word))
        links = await permalinks(self.ctx.slack, [(found.panic.incident_id, found.channel, found.ts)])
        text, blocks = show_message(found, links.get(found.panic.incident_id or 0), known)
        await ask.reply(text, blocks)

    async def _show_incident(self, ask: Ask, incident_id: int) -> None:
        found, newest = await self.ctx.db.read(
            lambda s: (incident_record(s, incident_id), stretch(s, incident_id))
        )
        if found is None:
            raise NotFound(
                f"there is no incident {incident_ref(incident_id)}. `/panic list` shows what there is."
            )
        links = await permalinks(self.ctx.slack, [(incident_id, found.channel, found.ts)])
        await ask.reply(*incident_message(found, newest, links.get(incident_id), self.ctx.clock()))

    async def timeline(self, ask: Ask) -> None:
        """Turns to another stretch of a timeline, in the answer whose button was pressed."""
        incident_id, before = read_timeline_turn(ask.value or "")
        found = await self.ctx.db.read(lambda s: stretch(s, incident_id, before))
        text, blocks = timeline_message(found)
        await ask.reply(text, blocks, replace=True)

    async def help(self, ask: Ask) -> None:
        words = ask.text.split()
        if words and words[0] == self.router.command:
            words = words[1:]
        if words:
            text, blocks = verb_message(self.router, words[0])
        else:
            text, blocks = help_message(self.router, await self.ctx.access.role_of(ask.user))
        await ask.reply(text, blocks)

    async def whoami(self, ask: Ask) -> None:
        text, blocks = whoami_message(self.router, await self.ctx.access.role_of(ask.user))
        await ask.reply(text, blocks)

    async def _list(self, ask: Ask, line: str, turn: Turn) -> None:
        filters = parse_filters(line, turn.asked_at)
        replace_ = turn.upto_id is not None

        def look(session: Session) -> tuple[int, int, list[PanicRow], bool]:
            newest = newest_panic_id(session) if turn.upto_id is None else turn.upto_id
            frozen = replace(filters, upto_id=newest)
            rows = _page(session, frozen, turn)
            more = bool(rows and list_rows(session, frozen, limit=1, after=rows[-1]))
            return newest, count_panics(session, frozen, most=COUNTED), rows, more

        newest, total, rows, more = await self.ctx.db.read(look)
        if not rows:
            wider, any_at_all = await self.ctx.db.read(lambda s: _wider(s, filters))
            text, blocks = empty_message(line, wider, any_at_all=any_at_all, hint=_hint(line))
            await ask.reply(text, blocks, replace=replace_)
            return
        links = await permalinks(self.ctx.slack, {(r.incident_id, r.channel, r.ts) for r in rows})
        page = Page(rows, total, turn.offset, line, turn.asked_at.timestamp(), newest, more)
        text, blocks = list_message(page, links)
        await ask.reply(text, blocks, replace=replace_)


@dataclass(frozen=True)
class Turn:
    """Which page is wanted: the first, or the one beside `place`, as the button said."""

    asked_at: datetime
    offset: int = 0
    upto_id: int | None = None
    place: Place | None = None
    backwards: bool = False


def _page(session: Session, filters: Filters, turn: Turn) -> list[PanicRow]:
    if turn.backwards:
        return list_rows(session, filters, limit=PAGE_SIZE, before=turn.place)
    return list_rows(session, filters, limit=PAGE_SIZE, after=turn.place)


def read_turn(value: str) -> tuple[str, Turn]:
    """(filters, the page) from a paging button. Raises BadArguments for anything else."""
    old = BadArguments(
        "this button is from an older version of Panicroom; please ask again.", example=EXAMPLE
    )
    try:
        state: Any = json.loads(value)
        line, offset, at, upto = state["q"], int(state["o"]), float(state["t"]), int(state["m"])
        moment, place, back = datetime.fromtimestamp(at, UTC), None, False
        if state["p"] is not None:
            panic_id, occurred, host, kernel, back = state["p"]
            place = Place(int(panic_id), datetime.fromisoformat(occurred), str(host), kernel and str(kernel))
    except (ValueError, TypeError, KeyError, OverflowError, OSError) as error:
        raise old from error
    if not isinstance(line, str) or not 0 <= offset < 2**31 or not 0 <= upto < 2**62:
        raise old
    if place is not None and (place.occurred_at.tzinfo is None or not 0 <= place.id < 2**62):
        raise old
    return line, Turn(moment, offset, upto, place, bool(back))


def _record_meant(session: Session, ask: Ask, word: str | None) -> tuple[PanicRecord, str]:
    """The record, and the known cause in mrkdwn."""
    panic = panic_meant(session, ask, word)
    assert panic.id is not None
    found = record(session, panic.id)
    assert found is not None
    return found, known_line(session, found.panic)


def _wider(session: Session, filters: Filters) -> tuple[list[Wider], bool]:
    """What each filter alone keeps from being found, most first."""
    looser = {
        "host:": replace(filters, host=()),
        "kernel:": replace(filters, kernel=(), releases=()),
        "kind:": replace(filters, kind=()),
        "ring:": replace(filters, ring=()),
        "hw:": replace(filters, hardware=()),
        "sig:": replace(filters, signature=(), same_as=()),
        "state:": replace(filters, states=()),
        "since:": replace(filters, since=None),
        "until:": replace(filters, until=None),
        "change:": replace(filters, change=()),
        "has:dump": replace(filters, dump=False),
        "the words": replace(filters, words=()),
    }
    counts = [
        Wider(name, count_panics(session, f, most=COUNTED)) for name, f in looser.items() if f != filters
    ]
    return sorted(counts, key=lambda w: -w.count), newest_panic_id(session) > 0


def _hint(line: str) -> str:
    """For words that look like something else than a title."""
    words = [w.value for w in split_words(line) if w.key is None and not w.quoted]
    for word in words:
        if parse_ref(word, "P") or parse_ref(word, "I"):
            return f"To see one panic: {code(f'/panic show {word}')}"
        if re.fullmatch(r"[0-9]+\.[0-9]+[\w.+~-]*", word):
            return f"Free words search titles and frames; for a kernel say {code(f'kernel:{word}')}"
    if words:
        return f"Free words search titles and frames; for a host say {code(f'host:{words[0]}')}"
    return ""
