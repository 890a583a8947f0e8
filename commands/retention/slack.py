"""How people ask: `/panic retention`, `pin`, `unpin`, `hold`, `release`, and the buttons."""

from __future__ import annotations

import re

from commands.access import Role
from commands.errors import BadArguments, Impossible
from commands.hosts.crashdump import size_words
from commands.incident.lookup import panic_meant
from commands.retention import blocks as _blocks  # registers the message's renderer
from commands.retention import pins
from commands.retention.blocks import decision_line, run_button, survey_message
from commands.retention.desk import RetentionDesk
from commands.router import Ask, Handler, Router
from integrations.slack import blocks as b
from integrations.slack.text import date, escape, sections, user
from storage import Panic, Pin, panic_ref, parse_ref

_RUN = "run"
_SPAN = re.compile(r"\d+(\.\d+)?[hdw]|\d{4}-\d{2}-\d{2}")  # `/panic pin P-41 30d`


def register(router: Router, desk: RetentionDesk) -> None:
    db, access = desk.context.db, desk.context.access

    async def retention(ask: Ask) -> None:
        words = [w.lower() for w in ask.words()]
        if words == [_RUN]:
            await access.require(ask.user, Role.ADMIN, f"{router.command} retention run")
            await confirm(ask)
        elif len(words) == 1 and parse_ref(words[0], "P"):
            await one(ask, words[0])
        elif not words or (len(words) <= 2 and words[-1].isdigit() and words[0] in ("page", words[-1])):
            await show(ask, int(words[-1][:6]) if words else 1)
        else:
            raise BadArguments(
                "that is `retention`, `retention page 2`, `retention P-41` or `retention run`."
            )

    async def show(ask: Ask, page: int, *, replace: bool = False) -> None:
        survey = await desk.survey()
        admin = await access.role_of(ask.user) >= Role.ADMIN
        drawn = survey_message(survey, desk.policy, await desk.next_at(), page=page, admin=admin)
        await ask.reply(drawn.text, drawn.blocks, replace=replace)

    async def page(ask: Ask) -> None:
        await show(ask, int(ask.value[:6]) if ask.value and ask.value.isdigit() else 1, replace=True)

    async def one(ask: Ask, word: str) -> None:
        panic = await db.read(lambda s: panic_meant(s, ask, word))
        survey = await desk.survey()
        found = [decision_line(d) for d in survey.decisions if d.item.panic_id == panic.id]
        if not found:
            raise Impossible(f"of {panic_ref(panic.id)} there is no copy in central and no dump on its host.")
        text = "\n".join(found)
        await ask.reply(text, [b.section(text)])

    async def confirm(ask: Ask) -> None:
        survey = await desk.survey()
        if not survey.goes:
            await ask.reply(":white_check_mark: there is nothing to remove: everything is within its term.")
            return
        size = size_words(sum(d.bytes for d in survey.goes))
        text = f"A sweep now would remove {len(survey.goes)} of {len(survey.decisions)} items, {size}:"
        lines = [decision_line(d) for d in survey.goes[:20]]
        more = len(survey.goes) - len(lines)
        lines += [f"… and {more} more; `{router.command} retention` lists all"] if more else []
        made = [
            b.section(text),
            *(b.section(t) for t in sections(lines)),
            b.actions([run_button(survey)]),
        ]
        await ask.reply(text, b.within_limit(made, "There is more than one message holds.", foot=1))

    async def run(ask: Ask) -> None:
        """What was confirmed is done, and nothing that came to it since."""
        begun, joined = await desk.begin(ask.user, ask.request_id, mark=ask.value or "")
        if joined and begun.asked_by != ask.user:
            await ask.reply(":wastebasket: a sweep is under way already; what it does is told to the admins.")
            return
        await ask.reply(
            f":wastebasket: the sweep runs, said {user(ask.user)}; the result is told in <#{desk.channel}>."
        )

    async def pin(ask: Ask) -> None:
        panic, rest = await meant(ask)
        now = desk.context.clock()
        until = None
        if rest and rest[0].lower() == "until":
            if len(rest) < 2:
                raise BadArguments("until when? A day (2026-12-24) or a length of time (30d).")
            until, rest = pins.read_until(rest[1], now), rest[2:]
        elif rest and _SPAN.fullmatch(rest[0]):
            until, rest = pins.read_until(rest[0], now), rest[1:]
        reason = " ".join(rest)
        made = await db.write(
            lambda s: pins.pin(
                s, s.get_one(Panic, panic.id), kind=pins.PIN, by=ask.user, reason=reason, until=until, now=now,
                request_id=ask.request_id,
            )
        )  # fmt: skip
        await answer(ask, panic, made, ":pushpin:", f"pinned by {user(ask.user)}")

    async def hold(ask: Ask) -> None:
        panic, rest = await meant(ask)
        now = desk.context.clock()
        made = await db.write(
            lambda s: pins.pin(
                s, s.get_one(Panic, panic.id), kind=pins.HOLD, by=ask.user, reason=" ".join(rest), until=None, now=now,
                request_id=ask.request_id,
            )
        )  # fmt: skip
        await answer(ask, panic, made, ":scales:", f"on legal hold by {user(ask.user)}")

    async def answer(ask: Ask, panic: Panic, made: Pin, icon: str, words: str) -> None:
        desk.context.wake()
        late = await db.read(lambda s: pins.too_late(s, panic.id or 0))
        until = f" until {date(made.until, '{date_short_pretty} {time}')}" if made.until is not None else ""
        because = f" ({escape(made.reason)})" if made.reason else ""
        undo = "release" if made.kind == pins.HOLD else "unpin"
        told = f"\n:warning: {late}." if late else ""
        ref = panic_ref(panic.id)
        await ask.reply(
            f"{icon} the dumps of {ref} are {words}{until}{because}: they outlive every term. "
            f"`{router.command} {undo} {ref}` ends that.{told}"
        )

    def ending(kind: str, icon: str, words: str) -> Handler:
        async def end(ask: Ask) -> None:
            panic, _ = await meant(ask)
            now = desk.context.clock()
            await db.write(
                lambda s: pins.unpin(
                    s, s.get_one(Panic, panic.id), kind=kind, by=ask.user, now=now, request_id=ask.request_id
                )
            )
            desk.context.wake()
            await ask.reply(
                f"{icon} {panic_ref(panic.id)} is {words} by {user(ask.user)}; its dumps go when their term is over."
            )

        return end

    async def meant(ask: Ask) -> tuple[Panic, list[str]]:
        """The panic, and the words behind it; in its thread it need not be named."""
        words = ask.words()
        named = words[0] if words and (parse_ref(words[0], "P") or parse_ref(words[0], "I")) else None
        if named is None and words and not ask.thread_ts and not ask.value:
            named = words[0]
        panic = await db.read(lambda s: panic_meant(s, ask, named))
        return panic, words[1:] if named is not None else words

    unpin, release = ending(pins.PIN, ":pushpin:", "unpinned"), ending(pins.HOLD, ":scales:", "released")
    router.verb(
        "retention",
        retention,
        role=Role.VIEWER,
        usage="retention [page 2|P-41|run]",
        help="how much dumps take, what the next sweep removes, and why each stays or goes",
        example=f"{router.command} retention",
        acts=False,
    )
    router.verb(
        "pin",
        pin,
        role=Role.RESPONDER,
        usage="pin P-41 [until 2026-12-24|30d] [reason]",
        help="keep the dumps of a panic beyond their term",
        example=f"{router.command} pin P-41 until 30d vendor asked for it",
    )
    router.verb(
        "unpin",
        unpin,
        role=Role.RESPONDER,
        usage="unpin P-41",
        help="let the term of its dumps count again",
        example=f"{router.command} unpin P-41",
    )
    router.verb(
        "hold",
        hold,
        role=Role.ADMIN,
        usage="hold P-41 reason",
        help="legal hold: its dumps stay until an admin releases them",
        example=f"{router.command} hold P-41 asked for by the legal department",
    )
    router.verb(
        "release",
        release,
        role=Role.ADMIN,
        usage="release P-41",
        help="end a legal hold",
        example=f"{router.command} release P-41",
    )
    router.action("retention.page", page, role=Role.VIEWER, acts=False)
    router.action("retention.run", run, role=Role.ADMIN)
    router.action("retention.pin", pin, role=Role.RESPONDER)


__all__ = ["_blocks", "register"]
