"""The incident's verbs, buttons and modals in Slack."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from sqlmodel import Session

from commands.access import Role
from commands.context import Context
from commands.errors import BadArguments, Impossible
from commands.incident import corrections, life, modals, thread
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.incident.lookup import incident_meant, panic_meant
from commands.incident.moves import telling_moves
from commands.incident.rendering import Rendered
from commands.incident.silences import SilenceDesk, register_silences
from commands.incident.timeline import draw_timeline
from commands.router import Ask, Router
from integrations.slack import blocks as b
from integrations.slack.text import code, escape, user
from storage import Incident, incident_ref, panic_ref, parse_ref
from storage.requests import once

_MENTION = re.compile(r"\A<@([UW][A-Z0-9]+)(?:\|[^>]*)?>\Z")


class IncidentDesk:
    """The handlers; each does one transaction and answers briefly, for the thread tells the rest."""

    def __init__(self, context: Context, config: IncidentConfig, routing: RoutingConfig) -> None:
        self.context = context
        self.config = config
        self.routing = routing

    async def _change(self, act: Callable[[Session], str], ask: Ask) -> None:
        """Once for each request: after a crash between the effect and its record, the effect stands."""

        def guarded(session: Session) -> str | None:
            if not once(session, ask.request_id):
                return None
            with telling_moves(session, self.context.on_moved):
                return act(session)

        answer = await self.context.db.write(guarded)
        self.context.wake()
        if answer is not None:
            await ask.reply(answer)

    def _first(self, ask: Ask) -> tuple[str | None, str]:
        """The id that was named (or None: the thread, or the button's value), and what follows."""
        words = ask.text.strip().split(None, 1)
        if words and re.fullmatch(r"[PpIi]-?\d+", words[0]):
            return words[0], words[1] if len(words) > 1 else ""
        return None, ask.text.strip()

    # -- life -----------------------------------------------------------------------------------------

    def _alone(self, ask: Ask) -> str | None:
        """The id, for verbs that take nothing else; words that would be ignored are told."""
        named, rest = self._first(ask)
        if rest:
            raise BadArguments(
                f"`{ask.verb}` takes an id and nothing else; I do not know what to do with {code(rest[:60])}."
            )
        return named

    async def acknowledge(self, ask: Ask) -> None:
        named = self._alone(ask)

        def act(session: Session) -> str:
            incident = incident_meant(session, ask, named)
            life.acknowledge(session, incident, ask.user, self.context.clock())
            return f":eyes: {incident_ref(incident.id)} is yours."

        await self._change(act, ask)

    async def assign(self, ask: Ask) -> None:
        named, rest = self._first(ask)
        match = _MENTION.match(rest.strip()) if rest.strip() not in {"me", ""} else None
        if match is None and rest.strip() not in {"me", ""}:
            raise BadArguments("say to whom: `me` or a mention.", example="/panic assign I-7 @on-call")
        assignee = match.group(1) if match else ask.user

        def act(session: Session) -> str:
            incident = incident_meant(session, ask, named)
            life.assign(session, incident, assignee, ask.user, self.context.clock())
            return f"{incident_ref(incident.id)} is assigned to {user(assignee)}."

        await self._change(act, ask)

    async def note(self, ask: Ask) -> None:
        named, rest = self._first(ask)
        if not rest:
            raise BadArguments("say what to note.", example='/panic note P-41 "reseated the DIMM in slot A3"')

        def act(session: Session) -> str:
            incident = incident_meant(session, ask, named)
            life.note(session, incident, rest, ask.user, self.context.clock())
            return f":memo: noted in {incident_ref(incident.id)}."

        await self._change(act, ask)

    async def resolve(self, ask: Ask) -> None:
        """`/panic resolve I-7 cause: … fixed: …`; the cause may be left out, the modal asks for both."""
        named, rest = self._first(ask)
        cause, fixed = split_cause(rest)
        if not cause:
            if ask.trigger_id is None:
                raise BadArguments(
                    "say what the cause was; “unknown” is an answer, too.",
                    example="/panic resolve I-7 cause: bad DIMM fixed: replaced it",
                )
            await self._open(replace(ask, value=named or ask.value), modals.resolve_modal)
            return

        def act(session: Session) -> str:
            incident = incident_meant(session, ask, named)
            life.resolve(session, incident, cause, fixed, ask.user, self.context.clock())
            return f":white_check_mark: {incident_ref(incident.id)} is resolved."

        await self._change(act, ask)

    async def reopen(self, ask: Ask) -> None:
        named = self._alone(ask)

        def act(session: Session) -> str:
            incident = incident_meant(session, ask, named)
            life.reopen(session, incident, ask.user, self.context.clock())
            return f"{incident_ref(incident.id)} is open again."

        await self._change(act, ask)

    async def timeline(self, ask: Ask) -> None:
        def look(session: Session) -> Rendered | None:
            return draw_timeline(session, incident_meant(session, ask, self._first(ask)[0]).id or 0)

        drawn = await self.context.db.read(look)
        if drawn is not None:
            await ask.reply(drawn.text, drawn.blocks)

    # -- modals ---------------------------------------------------------------------------------------

    async def open_resolve(self, ask: Ask) -> None:
        await self._open(ask, modals.resolve_modal)

    async def open_note(self, ask: Ask) -> None:
        await self._open(ask, modals.note_modal)

    async def _open(self, ask: Ask, make: Callable[[str, str], b.Block]) -> None:
        incident = await self.context.db.read(lambda s: incident_meant(s, ask))
        if ask.trigger_id is None:
            raise Impossible(
                "a form needs a button; use the command instead.", example="/panic resolve I-7 cause: …"
            )
        ref = incident_ref(incident.id)
        view = make(ref, incident.title)
        view["private_metadata"] = modals.metadata(ref, ask)
        await self.context.slack.open_view(ask.trigger_id, view)

    async def submit_resolve(self, ask: Ask) -> None:
        def act(session: Session) -> str:
            incident = incident_meant(session, ask, modals.subject(ask))
            cause, fixed = modals.value(ask, "cause"), modals.value(ask, "fixed_by")
            life.resolve(session, incident, cause, fixed, ask.user, self.context.clock())
            return f":white_check_mark: {incident_ref(incident.id)} is resolved."

        await self._change(act, ask)

    async def submit_note(self, ask: Ask) -> None:
        def act(session: Session) -> str:
            incident = incident_meant(session, ask, modals.subject(ask))
            life.note(session, incident, modals.value(ask, "note"), ask.user, self.context.clock())
            return f":memo: noted in {incident_ref(incident.id)}."

        await self._change(act, ask)

    # -- corrections ----------------------------------------------------------------------------------

    async def merge(self, ask: Ask) -> None:
        words = ask.words()
        if len(words) != 2:
            raise BadArguments("say which incident goes into which.", example="/panic merge I-8 I-7")

        def act(session: Session) -> str:
            merged = session.get(Incident, parse_ref(words[0], "I") or 0)
            source, target = (incident_meant(session, ask, w) for w in words)
            if merged is not None and merged.merged_into_id is not None and source.id == target.id:
                raise Impossible(f"{incident_ref(merged.id)} is part of {incident_ref(target.id)} already.")
            corrections.merge(session, source, target, ask.user, self.context.clock())
            return f"{incident_ref(source.id)} is merged into {incident_ref(target.id)}."

        await self._change(act, ask)

    async def split(self, ask: Ask) -> None:
        named = self._alone(ask)

        def act(session: Session) -> str:
            panic = panic_meant(session, ask, named)
            done = corrections.split(
                session, panic, self.config, self.routing, ask.user, self.context.clock()
            )
            return f"{panic_ref(panic.id)} has a thread of its own: {incident_ref(done.after['into'])}."

        await self._change(act, ask)

    async def reclassify(self, ask: Ask) -> None:
        named, rest = self._first(ask)
        words = rest.split(None, 1)
        if not words:
            raise BadArguments(
                f"say what it is: one of {', '.join(corrections.KINDS)}, and a title if you like.",
                example="/panic reclassify P-41 kernel_bug kernel BUG in ext4_writepages",
            )
        kind, title = words[0].lower(), words[1] if len(words) > 1 else ""

        def act(session: Session) -> str:
            panic = panic_meant(session, ask, named)
            now = self.context.clock()
            corrections.reclassify(session, panic, kind, title, self.config, self.routing, ask.user, now)
            thread.show_text(session, panic, now)
            return f"{panic_ref(panic.id)} is now {escape(kind)}: {escape(panic.title)}."

        await self._change(act, ask)

    async def undo(self, ask: Ask) -> None:
        named = self._alone(ask)

        def act(session: Session) -> str:
            incident = incident_meant(session, ask, named)
            done = corrections.undo(session, incident, ask.user, self.context.clock())
            return f":rewind: undid {corrections.spoken(done)}."

        await self._change(act, ask)


def split_cause(text: str) -> tuple[str, str]:
    """`cause: … fixed: …` in either order; text without either is the cause."""
    marks = list(re.finditer(r"\b(cause|fixed(?: by)?|fix)\s*:\s*", text, re.IGNORECASE))
    if not marks:
        return text.strip(), ""
    found = {"cause": text[: marks[0].start()].strip(), "fixed": ""}
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        name = "cause" if mark.group(1).lower() == "cause" else "fixed"
        part = text[mark.end() : following.start() if following else None].strip()
        found[name] = f"{found[name]} {part}".strip()
    return found["cause"], found["fixed"]


def register(router: Router, desk: IncidentDesk) -> None:
    responder, admin, viewer = Role.RESPONDER, Role.ADMIN, Role.VIEWER
    verb = router.verb
    verb(
        "ack",
        desk.acknowledge,
        role=responder,
        usage="ack P-41",
        help="take an incident on",
        example="/panic ack P-41",
        aliases=("acknowledge",),
    )
    verb(
        "assign",
        desk.assign,
        role=responder,
        usage="assign I-7 [@somebody|me]",
        help="give an incident to somebody",
        example="/panic assign I-7 me",
    )
    verb(
        "note",
        desk.note,
        role=responder,
        usage="note P-41 TEXT",
        help="a line in the timeline",
        example="/panic note P-41 BMC shows a failed DIMM",
    )
    verb(
        "resolve",
        desk.resolve,
        role=responder,
        usage="resolve I-7 [cause: …] [fixed: …]",
        help="close an incident, with its cause",
        example="/panic resolve I-7 cause: bad DIMM fixed: replaced it",
    )
    verb(
        "reopen",
        desk.reopen,
        role=responder,
        usage="reopen I-7",
        help="open a resolved incident again",
        example="/panic reopen I-7",
    )
    verb(
        "timeline",
        desk.timeline,
        role=viewer,
        usage="timeline I-7",
        help="what happened, in order",
        example="/panic timeline I-7",
        acts=False,
    )
    verb(
        "merge",
        desk.merge,
        role=admin,
        usage="merge I-8 I-7",
        help="the first incident becomes part of the second",
        example="/panic merge I-8 I-7",
    )
    verb(
        "split",
        desk.split,
        role=admin,
        usage="split P-41",
        help="give a panic a thread of its own",
        example="/panic split P-41",
    )
    verb(
        "reclassify",
        desk.reclassify,
        role=admin,
        usage="reclassify P-41 KIND [TITLE]",
        help="correct what the bot read",
        example="/panic reclassify P-41 kernel_bug",
    )
    verb(
        "undo",
        desk.undo,
        role=admin,
        usage="undo I-7",
        help="take the last merge, split or reclassify back",
        example="/panic undo I-7",
    )
    register_silences(router, SilenceDesk(desk.context))
    router.action("incident.acknowledge", desk.acknowledge, role=responder)
    router.action("incident.take", desk.assign, role=responder)
    router.action("incident.reopen", desk.reopen, role=responder)
    router.action("incident.timeline", desk.timeline, role=viewer, acts=False)
    router.action("incident.resolve", desk.open_resolve, role=responder, acts=False)
    router.action("incident.note", desk.open_note, role=responder, acts=False)
    router.modal("incident.resolve", desk.submit_resolve, role=responder, check=modals.check_resolve)
    router.modal("incident.note", desk.submit_note, role=responder, check=modals.check_note)
