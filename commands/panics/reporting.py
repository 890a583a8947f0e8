"""`/panic report`, its form, and the message shortcut: what a person brings goes the way of any report."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlmodel import Session, col, select

from commands.access import Role
from commands.context import Context
from commands.errors import BadArguments, Impossible
from commands.fitting import linked
from commands.panics import drafts
from commands.panics.hosts_told import host_told
from commands.panics.message_text import MessageText, message_text
from commands.panics.report_forms import (
    HOSTS,
    LONGEST,
    MODAL,
    SHORTCUT,
    SHORTCUT_NAME,
    Prefilled,
    check_report,
    filled,
    message_form,
    message_of,
    metadata_of,
    report_form,
)
from commands.permalinks import permalinks
from commands.router import Ask, Router
from integrations.inbound import host_name
from integrations.kernel import Crash, read_crash
from integrations.slack import blocks as b
from integrations.slack.text import code
from storage import Host, Panic, Report, ReportState, incident_ref, panic_ref, report_ref
from storage.inbox import Stored
from storage.queries import parents_of
from storage.requests import once

log = structlog.get_logger(__name__)

_OFFERED = 20  # hosts in the menu
_LATE = timedelta(hours=1)  # a message that is older tells of a crash of its own time
_WITHIN = 5.0  # seconds that an answer waits for the thread


def register_reporting(router: Router, ctx: Context, *, within: float = _WITHIN) -> None:
    desk = Reporting(router, ctx, within)
    router.verb(
        "report",
        desk.report,
        role=Role.RESPONDER,
        usage="report [web-17]",
        help="report a panic by hand, in a form",
        example=f"{router.command} report web-17",
        acts=False,
    )
    router.action("panics.report", desk.report, role=Role.RESPONDER, acts=False)
    router.shortcut(SHORTCUT, desk.from_message, role=Role.RESPONDER)
    router.modal(MODAL, desk.submit, role=Role.RESPONDER, check=lambda ask: check_report(ask, ctx.clock()))
    router.options[HOSTS] = desk.offer_hosts


class Reporting:
    """The handlers. A report is committed at the latest when the form is answered, and once for a message."""

    def __init__(self, router: Router, ctx: Context, within: float) -> None:
        self.router = router
        self.ctx = ctx
        self.within = within

    # -- the forms ------------------------------------------------------------------------------------

    async def report(self, ask: Ask) -> None:
        """`/panic report [HOST [TEXT]]`, and the button of the same name."""
        if ask.trigger_id is None:
            raise Impossible(
                "a form needs a slash command or a button: type `report` in the channel itself. Or choose "
                f"“{SHORTCUT_NAME}” in the menu of the message that holds the text."
            )
        words = ask.text.strip().split(None, 1)
        host = _host_or_none(words[0]) if words else None
        if words and host is None and len(words) == 1:
            raise BadArguments(f"{code(words[0][:60])} is no host name.")
        text = (words[1] if len(words) > 1 else "") if host else ask.text.strip()
        known = Prefilled(host=host or "", text=text[-LONGEST:])
        await self.ctx.slack.open_view(ask.trigger_id, report_form(known, metadata_of(ask)))

    async def from_message(self, ask: Ask) -> None:
        """The message shortcut: straight on where the message says all, with a form where it does not."""
        message = (ask.channel, ask.message_ts or "")
        if not all(message) or not ask.message:
            raise Impossible("Slack sent no message with this; try it on another message.")
        found, crash = await asyncio.to_thread(_read, dict(ask.message))
        draft = await self.ctx.db.write(lambda s: drafts.keep(s, message, found.text))
        if draft.report_id is not None:
            await ask.reply(await self._outcome(Stored(draft.report_id, duplicate=True), wait=0))
            return
        told = host_told(found.text, self.ctx.inventory)
        posted = _moment(message[1])
        late = posted is not None and self.ctx.clock() - posted > _LATE
        known = Prefilled(
            host=told.name if told else "", kernel=crash.kernel or "", at=posted if late else None
        )
        inventory = self.ctx.inventory
        if (
            crash.crash
            and told is not None
            and told.sure
            and (not inventory.closed or inventory.knows(told.name))
        ):
            body = _body(drafts.external_id(message), told.name, found.text, known)
            stored = await self._store(ask, told.name, body, message)
            await ask.reply(await self._outcome(stored, wait=self.within))
            return
        if ask.trigger_id is None:
            raise Impossible("a form needs a click; choose it in the message's menu once more.")
        view = message_form(known, found, crash, metadata_of(ask, message=message))
        await self.ctx.slack.open_view(ask.trigger_id, view)

    async def offer_hosts(self, ask: Ask) -> list[dict[str, Any]]:
        """The hosts that begin with, or hold, what was typed; what was typed itself, where it is a host's name."""
        await self.ctx.access.require(ask.user, Role.RESPONDER, "report")
        typed = str(ask.value or "").strip().lower()[:150]
        listed = sorted(
            (
                e.name.lower()
                for e in self.ctx.inventory.entries
                if not e.is_pattern and typed in e.name.lower()
            ),
            key=lambda name: (not name.startswith(typed), name),
        )
        seen = await self.ctx.db.read(lambda s: _hosts_from(s, typed))
        own = _host_or_none(typed)
        first = [own] if own is not None else []
        names = list(dict.fromkeys([*first, *listed[:_OFFERED], *seen]))[:_OFFERED]
        known = {*listed, *seen}
        return [
            b.option(name, name, description=None if name in known else "not known yet")
            for name in names
            if len(name) <= 75
        ]

    # -- what was sent --------------------------------------------------------------------------------

    async def submit(self, ask: Ask) -> None:
        told, message = filled(ask), message_of(ask)
        text = told.text or ""
        if message is not None:
            of_message = message
            draft = await self.ctx.db.read(lambda s: drafts.find(s, of_message))
            if draft is None:
                raise Impossible(
                    "that form is more than a week old; choose the message's menu entry once more."
                )
            text = draft.text
        name = (
            drafts.external_id(message) if message else f"form:{(ask.view or {}).get('id') or ask.request_id}"
        )
        known = Prefilled(kernel=told.kernel, at=told.at)
        body = _body(name[:200], told.host, text, known)
        if told.ring:
            body["ring"] = told.ring
        stored = await self._store(ask, told.host, body, message)
        await ask.reply(await self._outcome(stored, wait=self.within))

    async def _store(
        self, ask: Ask, host: str, body: dict[str, Any], message: tuple[str, str] | None
    ) -> Stored:
        inventory = self.ctx.inventory
        state = ReportState.NEW if not inventory.closed or inventory.knows(host) else ReportState.QUARANTINED
        now = self.ctx.clock()

        def write(session: Session) -> Stored:
            once(session, ask.request_id)
            return drafts.report_once(session, host, body, state, now, message)

        stored = await self.ctx.db.write(write)
        log.info("report.by_hand", report=report_ref(stored.id), user=ask.user, again=stored.duplicate)
        self.ctx.read_reports()
        return stored

    async def _outcome(self, stored: Stored, *, wait: float) -> str:
        """What became of the report, in mrkdwn; waits for its panic so long."""
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            state, panic, parent = await self.ctx.db.read(lambda s: _became(s, stored.id))
            settled = state is not ReportState.NEW and (panic is None or parent is not None)
            if settled or asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(0.1)
        ref = report_ref(stored.id)
        if state is ReportState.QUARANTINED:
            return (
                f":lock: kept as {ref}, and held back: the inventory does not know its host. An admin takes it in: "
                f"`{self.router.command} quarantine accept {ref}`"
            )
        if panic is None:
            again = "This was reported already" if stored.duplicate else "Taken in"
            return f":inbox_tray: {again} as {ref}; its thread opens in a moment."
        where = f"{panic_ref(panic.id)} of {code(panic.host)}"
        links = await permalinks(self.ctx.slack, [parent] if parent else [])
        if panic.incident_id is not None:
            thread = linked(incident_ref(panic.incident_id), links.get(panic.incident_id))
            where += f", in {thread}"
        return f":repeat: This was reported already: {where}." if stored.duplicate else f":boom: {where}."


def _read(message: dict[str, Any]) -> tuple[MessageText, Crash]:
    """In a thread: a long text takes a while."""
    found = message_text(message, lambda text: read_crash(text).crash)
    return found, read_crash(found.text)


def _body(name: str, host: str, text: str, known: Prefilled) -> dict[str, Any]:
    """As a host's own report would stand in the inbox."""
    storable = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    body: dict[str, Any] = {"id": name, "host": host, "text": storable, "source": drafts.SOURCE}
    if known.kernel:
        body["crashed_kernel"] = known.kernel
    if known.at is not None:
        body["occurred_at"] = known.at.isoformat()
    return body


def _became(
    session: Session, report_id: int
) -> tuple[ReportState | None, Panic | None, tuple[int, str, str] | None]:
    """(the report's state, its panic, where that one's thread stands)."""
    report = session.get(Report, report_id)
    if report is None:
        return None, None, None
    panic = session.get(Panic, report.panic_id) if report.panic_id is not None else None
    if panic is None or panic.incident_id is None:
        return report.state, panic, None
    _state, channel, ts = parents_of(session, {panic.incident_id})[panic.incident_id]
    return report.state, panic, (panic.incident_id, channel, ts) if channel and ts else None


def _hosts_from(session: Session, beginning: str) -> list[str]:
    """Hosts that had a panic, by the index on their names."""
    if not beginning:
        return []
    name = col(Host.name)
    rows = session.exec(
        select(Host.name)
        .where(name >= beginning, name < beginning + "\U0010ffff")
        .order_by(name)
        .limit(_OFFERED)
    )
    return list(rows.all())


def _host_or_none(word: str) -> str | None:
    try:
        return host_name(word)
    except ValueError:
        return None


def _moment(ts: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(ts), UTC)
    except (ValueError, OverflowError, OSError):
        return None
