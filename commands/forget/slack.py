"""How people ask: `/panic forget HOST`, then buttons that two different admins press."""

from __future__ import annotations

import json

from commands.access import Role
from commands.errors import BadArguments, NotFound
from commands.forget import blocks as _blocks  # registers the messages' renderers
from commands.forget.blocks import survey_message
from commands.forget.desk import ErasureDesk
from commands.router import Ask, Router
from integrations.slack.text import code, date, user


def register(router: Router, desk: ErasureDesk) -> None:
    async def forget(ask: Ask) -> None:
        words = ask.words()
        if len(words) != 1:
            raise BadArguments("that is `forget HOST`, with the host's whole name.")
        found, obstacles, beyond = await desk.survey(words[0])
        if found.empty:
            raise NotFound(f"nothing is known of a host {code(words[0][:100])}; its whole name is needed.")
        drawn = survey_message(found, obstacles, beyond)
        await ask.reply(drawn.text, drawn.blocks)

    async def begin(ask: Ask) -> None:
        try:
            told = json.loads(ask.value or "")
            host, mark = str(told["host"]), str(told["mark"])
        except (ValueError, TypeError, KeyError) as error:
            raise BadArguments(
                "this button is from an older version of Panicroom; please ask again."
            ) from error
        row = await desk.ask(host, mark, by=ask.user, request_id=ask.request_id)
        await ask.reply(
            f":wastebasket: asked for. Another admin has to confirm it in <#{desk.channel}> until {date(row.until)}."
        )

    async def confirm(ask: Ask) -> None:
        await desk.confirm(_number(ask), by=ask.user, request_id=ask.request_id)
        await ask.reply(f":wastebasket: confirmed by {user(ask.user)}; what came of it is told here.")

    async def cancel(ask: Ask) -> None:
        await desk.cancel(_number(ask), by=ask.user, request_id=ask.request_id)
        await ask.reply(":no_entry_sign: cancelled; nothing was erased.")

    router.verb(
        "forget",
        forget,
        role=Role.ADMIN,
        usage="forget HOST",
        help="erase a host for good: what would go, then two admins say so",
        example=f"{router.command} forget web-17",
    )
    router.action("forget.ask", begin, role=Role.ADMIN)
    router.action("forget.confirm", confirm, role=Role.ADMIN)
    router.action("forget.cancel", cancel, role=Role.ADMIN)


def _number(ask: Ask) -> int:
    if not (ask.value or "").isdigit():
        raise BadArguments("this button is from an older version of Panicroom; please ask again.")
    return int((ask.value or "0")[:12])


__all__ = ["_blocks", "register"]
