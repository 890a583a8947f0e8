"""pstore's pieces in order: the kernel writes the newest part first, `Panic#1 Part1` being the log's end."""

from __future__ import annotations

import re

_PART = re.compile(
    r"^(?:Panic|Oops|Emergency|Shutdown|Restart|Halt|Poweroff|Unknown|MCE|Crash)#(\d{1,6}) Part(\d{1,6})\r?$",
    re.MULTILINE,
)
_TRIES = 64
_FILE_NAME = re.compile(r"\s*dmesg-[\w-]{1,80}:?\s*\Z")


def looks_like_parts(text: str) -> bool:
    at = text.find(" Part")
    for _ in range(_TRIES):
        if at < 0:
            return False
        start = text.rfind("\n", 0, at) + 1
        if _PART.match(text, start):
            return True
        at = text.find(" Part", at + 5)
    return False


def join_parts(text: str) -> str:
    """Puts `<reason>#N PartM` pieces of each N in the order they were logged (M descending); the headers and
    the file names that systemd writes between pieces are dropped. Text before the first piece stays first."""
    marks = list(_PART.finditer(text))
    if not marks:
        return text
    lead = text[: marks[0].start()]
    pieces: list[tuple[int, int, int, str]] = []
    for order, mark in enumerate(marks):
        end = marks[order + 1].start() if order + 1 < len(marks) else len(text)
        body = text[mark.end() + 1 : end]
        last = body.rfind("\n", 0, len(body) - 1)
        if _FILE_NAME.match(body[last + 1 :]):
            body = body[: last + 1]
        pieces.append((int(mark[1]), -int(mark[2]), order, body))
    first_seen: dict[int, int] = {}
    for number, _, order, _ in pieces:
        first_seen.setdefault(number, order)
    pieces.sort(key=lambda piece: (first_seen[piece[0]], piece[1], piece[2]))
    joined: list[str] = [] if _FILE_NAME.match(lead) else [lead]
    for _, _, _, body in pieces:
        joined.append(body if body.endswith("\n") else body + "\n")
    return "".join(joined)
