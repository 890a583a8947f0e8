"""What a person types about a signature: `P-41 cause:"…" fixed:6.1.0-40 ticket:OPS-1 a note`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from commands.errors import BadArguments
from integrations.changes import BadKey, read_key
from integrations.slack.text import clean, code, shorten
from storage.kernels import kernel_base

EXAMPLE = '/panic known P-41 cause:"queue freed twice" fixed:6.1.0-40 ticket:OPS-1182'
CAUSE_LIMIT, NOTE_LIMIT = 2000, 1000
_NOTHING = frozenset({"", "-", "none"})
_MARK = re.compile(r"(?<!\S)(cause|fixed(?: in)?|fixed_in|ticket|note)\s*:\s*", re.IGNORECASE)
_RELEASE = re.compile(r"[0-9][0-9A-Za-z._+~:-]{0,99}")
_QUOTES = {'"': '"', "“": "”", "”": "”", "'": "'", "‘": "’", "’": "’"}


@dataclass(frozen=True)
class Said:
    """What was said; None: nothing of it, "": it is to be taken away."""

    cause: str | None = None
    ticket: str | None = None
    fixed_in: str | None = None
    note: str | None = None

    @property
    def nothing(self) -> bool:
        return self == Said()


def split_line(line: str) -> tuple[str | None, Said]:
    """(panic, incident or signature that is named; what is said of it). None where the line begins with what is said.

    A value in quotes ends with them; without, a ticket and a kernel are one word, and a cause goes on to the next
    mark. What no mark takes is the note, as it was typed. Raises BadArguments.
    """
    left = line.strip()
    named: str | None = None
    if left and _MARK.match(left) is None:
        named, left = _first(left)
    marks = list(_MARK.finditer(left))
    loose = [left[: marks[0].start()] if marks else left]
    found: dict[str, str] = {}
    at = 0
    for number, mark in enumerate(marks):
        if mark.start() < at:
            continue  # it stands inside the quotes of the one before
        name = mark.group(1).lower().split("_")[0].split()[0]
        following = marks[number + 1].start() if number + 1 < len(marks) else len(left)
        value, rest, at = _value(left, mark.end(), following, one_word=name in ("fixed", "ticket"))
        if name in found:
            raise BadArguments(f"`{name}:` stands there twice.", example=EXAMPLE)
        found[name] = value
        later = [m.start() for m in marks if m.start() >= at]
        loose.append(left[rest : min(later, default=len(left))])
    free = " ".join(part for part in (" ".join(p.split()) for p in loose) if part)
    note = found.get("note")
    if free:
        note = f"{note} {free}" if note else free
    return named, Said(
        cause=_text(found.get("cause"), CAUSE_LIMIT, "cause"),
        ticket=ticket(found["ticket"]) if "ticket" in found else None,
        fixed_in=release(found["fixed"]) if "fixed" in found else None,
        note=_text(note, NOTE_LIMIT, "note"),
    )


def ticket(text: str) -> str:
    """`OPS-1182`, from itself in any case or from its address; "" for none. Raises BadArguments."""
    if text.strip().lower() in _NOTHING:
        return ""
    try:
        key = read_key(text)
    except BadKey:
        key = ""
    if not key or len(key) > 60:
        raise BadArguments(
            f"{code(shorten(text.strip(), 40))} is no ticket key; they look like `OPS-1182`.", example=EXAMPLE
        )
    return key


def release(text: str) -> str:
    """A kernel's release; "" for none. Raises BadArguments for what cannot be put in order."""
    text = text.strip()
    if text.lower() in _NOTHING:
        return ""
    if not _RELEASE.fullmatch(text) or not kernel_base(text):
        raise BadArguments(
            f"{code(shorten(text, 40))} is no kernel release; they look like `6.1.0-40` or `6.1.0-40-amd64`.",
            example=EXAMPLE,
        )
    return text


def _text(text: str | None, limit: int, name: str) -> str | None:
    if text is None:
        return None
    text = clean(text).strip()
    if len(text) > limit:
        raise BadArguments(
            f"the {name} has {len(text)} characters; {limit} is the most. A ticket holds the rest.",
            example=EXAMPLE,
        )
    return "" if text.lower() in _NOTHING else text


def _first(text: str) -> tuple[str, str]:
    """The first word, or what stands in quotes at the beginning, and the rest."""
    closing = _QUOTES.get(text[0])
    if closing is not None and (end := text.find(closing, 1)) > 0:
        return text[1:end].strip(), text[end + 1 :].strip()
    words = text.split(None, 1)
    return words[0].strip("`"), words[1] if len(words) > 1 else ""


def _value(text: str, start: int, following: int, *, one_word: bool) -> tuple[str, int, int]:
    """(value, where free words go on, where marks count again) of what follows a mark."""
    if start < len(text) and (closing := _QUOTES.get(text[start])) is not None:
        end = text.find(closing, start + 1)
        if end > 0:
            return text[start + 1 : end], end + 1, end + 1
        if closing == '"' or closing == "”":
            raise BadArguments("a quote is not closed.", example=EXAMPLE)
    part = text[start:following]
    if not one_word:
        return part, following, following
    words = part.split(None, 1)
    if not words:
        return "", following, following
    return words[0], start + part.index(words[0]) + len(words[0]), following
