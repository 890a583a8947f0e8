"""How people ask for triage: `/panic triage P-41`, the button, `@panicroom triage` in the thread."""

from __future__ import annotations

import asyncio
import re

from commands.access import Role
from commands.errors import BadArguments, NotFound
from commands.hosts import runs
from commands.hosts.progress import link_to
from commands.incident.lookup import panic_meant
from commands.router import Ask, Router
from commands.triage import blocks
from commands.triage.preview import family_seen, is_dry_run, preview
from commands.triage.workflow import TriageDesk
from integrations.slack.text import code, user
from storage import Panic, RunbookRun, panic_ref

_RAW_VALUE = re.compile(r"[Pp]-?(\d{1,12})/(\d{1,12})")


def register(router: Router, desk: TriageDesk) -> None:
    db = desk.context.db

    async def triage(ask: Ask) -> None:
        words = ask.words()
        dry = any(is_dry_run(word) for word in words)
        word = next((w for w in words if not is_dry_run(w)), None)
        panic = await db.read(lambda s: panic_meant(s, ask, word))
        await (_show if dry else _begin)(ask, panic)

    async def _show(ask: Ask, panic: Panic) -> None:
        family = await db.read(lambda s: family_seen(s, panic))
        host = desk.visits.host_of(panic)
        drawn = await asyncio.to_thread(preview, desk.runbook, panic, host, desk.visits.ssh.config, family)
        await ask.reply(f"What triage of {panic_ref(panic.id)} would run; nothing was run", drawn)

    async def _begin(ask: Ask, panic: Panic) -> None:
        try:
            run = await desk.begin(panic.id or 0, ask.user, ask.request_id)
        except runs.AlreadyRunning as running:
            link = await link_to(desk.context, running.run_id)
            await ask.reply(
                f":hourglass_flowing_sand: triage of {panic_ref(panic.id)} is under way already{link}. "
                f"`{router.command} cancel {panic_ref(panic.id)}` stops it."
            )
            return
        link = await link_to(desk.context, run.id or 0)
        await ask.reply(
            f":mag: triage of {code(panic.host)} ({panic_ref(panic.id)}) is under way; "
            f"the result comes in the thread{link}."
        )

    async def cancel(ask: Ask) -> None:
        word = next(iter(ask.words()), None)
        panic = await db.read(lambda s: panic_meant(s, ask, word))
        kind = "triage" if ask.verb == "triage.cancel" else None
        cancelled = await desk.cancel(panic.id or 0, ask.user, kind=kind, request_id=ask.request_id)
        kinds = " and ".join(dict.fromkeys(r.kind for r in cancelled))
        await ask.reply(f":no_entry_sign: {kinds} of {panic_ref(panic.id)} cancelled by {user(ask.user)}.")

    async def raw(ask: Ask) -> None:
        value = _RAW_VALUE.fullmatch(ask.value or "")
        if value is None:
            raise BadArguments("this button has lost its run.", example=f"{router.command} triage P-41")
        run_id = int(value[2])
        run, steps, panic = await db.read(
            lambda s: (s.get(RunbookRun, run_id), runs.steps_of(s, run_id), s.get(Panic, int(value[1])))
        )
        if run is None or panic is None or run.panic_id != panic.id:
            raise NotFound("that run is not there any more.")
        if not any(s.outputs for s in steps):
            raise NotFound("there is no output yet; press it again in a moment.")
        await ask.reply("Raw output of the triage run", blocks.raw_blocks(run, steps, panic))

    router.verb(
        "triage",
        triage,
        role=Role.RESPONDER,
        usage="triage P-41 [--dry-run]",
        help="run the runbook on the host: dump, kernel, changes, seen before, readiness",
        example=f"{router.command} triage P-41",
    )
    router.verb(
        "cancel",
        cancel,
        role=Role.RESPONDER,
        usage="cancel P-41",
        help="stop the triage or evidence run of a panic",
        example=f"{router.command} cancel P-41",
    )
    router.action("triage.run", triage, role=Role.RESPONDER)
    router.action("triage.cancel", cancel, role=Role.RESPONDER)
    router.action("triage.raw", raw, role=Role.VIEWER, acts=False)
