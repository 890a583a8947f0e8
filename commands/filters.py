"""The filter language of `/panic list`, `trends`, `export`: `host:web-* kernel:6.1.* since:7d "free words"`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from commands.errors import BadArguments
from integrations.kernel import Kind
from integrations.slack.text import clean
from storage import IncidentState, parse_ref
from storage.filters import Filters, Match, Pattern, Releases, Sort, kernel_order

EXAMPLE = "/panic list host:web-* kernel:6.1.* since:7d"
MAX_LENGTH = 500  # of all filters together: they travel in the value of the paging buttons
MAX_VALUE = 120

KEYS: Mapping[str, str] = {
    "host": "host:web-*",
    "kernel": "kernel:6.1.*",
    "since": "since:7d",
    "until": "until:2026-11-20",
    "kind": "kind:null_deref",
    "state": "state:open",
    "ring": "ring:prod-2",
    "hw": 'hw:"PowerEdge R640"',
    "sig": "sig:P-41",
    "change": "change:OPS-1182",
    "has": "has:dump",
    "sort": "sort:host",
}
_ALIASES = {
    "hosts": "host",
    "kernels": "kernel",
    "release": "kernel",
    "from": "since",
    "to": "until",
    "before": "until",
    "after": "since",
    "type": "kind",
    "status": "state",
    "hardware": "hw",
    "signature": "sig",
    "ticket": "change",
    "order": "sort",
}
_FIELDS = {
    "host": "host",
    "kernel": "kernel",
    "ring": "ring",
    "hw": "hardware",
    "kind": "kind",
    "sig": "signature",
    "change": "change",
}
_STATES: Mapping[str, tuple[str, ...]] = {
    "open": (IncidentState.OPEN,),
    "acknowledged": (IncidentState.ACKNOWLEDGED,),
    "ack": (IncidentState.ACKNOWLEDGED,),
    "acked": (IncidentState.ACKNOWLEDGED,),
    "active": (IncidentState.OPEN, IncidentState.ACKNOWLEDGED),
    "unresolved": (IncidentState.OPEN, IncidentState.ACKNOWLEDGED),
    IncidentState.RESOLVED.value: (IncidentState.RESOLVED,),
    "closed": (IncidentState.RESOLVED,),
    "merged": (IncidentState.MERGED,),
    "none": ("none",),
}
_AGES = {"m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_AGE = re.compile(r"\A([0-9]{1,6})\s*(m|min|h|d|w|y)\Z")
_QUOTES = {'"': '"', "“": "”", "”": "”", "„": "“", "'": "'", "‘": "’"}
_SLACK_LINK = re.compile(r"<(?:https?://|mailto:|[@#!])[^<>|]*\|([^<>|]*)>")
_KEY = re.compile(r"([A-Za-z][A-Za-z_]{0,19}):")


@dataclass(frozen=True)
class Word:
    """A token of the line: a free word (`key` is None) or a filter and its value."""

    key: str | None
    value: str
    quoted: bool = False


def parse_filters(line: str, now: datetime) -> Filters:
    """Raises BadArguments, and nothing else, whatever the text. `now` is what `7d` counts from."""
    words = split_words(line)
    filters = Filters()
    for word in words:
        if word.key is None:
            filters = replace(filters, words=(*filters.words, word.value))
        else:
            filters = _with(filters, word, now)
    if filters.since and filters.until and filters.since >= filters.until:
        _bad("`since:` is not before `until:`, so nothing could match.", "/panic list since:14d until:7d")
    return filters


def split_words(line: str) -> list[Word]:
    """Tokens; quotes may enclose a word or a filter's value, `host: web-1` is `host:web-1`."""
    text = tidy(line)
    if len(text) > MAX_LENGTH:
        _bad(f"that is {len(text)} characters of filters; at most {MAX_LENGTH} are read.")
    words: list[Word] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        key, at = _take_key(text, at)
        if key is not None:
            while at < len(text) and text[at].isspace():
                at += 1
            if at == len(text) or _KEY.match(text, at):
                _bad(f"`{key}:` has no value.", f"/panic list {KEYS[key]}")
        value, at, quoted = _take_value(text, at)
        if len(value) > MAX_VALUE:
            _bad(f"a value of {len(value)} characters is too long; at most {MAX_VALUE} are read.")
        if key is not None and not value.strip():
            _bad(f"`{key}:` has no value.", f"/panic list {KEYS[key]}")
        if value.strip():
            words.append(Word(key, value.strip(), quoted))
    return words


def tidy(line: str) -> str:
    """The line as it was typed: without Slack's links, entities, control and unencodable characters."""
    line = _SLACK_LINK.sub(r"\1", line)
    line = line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return clean(line.encode("utf-8", "replace").decode("utf-8")).strip()


def _take_key(text: str, at: int) -> tuple[str | None, int]:
    found = _KEY.match(text, at)
    if found is None:
        return None, at
    typed = found.group(1).lower()
    key = _ALIASES.get(typed, typed)
    if key not in KEYS:
        near = difflib.get_close_matches(typed, [*KEYS, *_ALIASES], n=1, cutoff=0.6)
        hint = f"; did you mean `{_ALIASES.get(near[0], near[0])}:`?" if near else "."
        _bad(
            f"there is no filter `{typed}:`{hint} Known are {', '.join(f'`{k}:`' for k in KEYS)}. "
            'To search for a word with a colon, put it in quotes ("…").'
        )
    return key, found.end()


def _take_value(text: str, at: int) -> tuple[str, int, bool]:
    close = _QUOTES.get(text[at])
    if close is None:
        end = at
        while end < len(text) and not text[end].isspace():
            end += 1
        return text[at:end], end, False
    closing = '"“”' if close in '"“”' else close
    ends = [i for i in range(at + 1, len(text)) if text[i] in closing]
    if not ends:
        _bad("a quote is not closed.", '/panic list hw:"PowerEdge R640"')
    return text[at + 1 : ends[0]], ends[0] + 1, True


def _with(filters: Filters, word: Word, now: datetime) -> Filters:
    assert word.key is not None
    if word.key == "since":
        return replace(filters, since=_moment(word.value, now, end_of_day=False, key="since"))
    if word.key == "until":
        return replace(filters, until=_moment(word.value, now, end_of_day=True, key="until"))
    values = [word.value] if word.quoted else [v for v in word.value.split(",") if v]
    if not values:
        _bad(f"`{word.key}:` has no value.", f"/panic list {KEYS[word.key]}")
    if word.key == "has":
        return _having(filters, values)
    if word.key == "sort":
        return replace(filters, sort=_sort(word.value))
    if word.key == "kernel" and any(".." in v for v in values):
        ranges = (*filters.releases, *(_releases(v) for v in values if ".." in v))
        filters, values = replace(filters, releases=ranges), [v for v in values if ".." not in v]
    if word.key == "state":
        return replace(filters, states=(*filters.states, *(s for v in values for s in _state(v))))
    if word.key == "sig":
        for value in values:
            panic_id = parse_ref(value, "P")
            if panic_id is not None:
                filters = replace(filters, same_as=(*filters.same_as, panic_id))
            else:
                filters = replace(filters, signature=(*filters.signature, _pattern(value)))
        return filters
    read: Callable[[str], Pattern] = {"kind": _kind, "hw": _hardware, "change": _change}.get(
        word.key, _pattern
    )
    field = _FIELDS[word.key]
    patterns: Any = (*getattr(filters, field), *map(read, values))
    return replace(filters, **{field: patterns})


def _pattern(value: str) -> Pattern:
    if value.startswith("=") and len(value) > 1:
        return Pattern(value[1:], Match.EXACT)
    if "*" in value or "?" in value:
        return Pattern(value, Match.GLOB)
    return Pattern(value, Match.PREFIX)


def _releases(value: str) -> Releases:
    """`6.1.0-20..6.1.0-31`; one of the ends may be left out."""
    low, _, high = value.partition("..")
    if ".." in high or not (low or high) or set("*?") & set(value):
        _bad(f"{_shown(value)} is no range of kernels.", "/panic list kernel:6.1.0-20..6.1.0-31")
    made = Releases(low.removeprefix("="), high.removeprefix("="))
    if high and kernel_order(made.high) < kernel_order(made.low):
        _bad(
            f"in {_shown(value)} the first kernel is the higher one, so nothing could match.",
            "/panic list kernel:6.1.0-20..6.1.0-31",
        )
    return made


def _change(value: str) -> Pattern:
    """A ticket is meant whole: OPS-1 is not the beginning of OPS-1182."""
    pattern = _pattern(value)
    return Pattern(value, Match.EXACT) if pattern.how is Match.PREFIX else pattern


def _having(filters: Filters, values: list[str]) -> Filters:
    for value in values:
        if value.lower() not in ("dump", "dumps", "vmcore"):
            _bad(
                f"{_shown(value)} is nothing a panic can have: `has:dump` finds those whose dump is there.",
                "/panic list has:dump",
            )
    return replace(filters, dump=True)


def _sort(value: str) -> Sort:
    try:
        return Sort(value.lower())
    except ValueError:
        _bad(f"there is no order {_shown(value)}: newest, oldest, host or kernel.", "/panic list sort:host")


def _hardware(value: str) -> Pattern:
    """Hardware names begin with the vendor's ("Dell Inc. PowerEdge R640"): a part of one is enough."""
    pattern = _pattern(value)
    return Pattern(value, Match.CONTAINS) if pattern.how is Match.PREFIX else pattern


def _kind(value: str) -> Pattern:
    pattern = _pattern(re.sub(r"[\s-]+", "_", value.lower()))
    names = [k.value for k in Kind]
    if not any(pattern.matches(name) for name in names):
        near = difflib.get_close_matches(pattern.text, names, n=3, cutoff=0.4)
        hint = (
            f"did you mean {' or '.join(f'`{n}`' for n in near)}?"
            if near
            else "`/panic help list` names some."
        )
        _bad(f"no kind of panic is called {_shown(value)}; {hint}", "/panic list kind:null_deref")
    return pattern


def _state(value: str) -> tuple[str, ...]:
    states = _STATES.get(value.lower())
    if states is None:
        _bad(
            f"there is no state {_shown(value)}: open, acknowledged, active (both), resolved, merged or none.",
            "/panic list state:active",
        )
    return states


def _moment(value: str, now: datetime, *, end_of_day: bool, key: str) -> datetime:
    """A moment in UTC: an age (`7d`), `today`, `yesterday`, or ISO 8601 (UTC where no zone is given)."""
    typed = value.lower().removesuffix(" ago")
    day = timedelta(days=1)
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        if typed == "now":
            return now
        if typed in ("today", "yesterday"):
            start = midnight if typed == "today" else midnight - day
            return start + day if end_of_day else start
        age = _AGE.match(typed)
        if age is not None:
            return now - timedelta(seconds=int(age.group(1)) * _AGES[age.group(2)])
        if not typed.isascii():
            raise ValueError(typed)
        moment = datetime.fromisoformat(value.upper())
        # A date alone means the whole day.
        if re.fullmatch(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}|[0-9]{4}-?W[0-9]{2}(?:-?[0-9])?", value.upper()):
            return moment.replace(tzinfo=UTC) + (day if end_of_day else timedelta())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        _bad(
            f"{_shown(value)} is no time I can read for `{key}:`. Say an age (30m, 24h, 7d, 2w), today, "
            "yesterday, or a date (2026-11-20, 2026-11-20T14:00Z; UTC where no zone is given).",
            f"/panic list {KEYS[key]}",
        )


def _shown(value: str) -> str:
    """What was typed, for an error message in Slack: short, and without meaning."""
    short = value if len(value) <= 40 else value[:39] + "…"
    safe = short.replace("`", "'").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"`{safe}`"


def _bad(message: str, example: str = EXAMPLE) -> NoReturn:
    raise BadArguments(message, example=example)
