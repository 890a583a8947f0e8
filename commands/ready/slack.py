"""How people ask for readiness: `/panic ready`, `/panic ready ring:prod-2`, `/panic ready show web-17`."""

from __future__ import annotations

from commands.access import Role
from commands.errors import NotFound
from commands.ready import blocks
from commands.ready.desk import ReadyDesk
from commands.router import Ask, Router

_SHOW, _BOARD = "show", "board"


def register(router: Router, desk: ReadyDesk) -> None:
    async def ready(ask: Ask) -> None:
        words = ask.words()
        if words[:1] == [_SHOW]:
            await show(ask, words[1:])
        elif words[:1] == [_BOARD]:
            await told(ask, " ".join(words[1:]), 0)
        else:
            board = await desk.ask(words, ask.user, ask.request_id)
            text = " ".join(words)
            await ask.reply(blocks.head_line(board).replace("*", ""), blocks.draw_board(board, text))

    async def show(ask: Ask, words: list[str]) -> None:
        board = await desk.board(words)
        if not words or not board.rows:
            raise NotFound(
                "no host of that name was asked yet.", example=f"{router.command} ready show web-17"
            )
        row = board.rows[0]
        await ask.reply(f"{row.host}: {row.state}", blocks.draw_host(row))

    async def told(ask: Ask, words: str, page: int, *, replace: bool = False) -> None:
        board = await desk.board(words.split())
        drawn = blocks.draw_board(board, words, page)
        await ask.reply(blocks.head_line(board).replace("*", ""), drawn, replace=replace)

    async def turn(ask: Ask) -> None:
        page, _, words = (ask.value or "").partition(" ")
        await told(ask, words, int(page) if page.isdecimal() and len(page) < 6 else 0, replace=True)

    router.verb(
        "ready",
        ready,
        role=Role.RESPONDER,
        usage="ready [host:NAME|GLOB] [ring:NAME] | show HOST | board [host:…] [ring:…]",
        help="is the fleet ready for the next panic: asks the hosts, and says what is wrong and what mends it",
        example="/panic ready ring:prod-2",
    )
    for name in ("ready.page", "ready.previous", "ready.next"):
        router.action(name, turn, role=Role.VIEWER, acts=False)
