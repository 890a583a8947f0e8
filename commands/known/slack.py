"""`/panic known` and `/panic unknown`, with the form."""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import Session

from commands.access import Role
from commands.context import Context
from commands.errors import BadArguments
from commands.incident import modals
from commands.known.blocks import MODAL, SHOWN, known_form, known_message, list_message, where
from commands.known.line import EXAMPLE, Said, release, split_line, ticket
from commands.known.marking import forget, mark, signature_meant
from commands.router import Ask, Router
from integrations.slack.text import code, shorten
from storage import KnownCause, Signature
from storage.known import known_cause, list_known
from storage.requests import once


def register(router: Router, ctx: Context) -> None:
    desk = KnownDesk(ctx)
    router.verb(
        "known",
        desk.known,
        role=Role.RESPONDER,
        usage='known [P-41|SIG] [cause:"…"] [fixed:6.1.0-40] [ticket:OPS-1182] [note]',
        help="the known cause of a signature, shown in its next thread; alone, all that are known",
        example=EXAMPLE,
    )
    router.verb(
        "unknown",
        desk.unknown,
        role=Role.RESPONDER,
        usage="unknown P-41|SIG",
        help="take back what is known of a signature",
        example="/panic unknown P-41",
    )
    router.modal(MODAL, desk.form_sent, role=Role.RESPONDER, check=check_form)


class KnownDesk:
    """Each handler does one transaction; the threads tell the rest."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    async def known(self, ask: Ask) -> None:
        if not ask.text.strip():
            total, rows = await self.ctx.db.read(lambda s: list_known(s, limit=SHOWN))
            await ask.reply(*list_message(total, rows))
            return
        named, said = split_line(ask.text)
        if said.nothing:
            await self._ask_for_it(ask, named)
            return
        await self._change(ask, lambda s: self._marked(s, ask, named, said))

    async def unknown(self, ask: Ask) -> None:
        named, said = split_line(ask.text)
        if not said.nothing:
            raise BadArguments("say whose known cause is to be taken back, and nothing else.")

        def act(session: Session) -> str:
            signature = signature_meant(session, ask, named)
            told = forget(session, signature, ask.user, self.ctx.clock())
            threads = f" {', '.join(told[:8])} {'was' if len(told) == 1 else 'were'} told." if told else ""
            return f"Nothing is known of {code(shorten(signature.key, 200))} any more.{threads}"

        await self._change(ask, act)

    async def form_sent(self, ask: Ask) -> None:
        said = Said(
            cause=modals.value(ask, "cause").strip(),
            ticket=ticket(modals.value(ask, "ticket")),
            fixed_in=release(modals.value(ask, "fixed_in")),
            note=modals.value(ask, "note").strip(),
        )
        named = modals.subject(ask)
        if named is None:
            raise BadArguments(
                "this form is from an older version of Panicroom; please open it again.", example=EXAMPLE
            )
        await self._change(ask, lambda s: self._marked(s, ask, named, said))

    def _marked(self, session: Session, ask: Ask, named: str | None, said: Said) -> str:
        signature = signature_meant(session, ask, named)
        _known, told = mark(session, signature, said, ask.user, self.ctx.clock())
        return f":bulb: Noted for {code(shorten(signature.key, 200))}. {where(told)}"

    async def _ask_for_it(self, ask: Ask, named: str | None) -> None:
        """A form where one can be opened; else what is known, and how to say more."""

        def look(session: Session) -> tuple[Signature, KnownCause | None]:
            signature = signature_meant(session, ask, named)
            return signature, known_cause(session, signature.key)

        signature, known = await self.ctx.db.write(look)
        if ask.trigger_id is None:
            await ask.reply(*known_message(signature, known))
            return
        form = known_form(signature, known, modals.metadata(signature.key, ask))
        await self.ctx.slack.open_view(ask.trigger_id, form)

    async def _change(self, ask: Ask, act: Callable[[Session], str]) -> None:
        """Once for each request: after a crash between the effect and its record, the effect stands."""

        def guarded(session: Session) -> str | None:
            return act(session) if once(session, ask.request_id) else None

        answer = await self.ctx.db.write(guarded)
        self.ctx.wake()
        if answer is not None:
            await ask.reply(answer)


def check_form(ask: Ask) -> dict[str, str]:
    """{block_id: what is wrong} for the form as it is sent."""
    wrong = {}
    try:
        ticket(modals.value(ask, "ticket"))
    except BadArguments:
        wrong["ticket"] = "That is no ticket key. They look like OPS-1182; the ticket's address will do, too."
    try:
        release(modals.value(ask, "fixed_in"))
    except BadArguments:
        wrong["fixed_in"] = "That is no kernel release. They look like 6.1.0-40 or 6.1.0-40-amd64."
    if not any(modals.value(ask, name).strip() for name in ("cause", "ticket", "fixed_in", "note")):
        wrong["cause"] = "Say a cause, a ticket, the kernel with the fix, or a note."
    return wrong
