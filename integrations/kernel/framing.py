"""What loggers put around a kernel's words: taken off here, one line at a time.

Known: printk times and caller ids, `<4>` levels, syslog (short, ISO) and journald prefixes, journald's and
other loggers' JSON, `dmesg -T` and `-x`, serial console with CR, ANSI and login prompts, ramoops and pstore.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple


class Line(NamedTuple):
    """One line: `raw` as it stood, `text` without prefixes, `stamp` in seconds since boot, `context` the
    printk caller (`T123`, `C1`), `foreign` when a program, not the kernel, spoke."""

    raw: str
    text: str
    stamp: float | None
    context: str | None
    foreign: bool


_STAMP = re.compile(
    r"\[ {0,8}(\d{1,9}\.\d{5,9})(?:,\d)?\]"
    r"(?:\[ {0,8}([TC]\d{1,9})\]| {0,2}-?\( {0,4}\d{1,4}\)(?:\[\d{1,9}:[^\]\[]{1,32}\])?)?"
    r"(?:[A-Z ]? {0,2}\[\d{1,4}: {0,20}[^\]\[]{1,24}: {0,8}\d{1,8}\])? ?"
)
_LOOSE_CALLER = re.compile(r"\[ {0,8}([TC]\d{1,9})\] ?")
_ANSI = re.compile(r"\x1b(?:\[[0-9;?]{0,16}[A-Za-z]|\][^\x07\x1b]{0,64}\x07|[()][A-Z0-9]|[=>78cDEHM])")
_TIME = (
    r"(?:(?:[A-Z][a-z]{2} +)?[A-Z][a-z]{2} +\d{1,2} \d{2}:\d{2}:\d{2}(?:\.\d+)?(?: \d{4})?"
    r"|\d{4}[-/]\d{2}[-/]\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?)"
)
_SYSLOG = re.compile(
    rf"\s{{0,4}}(?:<\d{{1,3}}>)?(?:1 )?{_TIME} (?P<host>[\w.:-]{{1,80}}) "
    r"(?:[a-z]{2,8}\.[a-z]{2,8} )?(?P<tag>[\w./@()\\-]{1,64})(?:\[\d{1,10}\])?"
    r"(?:: ?| (?:\d{1,10}|-) \S{1,32} (?:-|\[[^\]]{0,200}\]) )"
)
_BARE_TIME = re.compile(rf"\s{{0,4}}(?:[a-z]{{3,8}} *:[a-z]{{3,6}} *: )?(?:\[{_TIME}\] ?|{_TIME} (?:: )?)")
_LEVEL = re.compile(r"(?:<\d{1,3}>|kern {2}:[a-z]{3,6} *: )")
_PROGRAM = re.compile(r"[a-z_][\w.@/-]{1,40}\[\d{1,10}\]: (?!segfault at|unhandled signal)")
_KERNEL_TAGS = frozenset({"kernel", "KERNEL", "vmunix", "unix"})


def undress(raw: str) -> Line:
    """Takes the prefixes off one line. Constant work per byte, no exception on any text."""
    line = raw.strip("\r\n")
    text = _ANSI.sub("", line) if "\x1b" in line else line
    if "\r" in text:
        text = text.rsplit("\r", 1)[-1] or text
    stamp: float | None = None
    context: str | None = None
    foreign = False
    found = (_STAMP.match(text) or _STAMP.search(text, 1, 400)) if "[" in text else None
    if found:
        before = text[: found.start()]
        text = text[found.end() :]
        stamp = float(found[1])
        context = found[2]
        if len(before) > 4:
            tagged = _SYSLOG.match(before)
            foreign = bool(tagged and tagged["tag"] not in _KERNEL_TAGS)
        if not context and text.startswith("[") and (caller := _LOOSE_CALLER.match(text)):
            context = caller[1]
            text = text[caller.end() :]
    else:
        level = _LEVEL.match(text)
        if level:
            text = text[level.end() :]
        tagged = _SYSLOG.match(text) if text[:40].count(":") >= 2 else None
        if tagged:
            text = text[tagged.end() :]
            foreign = tagged["tag"] not in _KERNEL_TAGS
        elif timed := _BARE_TIME.match(text):
            text = text[timed.end() :]
        if text.startswith("<") and (level := _LEVEL.match(text)):
            text = text[level.end() :]
        if text.startswith("[") and (caller := _LOOSE_CALLER.match(text)):
            context = caller[1]
            text = text[caller.end() :]
    if text.startswith("<") and (level := _LEVEL.match(text)):
        text = text[level.end() :]
    if "[" in text[:48] and _PROGRAM.match(text):
        foreign = True
    return Line(line, text, stamp, context, foreign)


def split_stamps(raw: str) -> list[str]:
    """One console line into several where another printk time stands inside it: two CPUs wrote at once."""
    if raw.count("[") < 2:
        return [raw]
    marks = [m.start() for m in _STAMP.finditer(raw)]
    if len(marks) < 2:
        return [raw]
    cuts = [0, *marks[1:], len(raw)]
    return [raw[a:b] for a, b in pairwise(cuts)]


def undress_all(raws: Iterable[str]) -> Iterator[Line]:
    for raw in raws:
        for part in split_stamps(raw):
            yield undress(part)


_MESSAGE_FIELDS = ("MESSAGE", "data", "message", "msg", "log", "text")
_MONOTONIC = ("_SOURCE_MONOTONIC_TIMESTAMP", "__MONOTONIC_TIMESTAMP")


def looks_like_json(text: str) -> bool:
    """Whether the text is JSON lines of a logger: the first line with anything in it opens an object."""
    head = text[:4096].lstrip()
    return head.startswith("{") and any(f'"{name}"' in head for name in _MESSAGE_FIELDS)


def _json_message(record: dict[str, object]) -> str | None:
    for name in _MESSAGE_FIELDS:
        value = record.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, list) and value and all(isinstance(b, int) and 0 <= b < 256 for b in value):
            return bytes(value).decode("utf-8", "replace")
    return None


def from_json_lines(text: str) -> str:
    """JSON lines -> plain text: one kernel line a record, `[seconds] ` before it when the record has a
    monotonic time, `identifier[pid]: ` before it when a program spoke. Records of several senders (`from`)
    are kept apart, one sender after another. Lines that are no JSON object are passed on as they are."""
    senders: dict[str, list[str]] = {}
    for line in text.split("\n"):
        out = senders.setdefault("", []) if not senders else next(iter(senders.values()))
        stripped = line.strip()
        if not stripped.startswith("{"):
            if stripped:
                out.append(line)
            continue
        try:
            record = json.loads(stripped)
        except (ValueError, RecursionError):
            out.append(line)
            continue
        message = _json_message(record) if isinstance(record, dict) else None
        if message is None:
            continue
        sender = record.get("from")
        out = senders.setdefault(str(sender) if isinstance(sender, str) else "", [])
        prefix = ""
        for name in _MONOTONIC:
            value = record.get(name)
            if isinstance(value, str) and value.isdecimal() and len(value) < 19:
                prefix = f"[{int(value) / 1e6:12.6f}] "
                break
        identifier = record.get("SYSLOG_IDENTIFIER")
        if isinstance(identifier, str) and identifier != "kernel" and record.get("_TRANSPORT") != "kernel":
            prefix += f"{identifier}[0]: "
        out.extend(prefix + part for part in message.rstrip("\n").split("\n"))
    return "\n".join("\n".join(lines) for lines in senders.values())
