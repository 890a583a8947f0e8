"""How people ask for a sweep: `/panic sweep`, `/panic sweep web-17 ring:canary`, `/panic sweep status`."""

from __future__ import annotations

from commands.access import Role
from commands.errors import NotFound
from commands.incident.rendering import draw
from commands.router import Ask, Router
from commands.sweep import blocks
from commands.sweep.desk import Begun, SweepDesk
from integrations.slack.blocks import context
from integrations.slack.text import date

_STATUS = "status"


def register(router: Router, desk: SweepDesk) -> None:
    db = desk.context.db

    async def sweep(ask: Ask) -> None:
        words = ask.words()
        if [word.lower() for word in words] == [_STATUS]:
            await status(ask)
            return
        begun = await desk.ask(words, ask.user, ask.request_id, ask.channel)
        await ask.reply(_answer(begun, ask.channel))

    async def status(ask: Ask) -> None:
        run = await desk.latest()
        if run is None:
            raise NotFound("there was no sweep yet.", example=f"{router.command} sweep")
        drawn = await db.read(lambda s: draw(blocks.RENDERER, s, run.id or 0))
        due = await desk.due_at()
        told = (
            f"The next one by the clock: {date(due)}." if due is not None else "There is none by the clock."
        )
        if drawn is None:
            raise NotFound("that sweep is not there any more.")
        await ask.reply(f"{drawn.text}\n{told}", [*drawn.blocks, context(told)])

    router.verb(
        "sweep",
        sweep,
        role=Role.RESPONDER,
        usage="sweep [HOST…|GLOB|ring:NAME|directories|status]",
        help="look for dumps that nobody reported, on the hosts and in kdump's central directories",
        example="/panic sweep web-17 ring:canary",
    )


def _answer(begun: Begun, channel: str) -> str:
    where = "here" if begun.channel == channel else f"in <#{begun.channel}>"
    places = f"{begun.places} place{'' if begun.places == 1 else 's'}"
    if not begun.joined:
        return f":mag: {places} to look at; what is found is told {where}."
    if begun.places:
        return f":mag: a sweep is under way already, and goes to {places} for you next. It is told {where}."
    return f":mag: a sweep is under way already, and has looked at all of that. It is told {where}."
