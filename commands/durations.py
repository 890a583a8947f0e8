"""Lengths of time as people write them in settings and commands: `90`, `90s`, `30m`, `24h`, `7d`, `1h30m`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LONGEST = timedelta(days=3650)


def read_duration(value: object) -> timedelta:
    """Seconds as a number, or text such as `45s`, `30m`, `24h`, `7d`, `1h30m`.

    Raises ValueError for anything else, for negative lengths and for more than ten years.
    """
    if isinstance(value, timedelta):
        length = value
    elif isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(_hint(value))  # noqa: TRY004 - pydantic reports ValueErrors, not TypeErrors
    elif isinstance(value, str):
        length = _read_text(value)
    else:
        length = _of_seconds(float(value), value)
    if length < timedelta(0) or length > _LONGEST:
        raise ValueError(f"{value!r} is out of range: a length of time is between 0 and 3650d")
    return length


def write_duration(length: timedelta) -> str:
    """The shortest text that `read_duration` reads back: `1d12h`, `30m`, `0s`."""
    milliseconds = round(length.total_seconds() * 1000)
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, milliseconds = divmod(milliseconds, round(_SECONDS[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _read_text(text: str) -> timedelta:
    stripped = text.strip().lower()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", stripped):
        return _of_seconds(float(stripped), text)
    position, seconds = 0, 0.0
    while position < len(stripped):
        part = _PART.match(stripped, position)
        if part is None:
            raise ValueError(_hint(text))
        seconds += float(part.group(1)[:20]) * _SECONDS[part.group(2)]
        position = part.end()
        while position < len(stripped) and stripped[position] == " ":
            position += 1
    if not stripped:
        raise ValueError(_hint(text))
    return _of_seconds(seconds, text)


def _of_seconds(seconds: float, given: object) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except (OverflowError, ValueError) as error:
        raise ValueError(_hint(given)) from error


def _hint(value: object) -> str:
    return f"{str(value)[:40]!r} is no length of time; write seconds (90) or 45s, 30m, 24h, 7d, 1h30m"


def _positive(value: Any) -> timedelta:
    length = read_duration(value)
    if not length:
        raise ValueError("must be longer than 0; write seconds (90) or 45s, 30m, 24h, 7d")
    return length


_As_text = PlainSerializer(write_duration, return_type=str, when_used="json")

Duration = Annotated[timedelta, BeforeValidator(read_duration), _As_text]
PositiveDuration = Annotated[timedelta, BeforeValidator(_positive), _As_text]
