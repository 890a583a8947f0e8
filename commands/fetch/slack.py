"""How people ask for a dump: `/panic fetch P-41`."""

from __future__ import annotations

from commands.access import Role
from commands.errors import BadArguments, Refused
from commands.fetch.desk import FetchDesk, Made
from commands.hosts.crashdump import size_words
from commands.incident.lookup import panic_meant
from commands.router import Ask, Router
from integrations.slack import blocks as b
from integrations.slack.text import code, code_block, date
from storage import panic_ref


def register(router: Router, desk: FetchDesk) -> None:
    db, access = desk.context.db, desk.context.access

    async def fetch(ask: Ask) -> None:
        if not await access.reads_dumps(ask.user):
            raise Refused(
                f"`{router.command} fetch` gives out a host's memory: it needs the role *admin*, or your name in "
                "`access.dump_readers` (`[access]` in panicroom.toml)."
            )
        words = ask.words()
        if len(words) > 1:
            raise BadArguments("that is `fetch P-41`.")
        panic = await db.read(lambda s: panic_meant(s, ask, next(iter(words), None)))
        made = await desk.issue(panic, ask.user, ask.request_id)
        text, blocks = link_message(made, panic_ref(panic.id))
        await ask.reply(text, blocks)

    router.verb(
        "fetch",
        fetch,
        role=Role.VIEWER,
        usage="fetch P-41",
        help="a link to the vmcore in the central store, for a short time; each fetch is told",
        example=f"{router.command} fetch P-41",
        aliases=("download",),
    )
    router.action("fetch.open", _opened, role=Role.NOBODY, acts=False)


async def _opened(_ask: Ask) -> None:
    """Slack tells of a press on a button with an address, too; the browser does the rest."""


def link_message(made: Made, ref: str) -> tuple[str, list[b.Block]]:
    """Addresses in code: a link in plain text would be looked at by Slack itself, which would use it up."""
    copy, link = made.copy, made.link
    until = date(link.expires_at, "{time_secs}")
    uses = "" if link.direct else (" once" if link.uses_left == 1 else f" {link.uses_left} times")
    head = (
        f":inbox_tray: the dump of {ref}, {size_words(copy.size or 0)}, can be fetched{uses} until {until}."
    )
    name = f"{ref}-vmcore"
    blocks = [b.section(head)]
    if link.direct:
        many = len(made.urls) > 1
        told = "The store signed the addresses of its parts; put together in this order they are the dump."
        blocks.append(b.context(told if many else "The store signed this address."))
        for number, url in enumerate(made.urls, 1):
            mark = ">>" if number > 1 else ">"
            blocks.append(b.section(code_block(f"curl -f '{url}' {mark} {name}")))
    else:
        (url,) = made.urls
        blocks.append(b.section(code_block(f"curl -f -C - -o {name} '{url}'")))
        blocks.append(b.actions([b.button("Fetch in the browser", "fetch.open", url=url)]))
    blocks.append(
        b.context(
            f"sha256 {code(copy.sha256 or '')}",
            "It is the host's memory, with all that was in it. The link is yours: who uses it, uses it in your name, "
            "and each fetch stands in the audit and in the timeline.",
        )
    )
    return head, blocks
