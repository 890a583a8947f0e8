"""The App Home: what is open, what needs somebody, what is mine, how it goes, and how to begin.

Each part is read and drawn by itself: one that fails says so in its place, and the others stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, col, select

from commands.access import Role
from commands.context import Context
from commands.fitting import cut, sections
from commands.home_attention import Notice, attention_facts, draw_attention
from commands.home_incidents import draw_incidents, incident_facts
from commands.home_trends import draw_trends, trend_facts
from commands.permalinks import permalinks
from integrations.slack import blocks as b
from integrations.slack.client import patiently
from integrations.slack.errors import SlackError
from integrations.slack.text import code, date, escape, shorten, user
from storage import Silence
from storage.queries import Filters, count_panics

log = structlog.get_logger(__name__)

MOST = 100  # blocks of a view
_COUNTED = 10_000  # panics; beyond it a count is "10,000+"
_SILENCES = 8
_WITHIN = 5.0  # seconds for one part


async def publish_home(ctx: Context, user_id: str, *, said: str = "", notices: Sequence[Notice] = ()) -> None:
    """Draws and publishes the person's home page. A failure of Slack is logged: the next visit draws it again.

    `said`: mrkdwn, the answer to what was pressed there. `notices`: what else may need attention.
    """
    role = await ctx.access.role_of(user_id)
    blocks = await home_blocks(ctx, user_id, role, notices) if role >= Role.VIEWER else no_access(role)
    if said:
        blocks = [b.section(cut(said)), b.divider(), *blocks]
    view = {"type": "home", "blocks": blocks[:MOST]}
    try:
        await patiently(lambda: ctx.slack.publish_home(user_id, view))
    except SlackError as error:
        log.warning("home.not_published", user=user_id, error=str(error))


async def home_blocks(ctx: Context, user_id: str, role: Role, notices: Sequence[Notice]) -> list[b.Block]:
    """All parts, read at the same time."""
    now = ctx.clock()

    async def incidents() -> list[b.Block]:
        facts = await ctx.db.read(lambda s: incident_facts(s, user_id))
        shown = {(o.incident.id, o.channel, o.ts) for o in (*facts.open, *facts.mine)}
        return draw_incidents(facts, user_id, role, now, await permalinks(ctx.slack, shown))

    async def attention() -> list[b.Block]:
        told = await asyncio.gather(*(_part("what the bot watches", _noticed(notice)) for notice in notices))
        facts = await ctx.db.read(lambda s: attention_facts(s, now))
        return draw_attention(facts, [block for blocks in told for block in blocks], role)

    async def trends() -> list[b.Block]:
        return draw_trends(await ctx.db.read(lambda s: trend_facts(s, now)))

    async def planned() -> list[b.Block]:
        return await ctx.db.read(lambda s: sections("Planned work", silences(s, now)))

    async def head() -> list[b.Block]:
        total, week = await ctx.db.read(lambda s: known_panics(s, now))
        words = f"{_counted(total, 'panic')} known, {_figure(week)} in the last 7 d · as of {date(now)}"
        return [b.context(words)]

    made = await asyncio.gather(
        _part("The count of panics", head()),
        _part("Incidents", incidents()),
        _part("Needs attention", attention()),
        _part("Trends", trends()),
        _part("Planned work", planned()),
    )
    counts, open_, needs, going, silent = made
    body = [*open_, b.divider(), *needs, b.divider(), *going, *silent, b.divider()]
    begin = [b.section(_begin(role)), *_beginning(role)]
    room = MOST - 2 - len(counts) - 1 - len(begin)  # an answer may stand on top
    return [b.header("Panicroom"), *counts, *body[: room - 1], *begin]


def known_panics(session: Session, now: datetime) -> tuple[int, int]:
    """(panics that are known, those of the last seven days); each 10,001 at most."""
    week = Filters(since=now - timedelta(days=7))
    return count_panics(session, Filters(), most=_COUNTED), count_panics(session, week, most=_COUNTED)


def silences(session: Session, now: datetime) -> list[str]:
    rows = session.exec(
        select(Silence)
        .where(col(Silence.until) > now, col(Silence.ended_at).is_(None))
        .order_by(col(Silence.until))
        .limit(_SILENCES)
    ).all()
    return [_silence_line(row) for row in rows]


def no_access(role: Role) -> list[b.Block]:
    text = (
        f"*Panicroom* tells of kernel panics. Your role is *{role.word}*, which may not see them yet. "
        "An admin of Panicroom can give you another one (`[access]` in panicroom.toml)."
    )
    return [b.section(text)]


async def _noticed(notice: Notice) -> list[b.Block]:
    lines = list(await notice())
    return [b.section(cut("\n".join(lines)))] if lines else []


async def _part(name: str, drawing: Awaitable[list[b.Block]]) -> list[b.Block]:
    """A part that fails, or takes too long, is told in its place; the page stands."""
    try:
        async with asyncio.timeout(_WITHIN):
            return await drawing
    except Exception:
        log.exception("home.part_failed", part=name)
        return [
            b.context(
                f":warning: *{name}* could not be read just now; it is logged. Open this page once more."
            )
        ]


def _counted(number: int, noun: str) -> str:
    return f"{_figure(number)} {noun}{'' if number == 1 else 's'}"


def _figure(number: int) -> str:
    return f"{number:,}" if number <= _COUNTED else f"{_COUNTED:,}+"


def _silence_line(silence: Silence) -> str:
    why = f": {escape(shorten(silence.reason, 120))}" if silence.reason else ""
    return f":no_bell: {code(silence.pattern)} until {date(silence.until)} by {user(silence.created_by)}{why}"


def _beginning(role: Role) -> list[b.Block]:
    if role < Role.RESPONDER:
        return []
    return [b.actions([b.button("Report a panic", "panics.report")])]


def _begin(role: Role) -> str:
    lines = ["*How to begin*"]
    if role >= Role.RESPONDER:
        lines.append("In a panic's thread: *Run triage*, *Collect evidence*, *Link change*, *Acknowledge*.")
    else:
        lines.append("You may look at everything; triage, evidence and the rest need the role *responder*.")
    lines.append("`/panic list since:7d` what happened · `/panic list host:web-* kernel:6.1.*` narrower")
    lines.append("`/panic show P-41` all of one panic · `/panic help` everything that can be typed")
    return "\n".join(lines)
