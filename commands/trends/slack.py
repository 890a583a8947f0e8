"""`/panic top`, `trends` and `export`: panics counted, drawn and as a table. They change nothing."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlmodel import Session

from commands.access import Role
from commands.context import Context
from commands.errors import Impossible
from commands.filters import parse_filters, tidy
from commands.incident.wording import redacted
from commands.router import Ask, Router
from commands.trends.blocks import NOUNS, top_message, trends_comment
from commands.trends.chart import draw
from commands.trends.picture import SHOWN, Picture, compose
from commands.trends.questions import TrendAsked, read_top, read_trends
from commands.trends.table import csv_of
from integrations.slack.errors import SlackRefused
from integrations.slack.text import code
from storage.filters import Filters
from storage.queries import count_panics, list_rows, newest_panic_id
from storage.rollups import Cut
from storage.tallies import signature_titles, top
from storage.trend import rollouts, trend

EXPORTED = 10_000  # rows of a table that goes to Slack
_NOT_THERE = ("not_in_channel", "channel_not_found")


def register(router: Router, ctx: Context) -> None:
    desk = Trends(router, ctx)
    command = router.command
    router.verb(
        "top",
        desk.top,
        role=Role.VIEWER,
        usage="top [by signature|host|kernel|hw|ring] [since:…] [until:…]",
        help="what had most panics, of the last 30 days or as you say",
        example=f"{command} top by kernel since:7d",
        acts=False,
    )
    router.verb(
        "trends",
        desk.trends,
        role=Role.VIEWER,
        usage="trends [filters] [by signature|host|kernel|hw|ring]",
        help="a picture for the channel: panics a day, with the rollouts",
        example=f"{command} trends ring:prod by kernel since:90d",
        acts=False,
    )
    router.verb(
        "export",
        desk.export,
        role=Role.VIEWER,
        usage="export [filters]",
        help="the panics of a list as CSV, into the channel",
        example=f"{command} export host:web-* since:30d",
        acts=False,
    )


class Trends:
    """The handlers."""

    def __init__(self, router: Router, ctx: Context) -> None:
        self.router = router
        self.ctx = ctx

    async def top(self, ask: Ask) -> None:
        asked = read_top(ask.text, self.ctx.clock())
        found = await self.ctx.db.read(lambda s: top(s, asked.cut, since=asked.since, until=asked.until))
        await ask.reply(*top_message(found, self.router.command))

    async def trends(self, ask: Ask) -> None:
        asked = read_trends(ask.text, self.ctx.clock())
        picture = await self.ctx.db.read(lambda s: picture_of(s, asked))
        if not picture.total:
            await ask.reply(
                f"No panic to draw from {asked.first} to {asked.last}"
                + (f" for {code(asked.line)}" if asked.line else "")
                + f". Fewer filters, or further back: `{self.router.command} trends since:365d`"
            )
            return
        content = await asyncio.to_thread(draw, picture)
        name = f"panics-{asked.first}-{asked.last}.png"
        await self._put(ask, name, content, trends_comment(picture), picture.alt_text)

    async def export(self, ask: Ask) -> None:
        line = tidy(ask.text)
        now = self.ctx.clock()
        filters = parse_filters(line, now)
        content, rows, total = await self.ctx.db.read(lambda s: table_of(s, filters, EXPORTED))
        which = f" for {code(line)}" if line else ""
        if not rows:
            await ask.reply(f"No panic to export{which}. `{self.router.command} list` shows what there is.")
            return
        told = f"*{rows:,} panic{'' if rows == 1 else 's'}*{which}"
        if total > rows:
            told += f" · :warning: cut: there are more than {rows:,}. Narrow it (`until:` goes on from here), or on "
            told += "the bot's machine: `panicroom export --limit 1000000`"
        await self._put(ask, _named("panics", now), content.encode(), told)

    async def _put(self, ask: Ask, name: str, content: bytes, comment: str, alt: str = "") -> None:
        with tempfile.TemporaryDirectory(prefix="panicroom-") as scratch:
            path = Path(scratch) / "file"
            await asyncio.to_thread(path.write_bytes, content)
            try:
                await self.ctx.slack.upload(
                    ask.channel, ask.thread_ts, path, name=name, comment=comment, alt=alt
                )
            except SlackRefused as error:
                if error.code not in _NOT_THERE:
                    raise
                raise Impossible(
                    "I can put no file here, for I am not in this channel: invite me (`/invite @panicroom`), or ask "
                    "in a channel where I am."
                ) from error


def picture_of(session: Session, asked: TrendAsked) -> Picture:
    """The picture's data, from the roll-ups."""
    found = trend(session, asked.filters, asked.cut, shown=SHOWN)
    labels = {row.value: redacted(row.value) for row in found.days}
    if asked.cut is Cut.SIGNATURE:
        named = signature_titles(session, sorted(labels))
        labels |= {key: redacted(title) for key, title in named.items() if title}
    line = f" · {asked.line}" if asked.line else ""
    told = rollouts(session, asked.first, asked.last)
    return compose(f"Panics by {NOUNS[asked.cut]}{line}", found, asked.first, asked.last, told, labels)


def table_of(session: Session, filters: Filters, most: int) -> tuple[str, int, int]:
    """(the CSV, rows in it, panics that match: more than the rows where it was cut)."""
    frozen = replace(filters, upto_id=newest_panic_id(session))
    rows = list_rows(session, frozen, limit=min(most, 500))
    while 0 < len(rows) < most:
        page = list_rows(session, frozen, limit=min(most - len(rows), 500), after=rows[-1])
        if not page:
            break
        rows += page
    total = count_panics(session, frozen, most=most) if len(rows) >= most else len(rows)
    return csv_of(rows), len(rows), total


def _named(what: str, now: datetime) -> str:
    return f"{what}-{now:%Y%m%d-%H%M%S}.csv"
