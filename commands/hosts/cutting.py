"""What is kept of a long log: of a journal its end, of a dmesg the crash and what led to it. Pure.

What is left out is counted where it stood, and told; the whole goes to the store (`originals.py`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from integrations.kernel.reports import Report, find_heads, gather, group

Sort = Literal["journal", "dmesg"]
MIB = 1024 * 1024
FETCHED = 8 * MIB  # of a log that a host sends: this much is its whole
LINES_BEFORE = 200
_LINES_AFTER = 20
_BEFORE = 64 * 1024  # a log may have very long lines
_LED_TO = 64 * 1024  # a memory error this far ahead of a death may be its cause
_CRASH = MIB
_BOOT_LINES = 4
_MOST_CRASHES = 33
_SPARE = 64  # bytes of the line that says what is left out
_LOGS: dict[str, Sort] = {"journalctl": "journal", "dmesg": "dmesg"}


@dataclass(frozen=True)
class Cut:
    """What is kept. `told`: what was left out, in plain words; None where nothing was."""

    data: bytes
    told: str | None = None


def sort_of(argv: Sequence[str]) -> Sort | None:
    """Which sort of log a command prints; None for anything else."""
    program = next((w for w in argv if not w.startswith("-") and posixpath.basename(w) != "sudo"), "")
    return _LOGS.get(posixpath.basename(program))


def cut(sort: Sort, data: bytes, most: int = MIB) -> Cut:
    """At most `most` bytes of a log."""
    return cut_journal(data, most) if sort == "journal" else cut_dmesg(data, most)


def cut_journal(data: bytes, most: int = MIB) -> Cut:
    """The end of a journal, from the beginning of a line."""
    if len(data) <= most:
        return Cut(data)
    begin = len(data) - most + _SPARE
    begin = data.find(b"\n", begin - 1) + 1 or begin
    kept = data[begin:]
    left = data[:begin]
    return Cut(_left_out(left) + kept, f"its last {len(kept)} of {len(data)} bytes are kept")


def cut_dmesg(data: bytes, most: int = MIB) -> Cut:
    """The first crash with the 200 lines before it, whole; then the last crash and the others while there is room.
    Of a log without a crash, its end. The lines that name the kernel stay where they stand before the crash."""
    if len(data) <= most:
        return Cut(data)
    text = data.decode("utf-8", "surrogateescape")
    crashes = _crashes(text)
    if not crashes:
        kept = cut_journal(data, most)
        return Cut(kept.data, f"there is no crash in it: {kept.told}")
    spans, room = [crashes[0]], most - 4 * _SPARE - _size(text, crashes[0])
    boot = _boot(text, crashes[0][0])
    for span in [*boot, *crashes[-1:], *crashes[1:-1]]:
        size = _size(text, span) + 2 * _SPARE
        if size <= room:
            spans.append(span)
            room -= size
    pieces: list[bytes] = []
    at = left = 0
    for begin, end in _merged(spans):
        if begin > at:
            left += begin - at
            pieces.append(_left_out(_raw(text[at:begin])))
        pieces.append(_raw(text[begin:end]))
        at = end
    if at < len(text):
        pieces.append(_left_out(_raw(text[at:])))
    made = b"".join(pieces)
    if len(made) > most:  # one crash of endless lines
        made = made[: most - _SPARE] + b"\n" + _left_out(made[most - _SPARE :])
    others = sum(_within(span, spans) for span in crashes)
    which = "the crash" if len(crashes) == 1 else f"{others} of {len(crashes)} crashes"
    return Cut(
        made, f"{which} and the {LINES_BEFORE} lines before are kept, {len(made)} of {len(data)} bytes"
    )


Span = tuple[int, int]


def _crashes(text: str) -> list[Span]:
    """Where the crashes stand, each with its context, in order; the first warning where nothing crashed."""
    reports = group(text, find_heads(text))
    told = [n for n, report in enumerate(reports) if report.crash]
    if not told:
        told = [n for n, report in enumerate(reports) if report.head.rule.rank == 2][:1]
    chosen = told[:1] + told[1:][-(_MOST_CRASHES - 1) :]
    found = []
    for number in chosen:
        gather(text, reports, number)
        report = reports[number]
        begin = _lines_before(text, _led_to(reports, number))
        end = min(max(report.end, report.head.start), report.head.start + _CRASH)
        found.append((begin, _lines_after(text, end)))
    return found


def _led_to(reports: Sequence[Report], number: int) -> int:
    """Where it began: a memory error or a warning shortly before a death belongs to it."""
    start = reports[number].head.start
    for before in reports[max(0, number - 8) : number]:
        if before.head.rule.rank >= 2 and start - before.head.start <= _LED_TO:
            return before.head.start
    return start


def _lines_before(text: str, at: int) -> int:
    begin, floor = at, max(0, at - _BEFORE)
    for _ in range(LINES_BEFORE):
        if begin <= floor:
            break
        begin = text.rfind("\n", floor, begin - 1) + 1 or floor
    return begin


def _lines_after(text: str, at: int) -> int:
    end = at if at == 0 or text[at - 1 : at] == "\n" else (text.find("\n", at, at + _BEFORE) + 1 or at)
    for _ in range(_LINES_AFTER):
        following = text.find("\n", end, at + _BEFORE) + 1
        if not following:
            break
        end = following
    return min(end, len(text)) if text.find("\n", end) >= 0 else _end(text, end, at)


def _end(text: str, end: int, at: int) -> int:
    """The log's last line may lack its line end."""
    return len(text) if len(text) - at <= _BEFORE else end


def _boot(text: str, before: int) -> list[Span]:
    """Which kernel it was, and what it was started with."""
    version = text.rfind("Linux version ", 0, before)
    if version < 0:
        return []
    begin = max(text.rfind("\n", 0, version) + 1, version - 4096)
    end = begin
    for _ in range(_BOOT_LINES):
        end = text.find("\n", end, begin + 8192) + 1 or end
    return [(begin, min(end, before))] if end > begin else []


def _merged(spans: Sequence[Span]) -> list[Span]:
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _within(span: Span, spans: Sequence[Span]) -> bool:
    return any(begin <= span[0] and span[1] <= end for begin, end in _merged(spans))


def _size(text: str, span: Span) -> int:
    return len(_raw(text[span[0] : span[1]]))


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _left_out(data: bytes) -> bytes:
    """The line in place of what is left out."""
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    return b"[panicroom: %d lines, %d bytes left out]\n" % (lines, len(data))
