"""An incident's timeline as people read it: the newest stretch of it, and the earlier ones by a button."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlmodel import Session, col, func, select

from commands.errors import BadArguments
from commands.fitting import cut, length, sections
from integrations.slack import blocks as b
from integrations.slack.text import date, escape, user
from storage import TimelineEntry

TURN = "panics.timeline"  # the router's name of the buttons
READ = 200  # entries at a time; fewer of them fit into a message


@dataclass(frozen=True)
class Stretch:
    """Consecutive entries of an incident's timeline, oldest first, and how many stand before and after them."""

    incident_id: int
    entries: tuple[TimelineEntry, ...]
    earlier: int
    later: int


def stretch(session: Session, incident_id: int, before: int | None = None) -> Stretch:
    """The newest entries, or the newest of those below the entry with the id `before`."""
    whole = TimelineEntry.incident_id == incident_id
    part = (whole,) if before is None else (whole, col(TimelineEntry.id) < before)
    newest = select(TimelineEntry).where(*part).order_by(col(TimelineEntry.id).desc()).limit(READ)
    entries = tuple(reversed(session.exec(newest).all()))
    upto = session.exec(select(func.count()).select_from(TimelineEntry).where(*part)).one()
    total = session.exec(select(func.count()).select_from(TimelineEntry).where(whole)).one()
    return Stretch(incident_id, entries, upto - len(entries), total - upto)


def timeline_blocks(found: Stretch, room: int) -> list[b.Block]:
    """As many of the newest entries as `room` (characters of JSON) holds; the rest is counted, with buttons to it."""
    room -= 700  # heading and buttons
    kept: list[TimelineEntry] = []
    lines: list[str] = []
    for entry in reversed(found.entries):
        line = timeline_line(entry)
        room -= length(line) + 2
        if room < 0 and kept:
            break
        kept.insert(0, entry)
        lines.insert(0, line)
    if not kept:
        return [b.context("Nothing stands in the timeline yet.")]
    earlier = found.earlier + len(found.entries) - len(kept)
    total = earlier + len(kept) + found.later
    heading = (
        f"Timeline ({earlier + 1}–{earlier + len(kept)} of {total})" if total > len(kept) else "Timeline"
    )
    made = sections(heading, lines)
    turns = []
    if earlier:
        turns.append(
            b.button(f"◀ {earlier} earlier", f"{TURN}:earlier", _value(found.incident_id, kept[0].id))
        )
    if found.later:
        turns.append(b.button("Newest ▶", f"{TURN}:newest", _value(found.incident_id, None)))
    return [*made, b.actions(turns)] if turns else made


def timeline_line(entry: TimelineEntry) -> str:
    """One entry in one line of mrkdwn."""
    who = f"{user(entry.actor)} "
    if entry.actor == "panicroom" or entry.actor.startswith("host:") or who.strip() in entry.text:
        who = ""  # nobody, or the text names them itself
    return f"{date(entry.at)} {who}{cut(' '.join(entry.text.split()) or escape(entry.verb), 400)}"


def read_turn(value: str) -> tuple[int, int | None]:
    """(incident id, before) from a button's value. Raises BadArguments for anything else."""
    try:
        told = json.loads(value)
        incident_id, before = int(told["i"]), told["b"]
        if not 0 < incident_id < 2**62 or not (
            before is None or (type(before) is int and 0 < before < 2**62)
        ):
            raise ValueError(value)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise BadArguments(
            "this button is from an older version of Panicroom; please ask again.",
            example="/panic show I-7",
        ) from error
    return incident_id, before


def _value(incident_id: int, before: int | None) -> str:
    return json.dumps({"i": incident_id, "b": before})
