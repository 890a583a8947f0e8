"""How people ask for an analysis: `/panic analyze P-41`, the button, `@panicroom analyze` in the thread."""

from __future__ import annotations

from commands.access import Role
from commands.analysis import blocks as _blocks  # registers the message's renderer
from commands.analysis.desk import AnalysisDesk
from commands.hosts import runs
from commands.hosts.progress import link_to
from commands.incident.lookup import panic_meant
from commands.router import Ask, Router
from integrations.slack.text import code, user
from storage import panic_ref


def register(router: Router, desk: AnalysisDesk) -> None:
    db = desk.context.db

    async def analyze(ask: Ask) -> None:
        word = next(iter(ask.words()), None)
        panic = await db.read(lambda s: panic_meant(s, ask, word))
        ref = panic_ref(panic.id)
        try:
            run = await desk.begin(panic.id or 0, ask.user, ask.request_id)
        except runs.AlreadyRunning as running:
            link = await link_to(desk.context, running.run_id)
            await ask.reply(
                f":hourglass_flowing_sand: {ref} is being analysed already{link}. "
                f"`{router.command} cancel {ref}` stops it."
            )
            return
        link = await link_to(desk.context, run.id or 0)
        await ask.reply(
            f":mag: the dump of {code(panic.host)} ({ref}) is being analysed; the report comes in the "
            f"thread{link}."
        )

    async def cancel(ask: Ask) -> None:
        panic = await db.read(lambda s: panic_meant(s, ask))
        await desk.cancel(panic.id or 0, ask.user, request_id=ask.request_id)
        await ask.reply(f":no_entry_sign: analysis of {panic_ref(panic.id)} cancelled by {user(ask.user)}.")

    router.verb(
        "analyze",
        analyze,
        role=Role.RESPONDER,
        usage="analyze P-41",
        help="read the copied dump: backtraces of all CPUs, blocked tasks, memory",
        example=f"{router.command} analyze P-41",
        aliases=("analyse",),
    )
    router.action("analysis.run", analyze, role=Role.RESPONDER)
    router.action("analysis.cancel", cancel, role=Role.RESPONDER)


__all__ = ["_blocks", "register"]
