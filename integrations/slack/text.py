"""Text for Slack that does nothing but be read.

Slack gives meaning to `&`, `<` and `>` (mentions, links, dates) and to a few marks (`*`, `_`, `~`, backtick).
Source: Slack's "Formatting text for app surfaces".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

_ANSI = re.compile(r"(?:\x1b\[|\x9b)[0-9;?]*[ -/]*[@-~]")
# C0 and C1 controls; zero-width and bidirectional marks; tags; halves of surrogate pairs, which no UTF-8 holds.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
# Word joiners around a mark keep Slack from reading it as formatting and are not seen. An underscore inside a
# word formats nothing and stays as it is, so that a function's name can be copied from a message.
_MARKS = re.compile(r"([*~`]|(?<![A-Za-z0-9_])_|_(?![A-Za-z0-9_]))")
_EMOJI = re.compile(r":(?=[A-Za-z0-9_+'-]+:)")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_QUOTE = re.compile(r"^(?=[ \t]*&gt;)", re.MULTILINE)


def clean(text: str) -> str:
    """The text without ANSI sequences, control and bidirectional characters (tabs and newlines stay)."""
    return _CONTROL.sub("", _ANSI.sub("", text.replace("\r\n", "\n")))


def escape(text: str) -> str:
    """Text of a stranger, for a mrkdwn field: no mention, no link, no channel call, no formatting, no emoji."""
    text = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _MARKS.sub("\u2060\\1\u2060", text)
    return _QUOTE.sub("\u2060", _EMOJI.sub(":\u2060", text))


def code(text: str) -> str:
    """Inline code: one line, with backticks made harmless."""
    text = " ".join(clean(text).split()).replace("`", "ˋ")
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"`{text}`" if text else "`-`"


def code_block(text: str, *, limit: int = 2900) -> str:
    """A fenced block of at most `limit` characters (a section's text holds 3,000), cut at the front.

    The end of a kernel's log is the part that says why it died, so the beginning is what goes.
    """
    whole = clean(text).replace("```", "ˋˋˋ")
    kept, size = "", 0
    for character in reversed(whole[-limit:]):
        size += len(_ENTITIES.get(character, character))
        if size > limit:
            break
        kept = character + kept
    if len(kept) < len(whole):
        newline = kept.find("\n")
        kept = "…\n" + (kept[newline + 1 :] if 0 <= newline < limit // 2 else kept)
    text = kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"```\n{text}\n```"


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis when something was cut. Use before escaping."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def date(moment: datetime, style: str = "{date_short_pretty} {time_secs}") -> str:
    """A time that each reader sees in their own zone; the fallback is UTC."""
    fallback = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"<!date^{int(moment.timestamp())}^{style}|{fallback}>"


def user(user_id: str) -> str:
    """A person named without being mentioned in a host's text; only ids that look like ids become mentions."""
    return f"<@{user_id}>" if re.fullmatch(r"[UW][A-Z0-9]{2,20}", user_id) else escape(user_id)


def sections(lines: Sequence[str], limit: int = 2900) -> list[str]:
    """Whole lines joined to texts of at most `limit` characters (a section's text holds 3,000)."""
    made: list[str] = []
    for line in lines:
        if made and len(made[-1]) + 1 + len(line) <= limit:
            made[-1] += f"\n{line}"
        else:
            made.append(shorten(line, limit))
    return made


def cut_mrkdwn(text: str, limit: int) -> str:
    """At most `limit` characters of text that is escaped already: no entity, link or date is cut in two."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    for opened, closed in (("<", ">"), ("&", ";")):
        start = cut.rfind(opened)
        if start > cut.rfind(closed):
            cut = cut[:start]
    return cut.rstrip() + "…"
