"""Reports that two CPUs wrote into each other, line by line, where printk gave no caller ids: where they
stand, and the text with each report's lines together again. `weaver` gives the lines to their writers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from integrations.kernel.framing import split_stamps, undress
from integrations.kernel.reports import BOOT, REPORTISH, Head
from integrations.kernel.weaver import CUT, OPENERS, Weaver

_NEAR_LINES = 120
_NEAR_BYTES = 24 * 1024
_MOST_LINES = 1500
_QUIET_LINES = 40
_LONGEST_SECONDS = 60.0
_LOCK_STACKS = re.compile(r"\s*(?:Showing all locks|-> #\d|the existing dependency|Sched Debug)")


@dataclass(slots=True)
class Parted:
    """The text with each report's lines together, and for each parted report's head (its line's start) the
    number of trace lines that could be another's."""

    text: str
    unsure: Mapping[int, int]


def _clusters(text: str, heads: list[Head]) -> list[tuple[int, int]]:
    """Start of the first head and of what follows the last, for each run of heads so near that they may overlap."""
    openers = [h for h in heads if h.rule.weight in OPENERS and h.line.context is None and not h.line.foreign]
    starts = [h.start for h in openers] + [len(text)]
    found: list[tuple[int, int]] = []
    first = 0
    for at in range(len(openers)):
        low, high = starts[at], starts[at + 1]
        near = at + 1 < len(openers) and high - low <= _NEAR_BYTES
        if near and text.count("\n", low, high) <= _NEAR_LINES and text.find("---[ end trace", low, high) < 0:
            continue
        if at > first:
            found.append((starts[first], high))
        first = at + 1
    return found


def _lead_start(text: str, start: int) -> int:
    for _ in range(2):
        before = text.rfind("\n", 0, max(0, start - 1)) + 1
        if start == 0 or not CUT.match(undress(text[before : min(start, before + 512)]).text):
            break
        start = before
    return start


def _weave(text: str, start: int, stop: int, heads: Mapping[int, list[Head]]) -> tuple[Weaver, int]:
    """Reads from `start` to where the reports end, at most to `stop`; returns where that was."""
    weaver = Weaver()
    at, quiet = start, 0
    began: float | None = None
    while at < stop and len(weaver.lines) < _MOST_LINES and quiet <= _QUIET_LINES:
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        parts = [undress(part) for part in split_stamps(text[at : min(end, at + 8192)])]
        if any(
            line.context is not None or BOOT.match(line.text) or _LOCK_STACKS.match(line.text)
            for line in parts
        ):
            break
        stamps = [line.stamp for line in parts if line.stamp is not None]
        began = stamps[0] if began is None and stamps else began
        if began is not None and any(not -1.0 <= stamp - began <= _LONGEST_SECONDS for stamp in stamps):
            break
        for line in parts:
            head = next((h for h in heads.get(at, ()) if h.line.raw == line.raw), None)
            if head is not None and head.rule.weight != "note":
                weaver.head(head, line)
            else:
                weaver.other(line)
        quiet = 0 if any(not line.text or REPORTISH.match(line.text) for line in parts) else quiet + 1
        at = end + 1
    return weaver, min(at, len(text))


def part(text: str, heads: list[Head]) -> Parted | None:
    """Parts reports that stand in each other; None where none is proven to. Linear in the text."""
    clusters = _clusters(text, heads)
    if not clusters:
        return None
    by_start: dict[int, list[Head]] = {}
    for head in heads:
        by_start.setdefault(head.start, []).append(head)
    pieces: list[str] = []
    unsure: dict[int, int] = {}
    done = size = 0
    for first, stop in clusters:
        start = max(done, _lead_start(text, first))
        weaver, end = _weave(text, start, stop, by_start)
        if len(weaver.tracks) < 2 or not weaver.interleaved():
            continue
        weaver.finish()
        weaver.straighten()
        pieces.append(text[done:start])
        size += start - done
        for track in weaver.tracks:
            for number in track.lines:
                raw = weaver.lines[number].raw
                if number == track.head:
                    unsure[size] = track.unsure
                pieces.append(raw + "\n")
                size += len(raw) + 1
        done = end
    return Parted("".join([*pieces, text[done:]]), unsure) if unsure else None
