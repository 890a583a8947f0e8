"""What may be asked of `top` and `trends`: the cut, the days, the filters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from commands.errors import BadArguments
from commands.filters import parse_filters, split_words, tidy
from storage.filters import Filters
from storage.rollups import Cut

DAYS = 30  # where no `since:` says otherwise
LONGEST = 5 * 366  # days of a picture
_NAMES = {
    "signature": Cut.SIGNATURE, "signatures": Cut.SIGNATURE, "sig": Cut.SIGNATURE, "host": Cut.HOST, "hosts": Cut.HOST,
    "kernel": Cut.KERNEL, "kernels": Cut.KERNEL, "hw": Cut.HARDWARE, "hardware": Cut.HARDWARE, "ring": Cut.RING,
    "rings": Cut.RING,
}  # fmt: skip
TOP_EXAMPLE = "/panic top by kernel since:7d"
TRENDS_EXAMPLE = "/panic trends ring:prod by kernel since:90d"


@dataclass(frozen=True)
class TopAsked:
    cut: Cut
    since: date
    until: date | None  # the last day; None: up to now


@dataclass(frozen=True)
class TrendAsked:
    """`filters` hold the days as whole days, both ends."""

    cut: Cut
    filters: Filters
    first: date
    last: date
    line: str  # the filters as typed, for the reader


def read_top(line: str, now: datetime) -> TopAsked:
    """`[by CUT] [since:…] [until:…]`. Raises BadArguments."""
    cut, rest = _take_cut(tidy(line), TOP_EXAMPLE)
    filters = parse_filters(rest, now)
    if replace(filters, since=None, until=None) != Filters():
        raise BadArguments(
            "`top` counts all panics of its days: it knows `since:` and `until:` only. `trends` takes every filter.",
            example=TOP_EXAMPLE,
        )
    since, until = _days(filters, now)
    return TopAsked(cut or Cut.SIGNATURE, since, until if filters.until else None)


def read_trends(line: str, now: datetime) -> TrendAsked:
    """`[filters] [by kernel|signature|…]`. Raises BadArguments."""
    cut, rest = _take_cut(tidy(line), TRENDS_EXAMPLE)
    filters = parse_filters(rest, now)
    first, last = _days(filters, now)
    if (last - first).days > LONGEST:
        raise BadArguments("a picture shows five years at most.", example=TRENDS_EXAMPLE)
    midnight = datetime.min.time()
    whole = replace(
        filters,
        since=datetime.combine(first, midnight, UTC),
        until=datetime.combine(last + timedelta(days=1), midnight, UTC),
    )
    return TrendAsked(cut or Cut.SIGNATURE, whole, first, last, rest)


def _take_cut(line: str, example: str) -> tuple[Cut | None, str]:
    """`by kernel` or `by:kernel`, wherever it stands; what is in quotes is no question."""
    words = line.split()
    for at, word in enumerate(words):
        low = word.lower()
        if low == "by" or low.startswith("by:"):
            name = words[at + 1] if low == "by" and at + 1 < len(words) else low[3:]
            cut = _NAMES.get(name.lower())
            if cut is None:
                raise BadArguments(
                    "panics are counted by signature, host, kernel, hw or ring.", example=example
                )
            del words[at : at + (2 if low == "by" else 1)]
            return cut, " ".join(words)
    plain = [w for w in split_words(line) if w.key is None] if line else []
    if example is TOP_EXAMPLE and len(plain) == 1 and plain[0].value.lower() in _NAMES:
        words = [w for w in words if w.lower() != plain[0].value.lower()]
        return _NAMES[plain[0].value.lower()], " ".join(words)
    return None, line


def _days(filters: Filters, now: datetime) -> tuple[date, date]:
    """The first day and the last, both counted whole."""
    today = now.astimezone(UTC).date()
    last = today
    if filters.until is not None:
        last = min(today, (filters.until - timedelta(microseconds=1)).astimezone(UTC).date())
    first = filters.since.astimezone(UTC).date() if filters.since else last - timedelta(days=DAYS - 1)
    if first > last:
        raise BadArguments("those days are still to come.", example=TOP_EXAMPLE)
    return first, last
