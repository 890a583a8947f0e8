"""What fits into a message of Slack's: measured, cut and divided without breaking what it means."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from integrations.slack import blocks as b

# Slack refuses blocks that are longer as a whole (msg_blocks_too_long). The figure is not documented; apps have
# met it a little above 13,200 characters of compact JSON.
MESSAGE_LIMIT = 12_900
SECTION = 2900  # a section holds 3,000 characters


def length(value: Any) -> int:
    """Characters of compact JSON, which is what Slack counts."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def linked(text: str, address: str | None) -> str:
    """A link only where the address can be one: nothing in it ends the link early. `text` is mrkdwn already."""
    if address and re.fullmatch(r"https?://[^\s<>|]{1,500}", address):
        return f"<{re.sub('&(?!amp;)', '&amp;', address)}|{text}>"
    return text


def cut(text: str, limit: int = SECTION) -> str:
    """Shortens mrkdwn without leaving half a link, half an entity or an open code span behind."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 2]
    if kept.rfind("<") > kept.rfind(">"):
        kept = kept[: kept.rfind("<")]
    kept = re.sub(r"&[a-z]{0,3}\Z", "", kept)
    if kept.count("`") % 2:
        kept += "`"
    return kept + "…"


def sections(heading: str, lines: Sequence[str]) -> list[b.Block]:
    """The lines under a heading, in as many sections as they need; nothing when there are no lines."""
    made: list[b.Block] = []
    chunk = f"*{heading}*"
    for line in lines:
        line = cut(line)
        if len(chunk) + len(line) + 1 > SECTION:
            made.append(b.section(chunk))
            chunk = line
        else:
            chunk += f"\n{line}"
    return [*made, b.section(chunk)] if lines else []
