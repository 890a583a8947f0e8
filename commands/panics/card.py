"""`@panicroom P-41` in any channel: a card for everybody there, in the thread of that message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, select

from commands.access import Role
from commands.context import Context
from commands.errors import BadArguments
from commands.fitting import MESSAGE_LIMIT, cut, length, linked
from commands.incident.causes import known_line
from commands.incident.wording import dump_line, redacted, span
from commands.panics.blocks import LIGHTS, list_line
from commands.past import past_line
from commands.permalinks import permalinks
from commands.router import Ask, Router
from integrations.slack import blocks as b
from integrations.slack.text import code, date, escape, shorten
from storage import IncidentState, SlackMessage, incident_ref, panic_ref, parse_ref
from storage.records import IncidentRecord, PanicRecord, incident_record, record
from storage.requests import once

CARDS = 5  # in one answer
_REF = re.compile(r"(?<![\w-])([PpIi])-0*([1-9]\d{0,11})(?![\w-])")


@dataclass(frozen=True)
class Card:
    """One id with what there is of it; `known` is the known cause in mrkdwn, "" without one."""

    ref: str
    panic: PanicRecord | None = None
    incident: IncidentRecord | None = None
    known: str = ""

    @property
    def parent(self) -> tuple[int | None, str | None, str | None]:
        if self.panic is not None:
            return self.panic.panic.incident_id, self.panic.channel, self.panic.ts
        if self.incident is not None:
            return self.incident.incident.id, self.incident.channel, self.incident.ts
        return None, None, None


def register_card(router: Router, ctx: Context) -> None:
    async def card(ask: Ask) -> None:
        refs = refs_in(ask.text)
        if not refs:
            raise BadArguments("say which panics or incidents: `card P-41 I-7`.")
        cards = await ctx.db.read(lambda s: [look(s, ref) for ref in refs[:CARDS]])
        links = await permalinks(ctx.slack, {c.parent for c in cards})
        text, blocks = card_message(cards, links, len(refs) - CARDS)
        # Where not everybody may look, what is shown to one who may is for that one alone.
        public = ask.message_ts and not ask.trigger_id and ctx.access.config.everyone != "nobody"
        if not public or not any(c.panic or c.incident for c in cards):
            await ask.reply(text, blocks)
            return
        await ctx.db.write(lambda s: _post(s, ctx, ask, text, blocks))
        ctx.wake()

    router.verb(
        "card",
        card,
        role=Role.VIEWER,
        usage="card P-41 [I-7 …]",
        help="panics in short; as `@panicroom P-41`, for everybody in the channel",
        example=f"{router.command} card P-41",
    )


def refs_in(text: str) -> list[str]:
    """`P-41` and `I-7` as they stand in the text, each once; a word that is nothing but `p41` counts, too."""
    found = [f"{kind.upper()}-{number}" for kind, number in _REF.findall(text)]
    if not found:
        for word in text.split()[: CARDS + 1]:
            for prefix in ("P", "I"):
                number = parse_ref(word, prefix)
                if number is not None:
                    found.append(f"{prefix}-{number}")
    return list(dict.fromkeys(found))


def look(session: Session, ref: str) -> Card:
    panic_id, incident_id = parse_ref(ref, "P"), parse_ref(ref, "I")
    if panic_id is not None:
        found = record(session, panic_id, timeline_limit=1)
        return Card(ref, panic=found, known=known_line(session, found.panic) if found else "")
    return Card(ref, incident=incident_record(session, incident_id or 0))


def card_message(cards: list[Card], links: Mapping[int, str], left_out: int = 0) -> tuple[str, list[b.Block]]:
    """Within one message: of each a few lines, of the crash its title alone. Nothing of what was said in a thread."""
    made: list[b.Block] = []
    for card in cards:
        link = links.get(card.parent[0] or 0)
        if card.panic is not None:
            made.append(b.section(_panic_lines(card.panic, card.known, link)))
        elif card.incident is not None:
            made.append(b.section(_incident_lines(card.incident, link)))
        else:
            made.append(
                b.section(
                    f":grey_question: There is no {card.ref}. `/panic list since:7d` shows what there is."
                )
            )
    if left_out > 0:
        made.append(b.context(f"{left_out} more in that message; I show {CARDS} at a time."))
    foot = b.context("All of one, for you alone: `/panic show P-41`")
    while length([*made, foot]) > MESSAGE_LIMIT:
        made.pop()
    text = " · ".join(escape(shorten(_plain(card), 150)) for card in cards)
    return shorten(text, 500), [*made, foot]


def _plain(card: Card) -> str:
    if card.panic is not None:
        panic = card.panic.panic
        return f"{card.ref} {panic.host}: {redacted(panic.title, panic.host)}"
    if card.incident is not None:
        return f"{card.ref} {redacted(card.incident.incident.title)}"
    return f"There is no {card.ref}"


def _panic_lines(found: PanicRecord, known: str, link: str | None) -> str:
    panic, incident = found.panic, found.incident
    title = escape(shorten(redacted(panic.title, panic.host), 200))
    lines = [f"*{linked(panic_ref(panic.id), link)} · {escape(shorten(panic.host, 80))}: {title}*"]
    state = "no thread"
    if incident is not None:
        state = f"{incident_ref(incident.id)} {LIGHTS[incident.state]}"
    what = [date(panic.occurred_at), f"kernel {code(shorten(panic.kernel or 'unknown', 60))}", state]
    what.append(f"up {span(panic.uptime_seconds)}" if panic.uptime_seconds is not None else "")
    what += ["deliberate (a test)"] if panic.deliberate else []
    lines.append(" · ".join(part for part in what if part))
    if known:
        lines.append(cut(known, 600))
    lines.append(cut(past_line(found.recurrence, found.similar_threads), 700))
    lines.append(dump_line(panic))
    keys = [escape(shorten(link.key, 40)) for link in found.links if link.key and link.state == "linked"]
    if keys:
        lines.append("Changes: " + ", ".join(keys[:5]))
    return cut("\n".join(lines), 2200)


def _incident_lines(found: IncidentRecord, link: str | None) -> str:
    incident = found.incident
    lines = [
        f"*{linked(incident_ref(incident.id), link)} · {escape(shorten(redacted(incident.title), 250))}*"
    ]
    panics = f"{found.panics_total} panic{'' if found.panics_total == 1 else 's'}"
    panics += f" on {found.hosts_total} hosts" if found.hosts_total > 1 else ""
    lines.append(" · ".join([LIGHTS[incident.state], f"opened {date(incident.opened_at)}", panics]))
    if incident.state is IncidentState.MERGED and incident.merged_into_id:
        lines.append(f"It is part of {incident_ref(incident.merged_into_id)} now.")
    if found.panics:
        lines.append(f"Newest: {list_line(found.panics[0], None, 80)}")
    return cut("\n".join(lines), 2200)


def _post(session: Session, ctx: Context, ask: Ask, text: str, blocks: list[dict[str, Any]]) -> None:
    """Once for a message, however often Slack tells of it (an edit tells again)."""
    key = f"card:{ask.channel}:{ask.message_ts}"
    known = session.exec(select(SlackMessage.id).where(SlackMessage.key == key)).first()
    if not once(session, ask.request_id) or known is not None:
        return
    now = ctx.clock()
    session.add(
        SlackMessage(
            key=key, channel=ask.channel, thread_ts=ask.thread_ts or ask.message_ts,
            payload={"text": text, "blocks": blocks}, created_at=now, next_at=now,
        )
    )  # fmt: skip
