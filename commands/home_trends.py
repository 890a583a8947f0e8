"""The App Home's trends at a glance: this week against the one before, in bars of text and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from sqlmodel import Session

from commands.incident.wording import redacted
from integrations.slack import blocks as b
from integrations.slack.text import code, escape, shorten
from storage.filters import Filters
from storage.rollups import Cut
from storage.tallies import Counted, top
from storage.trend import daily

_BARS = "▁▂▃▄▅▆▇█"
_WEEK = 7


@dataclass(frozen=True)
class TrendFacts:
    """Panics a day of the seven days up to today, and of the seven before, the oldest day first; UTC, without tests."""

    this: tuple[int, ...]
    last: tuple[int, ...]
    signature: Counted | None  # most panics of the last seven days
    host: Counted | None


def trend_facts(session: Session, now: datetime) -> TrendFacts:
    """From the roll-ups alone."""
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=2 * _WEEK - 1)
    week = today - timedelta(days=_WEEK - 1)
    midnight = datetime.combine(first, time(), UTC)
    counts = [0] * (2 * _WEEK)
    for row in daily(session, Filters(since=midnight), Cut.RING):
        if first <= row.day <= today:
            counts[(row.day - first).days] += row.panics
    return TrendFacts(
        this=tuple(counts[_WEEK:]),
        last=tuple(counts[:_WEEK]),
        signature=_first(session, Cut.SIGNATURE, week),
        host=_first(session, Cut.HOST, week),
    )


def _first(session: Session, cut: Cut, since: object) -> Counted | None:
    rows = top(session, cut, since=since, limit=1).rows  # type: ignore[arg-type]
    return rows[0] if rows else None


def draw_trends(facts: TrendFacts) -> list[b.Block]:
    this, last = sum(facts.this), sum(facts.last)
    made = [b.section("*Trends* (7 days up to today, UTC; tests are not counted)")]
    if not this and not last:
        return [*made, b.context("No panic in two weeks.")]
    most = max(*facts.this, *facts.last)
    width = len(f"{max(this, last):,}")
    bars = [
        f"{name} {bar(days, most)} {total:>{width},}"
        for name, days, total in (("this week  ", facts.this, this), ("week before", facts.last, last))
    ]
    lines = [_change(this, last), "```\n" + "\n".join(bars) + "\n```"]
    if facts.signature is not None:
        name = facts.signature.title or facts.signature.value or "not known"
        where = f"on {facts.signature.hosts:,} host{'' if facts.signature.hosts == 1 else 's'}"
        told = escape(shorten(redacted(name), 150))
        lines.append(f"Most often: *{told}* ({facts.signature.panics:,} of {this:,}, {where})")
    if facts.host is not None and facts.host.value:
        lines.append(f"Host with most: {code(shorten(facts.host.value, 80))} ({facts.host.panics:,})")
    made.append(b.section("\n".join(lines)))
    return [
        *made,
        b.context("More: `/panic top` · `/panic trends by kernel` puts a picture into the channel"),
    ]


def bar(days: Sequence[int], most: int) -> str:
    """One character a day: a space where there was none, else its height against `most`."""
    return "".join(" " if not n else _BARS[-(-n * len(_BARS) // max(most, 1)) - 1] for n in days)


def _change(this: int, last: int) -> str:
    said = f"*{this:,}* panic{'' if this == 1 else 's'} this week, {last:,} the week before"
    if this == last:
        return f"{said}: as many"
    return f"{said}: {abs(this - last):,} {'more' if this > last else 'fewer'}"
