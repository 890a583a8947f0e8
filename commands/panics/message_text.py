"""The text of any Slack message, as it was pasted: plain text, blocks, attachments, previews of files. Pure.

Payloads of messages are strangers' work (people, other bots): whatever has another shape than Slack documents is left
out, and nothing is read without a bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from integrations.slack.text import clean

LIMIT = 200_000  # characters; a log's end tells why it died, so what is beyond is cut at the front
_DEEPEST = 12
_NODES = 20_000
_LINK = re.compile(r"<((?:https?|mailto|ftp|tel):[^<>|\s]*)(?:\|([^<>]*))?>")
_DATE = re.compile(r"<!date\^\d{1,15}\^[^<>|]*(?:\|([^<>]*))?>")
_SPECIAL = re.compile(r"<[!@#]([^<>|]*)(?:\|([^<>]*))?>")
_FENCE = re.compile(r"```")
_QUOTE = re.compile(r"^[ \t]*>[ ]?", re.MULTILINE)
_TEXTS = ("mrkdwn", "plain_text", "text", "markdown")


@dataclass(frozen=True)
class MessageText:
    """`cut`: there is more than is here. `files`: names of attached files of which no more than a preview is here."""

    text: str
    cut: bool = False
    files: tuple[str, ...] = ()


def message_text(message: Mapping[str, Any], holds_crash: Callable[[str], bool]) -> MessageText:
    """All that the message says, in the order in which it is read; never raises.

    Slack sends what a person wrote twice, as `text` and as blocks: the blocks are taken, unless only the text holds a
    crash.
    """
    told = unmarked(message.get("text"))
    drawn = _joined(_blocks(message.get("blocks"), _Budget()))
    body = drawn or told
    if drawn and told and not holds_crash(_bounded(drawn)) and holds_crash(_bounded(told)):
        body = told
    parts = [body, *_attachments(message.get("attachments"), body)]
    previews, partly = _files(message.get("files"))
    whole = _joined([*parts, *previews])
    return MessageText(_bounded(whole), len(whole) > LIMIT, partly)


def unmarked(value: Any) -> str:
    """mrkdwn as it was typed: no fences, links as their words, entities as characters."""
    if not isinstance(value, str) or not value.strip():
        return ""
    text = value[-4 * LIMIT :]
    text = _DATE.sub(lambda m: m.group(1) or "", text)
    text = _LINK.sub(lambda m: m.group(2) or m.group(1), text)
    text = _SPECIAL.sub(lambda m: m.group(2) or m.group(1), text)
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return _plain(_FENCE.sub("\n", text) if "```" in text else text)


def _plain(text: str) -> str:
    text = clean(text).replace("\u00a0", " ")
    if len(_QUOTE.findall(text)) > text.count("\n") // 2:  # quoted as a whole
        text = _QUOTE.sub("", text)
    return text.strip("\n")


class _Budget:
    """How many nodes may still be looked at."""

    def __init__(self) -> None:
        self.left = _NODES

    def spend(self) -> bool:
        self.left -= 1
        return self.left > 0


def _blocks(blocks: Any, budget: _Budget, depth: int = 0) -> Iterator[str]:
    if not isinstance(blocks, list) or depth > _DEEPEST:
        return
    for block in blocks:
        if not isinstance(block, dict) or not budget.spend():
            continue
        kind = block.get("type")
        if kind == "rich_text":
            yield _rich(block.get("elements"), budget, depth + 1, "\n")
        elif kind == "markdown":
            yield unmarked(block.get("text"))
        elif kind in ("section", "header", "context"):
            yield _text_object(block.get("text"))
            for key in ("fields", "elements"):
                for piece in _list(block.get(key)):
                    if budget.spend():
                        yield _text_object(piece)
        elif kind == "container" or "blocks" in block:
            yield from _blocks(block.get("blocks"), budget, depth + 1)


def _text_object(value: Any) -> str:
    if not isinstance(value, dict) or value.get("type") not in _TEXTS:
        return ""
    return unmarked(value.get("text"))


def _rich(elements: Any, budget: _Budget, depth: int, between: str) -> str:
    """`between` stands between sections, nothing between the pieces of one."""
    if depth > _DEEPEST:
        return ""
    made = []
    for element in _list(elements):
        if not isinstance(element, dict) or not budget.spend():
            continue
        kind = str(element.get("type") or "")
        inner = element.get("elements")
        if isinstance(inner, list):
            made.append(_rich(inner, budget, depth + 1, "\n" if kind == "rich_text_list" else ""))
        elif kind == "text":
            made.append(_word(element.get("text")))
        elif kind == "link":
            made.append(_word(element.get("text")) or _word(element.get("url")))
        elif kind == "emoji":
            made.append(f":{_word(element.get('name'))}:")
        else:
            made.append(_word(element.get("fallback")) or _word(element.get("name")))
    return _plain(between.join(made)) if between else "".join(made)


def _attachments(attachments: Any, body: str) -> Iterator[str]:
    """What other bots put into coloured boxes. Their `fallback` repeats it, and counts where there is nothing else."""
    for box in _list(attachments)[:50]:
        if not isinstance(box, dict):
            continue
        pieces = [unmarked(box.get(key)) for key in ("pretext", "title", "text")]
        for field in _list(box.get("fields"))[:50]:
            if isinstance(field, dict):
                name, value = unmarked(field.get("title")), unmarked(field.get("value"))
                pieces.append(f"{name}: {value}" if name and "\n" not in value else f"{name}\n{value}")
        pieces += _blocks(box.get("blocks"), _Budget())
        for shared in _list(box.get("message_blocks"))[:20]:  # a message that was shared into this one
            inner = shared.get("message") if isinstance(shared, dict) else None
            pieces += _blocks(inner.get("blocks") if isinstance(inner, dict) else None, _Budget())
        text = _joined(pieces) or unmarked(box.get("fallback"))
        if text and text not in body:
            yield text


def _files(files: Any) -> tuple[list[str], tuple[str, ...]]:
    """(previews of text files, names of those that are cut or not shown at all)."""
    texts, partly = [], []
    for file in _list(files)[:20]:
        if not isinstance(file, dict):
            continue
        name = _word(file.get("name")) or _word(file.get("title")) or "a file"
        preview = file.get("preview")
        if isinstance(preview, str) and preview.strip():
            texts.append(_plain(preview[-LIMIT:]))
        if file.get("preview_is_truncated") is True or not isinstance(preview, str):
            partly.append(name[:80])
    return texts, tuple(partly)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _word(value: Any) -> str:
    return value[-LIMIT:] if isinstance(value, str) else ""


def _joined(parts: Iterator[str] | Sequence[str]) -> str:
    return "\n".join(part for part in parts if part.strip())


def _bounded(text: str) -> str:
    return text[-LIMIT:]
