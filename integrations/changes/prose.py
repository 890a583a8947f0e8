"""What a ticket's text says, without its markup: wiki text of the one API, documents (ADF) of the other."""

from __future__ import annotations

import re

_DEEPEST = 60  # documents from outside: deeper nesting is not read
_LINK = re.compile(r"\[([^\[\]|]*)\|([^\[\]|]*)(?:\|[^\[\]]*)?\]")
_TAG = re.compile(r"\{(?:code|noformat|quote|panel|color|anchor)(?::[^{}]*)?\}")
_EDGE = re.compile(r"(?<![A-Za-z0-9])[*_+^~?\-]+(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])[*_+^~?\-]+(?![A-Za-z0-9])")
_BLOCKS = {
    "paragraph",
    "heading",
    "codeBlock",
    "listItem",
    "tableCell",
    "tableHeader",
    "blockquote",
    "panel",
    "rule",
}


def texts(value: object) -> list[str]:
    """The texts in a field's value: wiki text, a document, a list, or objects that say `value` or `name`."""
    return _texts(value, 0)


def _texts(value: object, depth: int) -> list[str]:
    if depth > _DEEPEST:
        return []
    if isinstance(value, str):
        return [wiki(value)]
    if isinstance(value, list):
        return [text for element in value for text in _texts(element, depth + 1)]
    if isinstance(value, dict):
        if value.get("type") == "doc":
            return [document(value)]
        return _texts(value.get("value") or value.get("name"), depth + 1)
    return []


def wiki(text: str) -> str:
    """Wiki text without what marks it up; `[text|address]` is both. Names keep their inner - and _."""
    text = _LINK.sub(r"\1 \2", _TAG.sub(" ", text))
    text = text.replace("{{", " ").replace("}}", " ")
    return _EDGE.sub(" ", re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text))


def document(node: object) -> str:
    """A document's text, a block a line; mentions, cards and emoji with what they say."""
    pieces: list[str] = []
    _read(node, pieces, 0)
    return "\n".join(line for line in (" ".join(row.split()) for row in "".join(pieces).split("\n")) if line)


def _read(node: object, pieces: list[str], depth: int) -> None:
    if depth > _DEEPEST:
        return
    if isinstance(node, list):
        for child in node:
            _read(child, pieces, depth + 1)
        return
    if not isinstance(node, dict):
        return
    kind = str(node.get("type"))
    attributes = node.get("attrs") if isinstance(node.get("attrs"), dict) else {}
    if kind == "text":
        pieces.append(str(node.get("text") or ""))
    elif kind == "hardBreak":
        pieces.append("\n")
    elif kind in {"mention", "emoji", "status", "inlineCard", "blockCard"} and isinstance(attributes, dict):
        said = next((attributes[name] for name in ("text", "shortName", "url") if attributes.get(name)), "")
        pieces.append(f" {said} ")
    _read(node.get("content"), pieces, depth + 1)
    if kind in _BLOCKS:
        pieces.append("\n")
