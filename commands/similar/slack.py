"""`/panic similar`: it reads, and answers the one who asked."""

from __future__ import annotations

from sqlmodel import Session

from commands.access import Role
from commands.context import Context
from commands.errors import BadArguments
from commands.incident.lookup import panic_meant
from commands.router import Ask, Router
from commands.similar.blocks import similar_message
from commands.similar.nearness import Near, nearest
from integrations.slack.text import code, shorten
from storage.similarity import Beside, Lookalikes, beside, lookalikes


def register(router: Router, ctx: Context) -> None:
    router.verb(
        "similar",
        Similar(ctx).similar,
        role=Role.VIEWER,
        usage="similar P-41",
        help="panics like this one: its signature's first, then near ones, each with why",
        example="/panic similar P-41",
        acts=False,
        aliases=("like",),
    )


class Similar:
    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    async def similar(self, ask: Ask) -> None:
        words = ask.text.split()
        if len(words) > 1:
            raise BadArguments(
                "`similar` takes a panic and nothing else; I do not know what to do with "
                f"{code(shorten(words[1], 60))}."
            )

        def look(session: Session) -> tuple[Lookalikes, list[Near], Beside]:
            found = lookalikes(session, panic_meant(session, ask, words[0] if words else None))
            near = nearest(found.panic, found.others)
            shown = [found.panic, *found.same, *(n.panic for n in near)]
            return found, near, beside(session, shown)

        found, near, more = await self.ctx.db.read(look)
        await ask.reply(*similar_message(found, near, more))
