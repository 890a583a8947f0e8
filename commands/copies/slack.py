"""How people ask for a dump's copy: `/panic copy P-41 [pause|resume|cancel]`, the buttons, `@panicroom copy`."""

from __future__ import annotations

from dataclasses import replace

import structlog
from sqlmodel import Session, select

from commands.access import Role
from commands.copies import blocks as _blocks  # registers the message's renderer
from commands.copies import rows
from commands.copies.desk import CopyDesk
from commands.errors import BadArguments
from commands.incident.lookup import panic_meant
from commands.incident.wording import redacted
from commands.router import Ask, Router
from integrations.slack.errors import SlackError
from integrations.slack.text import code, user
from storage import DumpCopy, SlackMessage, panic_ref

log = structlog.get_logger(__name__)
_WORDS = ("pause", "resume", "cancel")


def register(router: Router, desk: CopyDesk) -> None:
    """Verb, buttons, and the hook that copies critical hosts' dumps."""
    db = desk.context.db

    async def link(copy_id: int) -> str:
        """` (here)` as a link to a copy's message, or nothing while it does not stand in Slack yet."""
        told = await db.read(lambda s: _where(s, copy_id))
        if told is None:
            return ""
        try:
            return f" (<{await desk.context.slack.permalink(*told)}|here>)"
        except SlackError as error:
            log.info("permalink.missing", copy=copy_id, error=str(error))
            return ""

    async def begin(ask: Ask) -> None:
        word = next(iter(ask.words()), None)
        panic = await db.read(lambda s: panic_meant(s, ask, word))
        ref = panic_ref(panic.id)
        if desk.store is not None:
            await desk.room.refuse(panic)
        try:
            copy = await desk.begin(panic.id or 0, ask.user, ask.request_id)
        except rows.UnderWayAlready as already:
            whose = "Panicroom itself" if already.asked_by == "panicroom" else user(already.asked_by)
            how = "is paused" if already.paused else "is being copied already"
            await ask.reply(
                f":hourglass_flowing_sand: the dump of {ref} {how}{await link(already.copy_id)}, asked for by "
                f"{whose}. You are told there, too. `{router.command} copy {ref} cancel` stops it."
            )
            return
        except rows.CopiedAlready as already:
            await ask.reply(
                f":white_check_mark: a verified copy is in {code(already.place)}{await link(already.copy_id)}, "
                f"sha256 {code(already.sha256)}."
            )
            return
        except rows.InCentralDirectory as there:
            await ask.reply(
                f":white_check_mark: the dump of {ref} needs no copy from the host: it is in the central directory "
                f"already: {code(redacted(there.path, panic.host))}."
            )
            return
        await ask.reply(
            f":floppy_disk: the dump of {code(panic.host)} ({ref}) is copied to the central store; "
            f"the thread tells how far it is{await link(copy.id or 0)}."
        )

    async def pause(ask: Ask) -> None:
        panic = await db.read(lambda s: panic_meant(s, ask, next(iter(ask.words()), None)))
        await desk.pause(panic.id or 0, ask.user, ask.request_id)
        await ask.reply(
            f":double_vertical_bar: the copy of {panic_ref(panic.id)} is paused by {user(ask.user)}; "
            f"`{router.command} copy {panic_ref(panic.id)} resume` goes on with it."
        )

    async def resume(ask: Ask) -> None:
        panic = await db.read(lambda s: panic_meant(s, ask, next(iter(ask.words()), None)))
        await desk.unpause(panic.id or 0, ask.user, ask.request_id)
        await ask.reply(f":arrow_forward: the copy of {panic_ref(panic.id)} goes on, said {user(ask.user)}.")

    async def cancel(ask: Ask) -> None:
        panic = await db.read(lambda s: panic_meant(s, ask, next(iter(ask.words()), None)))
        copy = await desk.cancel(panic.id or 0, ask.user, ask.request_id)
        gone = " What had come of it is removed from the store." if copy.place else ""
        await ask.reply(
            f":no_entry_sign: the copy of {panic_ref(panic.id)} was cancelled by {user(ask.user)}.{gone}"
        )

    async def copy_verb(ask: Ask) -> None:
        words = ask.words()
        asked = [w.lower() for w in words if w.lower() in _WORDS]
        if len(asked) > 1 or len(words) - len(asked) > 1:
            raise BadArguments("that is `copy P-41`, with pause, resume or cancel behind it or nothing.")
        meant = {"pause": pause, "resume": resume, "cancel": cancel}
        handler = meant[asked[0]] if asked else begin
        await handler(_without(ask, asked))

    router.verb(
        "copy",
        copy_verb,
        role=Role.RESPONDER,
        usage="copy P-41 [pause|resume|cancel]",
        help="copy the vmcore to the central store, verified; pause, go on or stop",
        example=f"{router.command} copy P-41",
    )
    router.action("copies.begin", begin, role=Role.RESPONDER)
    router.action("copies.pause", pause, role=Role.RESPONDER)
    router.action("copies.resume", resume, role=Role.RESPONDER)
    router.action("copies.cancel", cancel, role=Role.RESPONDER)
    desk.context.on_panic.append(desk.on_panic)


def _without(ask: Ask, words: list[str]) -> Ask:
    kept = [w for w in ask.text.split() if w.lower() not in words]
    return replace(ask, text=" ".join(kept))


def _where(session: Session, copy_id: int) -> tuple[str, str] | None:
    """(channel, ts) of the copy's message once it stands in Slack."""
    key = rows.message_key(session.get_one(DumpCopy, copy_id))
    message = session.exec(select(SlackMessage).where(SlackMessage.key == key)).first()
    return (message.channel, message.ts) if message is not None and message.ts else None


__all__ = ["_blocks", "register"]
