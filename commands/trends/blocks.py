"""What a reader sees of `/panic top`, and beside the picture and the table: plain functions of plain data."""

from __future__ import annotations

from commands.fitting import cut, linked
from commands.incident.wording import redacted
from commands.trends.picture import Picture
from integrations.slack import blocks as b
from integrations.slack.text import code, escape, shorten
from storage.rollups import Cut
from storage.tallies import Counted, Top

NOUNS = {
    Cut.SIGNATURE: "signature",
    Cut.HOST: "host",
    Cut.KERNEL: "kernel",
    Cut.HARDWARE: "hardware",
    Cut.RING: "ring",
}
_FILTERS = {
    Cut.SIGNATURE: "sig",
    Cut.HOST: "host",
    Cut.KERNEL: "kernel",
    Cut.HARDWARE: "hw",
    Cut.RING: "ring",
}


def top_message(found: Top, command: str) -> tuple[str, list[b.Block]]:
    noun = NOUNS[found.cut]
    days = f"{found.since or 'the beginning'} to {found.until or 'today'}"
    if not found.rows:
        text = f"No panic from {days}. Ask further back: `{command} top by {_word(found.cut)} since:365d`"
        return text, [b.section(text)]
    head = f"*Most panics by {noun}* · {days} · {_many(found.panics, 'panic')}"
    lines = [
        f"{place}. {_line(found.cut, row, found.panics)}" for place, row in enumerate(found.rows, start=1)
    ]
    more = found.values - len(found.rows)
    foot = [f"and {more:,} more" if more > 0 else "", "whole days, UTC; tests are not counted"]
    made = [b.section(head), b.section(cut("\n".join(lines)))]
    made.append(b.context(" · ".join(part for part in foot if part)))
    text = (
        f"Most panics by {noun}: {_plain(found.rows[0].value)} ({found.rows[0].panics:,} of {found.panics:,})"
    )
    return text, [*made, b.context(_further(found, command))]


def trends_comment(picture: Picture) -> str:
    """What stands over the picture: mrkdwn."""
    each = "day" if picture.width == 1 else "week"
    lines = [
        f"*{escape(shorten(picture.title, 200))}* · {_many(picture.total, 'panic')}, a bar a {each} (UTC)"
    ]
    for mark in picture.marks:
        rollout = mark.rollout
        name = linked(escape(shorten(rollout.key, 60)), rollout.url)
        lines.append(f"*{mark.letter}* {mark.day} {name} {escape(shorten(redacted(rollout.summary), 120))}")
    if picture.unmarked:
        lines.append(f"and {_many(picture.unmarked, 'rollout')} that {_is(picture.unmarked)} not marked")
    return cut("\n".join(lines))


def _line(by: Cut, row: Counted, total: int) -> str:
    name = code(shorten(redacted(row.value), 120)) if row.value else "not known"
    share = f"{100 * row.panics / total:.0f} %" if total else ""
    parts = [f"*{row.panics:,}* {name}", share]
    if by is not Cut.HOST:
        parts.append(f"on {_many(row.hosts, 'host')}")
    if row.title:
        parts.append(escape(shorten(redacted(row.title), 100)))
    return " · ".join(parts)


def _further(found: Top, command: str) -> str:
    first = found.rows[0].value
    others = " · ".join(f"`by {_word(by)}`" for by in Cut if by is not found.cut)
    if not first or found.cut is Cut.SIGNATURE:
        return f"Otherwise: {others} · as a picture: `{command} trends by {_word(found.cut)}`"
    quoted = f'"{first}"' if any(c.isspace() for c in first) else first
    asked = code(f"{command} list {_FILTERS[found.cut]}:{quoted}")
    return f"Otherwise: {others} · the first: {asked}"


def _word(by: Cut) -> str:
    return "hw" if by is Cut.HARDWARE else by.value


def _plain(value: str) -> str:
    return escape(shorten(redacted(value), 120)) if value else "not known"


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _is(number: int) -> str:
    return "is" if number == 1 else "are"
