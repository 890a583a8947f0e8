"""How people ask for the evidence bundle: `/panic evidence P-41`, the button, `@panicroom evidence`."""

from __future__ import annotations

from commands.access import Role
from commands.evidence import blocks as _blocks  # registers the message's renderer
from commands.evidence.workflow import EvidenceDesk
from commands.hosts import runs
from commands.hosts.progress import link_to
from commands.incident.lookup import panic_meant
from commands.router import Ask, Router
from integrations.slack.text import code, user
from storage import panic_ref


def register(router: Router, desk: EvidenceDesk) -> None:
    db = desk.context.db

    async def collect(ask: Ask) -> None:
        word = next(iter(ask.words()), None)
        panic = await db.read(lambda s: panic_meant(s, ask, word))
        ref = panic_ref(panic.id)
        try:
            run = await desk.begin(panic.id or 0, ask.user, ask.request_id)
        except runs.AlreadyRunning as running:
            link = await link_to(desk.context, running.run_id)
            await ask.reply(
                f":hourglass_flowing_sand: evidence of {ref} is being collected already{link}. "
                f"`{router.command} cancel {ref}` stops it."
            )
            return
        link = await link_to(desk.context, run.id or 0)
        await ask.reply(
            f":package: evidence of {code(panic.host)} ({ref}) is being collected; "
            f"the bundle comes in the thread{link}."
        )

    async def cancel(ask: Ask) -> None:
        panic = await db.read(lambda s: panic_meant(s, ask))
        await desk.cancel(panic.id or 0, ask.user, kind="evidence", request_id=ask.request_id)
        await ask.reply(f":no_entry_sign: evidence of {panic_ref(panic.id)} cancelled by {user(ask.user)}.")

    router.verb(
        "evidence",
        collect,
        role=Role.RESPONDER,
        usage="evidence P-41",
        help="collect the evidence bundle: dmesg of the crash, journals, system, packages, change record",
        example=f"{router.command} evidence P-41",
    )
    router.action("evidence.collect", collect, role=Role.RESPONDER)
    router.action("evidence.cancel", cancel, role=Role.RESPONDER)


__all__ = ["_blocks", "register"]
