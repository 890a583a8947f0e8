"""The document format of API 3, as far as a paragraph of text needs it."""

from __future__ import annotations

from typing import Any


def document(text: str) -> dict[str, Any]:
    """Text as a document, a paragraph a line."""
    lines = text.splitlines() or [""]
    return {
        "type": "doc",
        "version": 1,
        "content": [
            {"type": "paragraph", "content": [{"type": "text", "text": line}] if line else []}
            for line in lines
        ],
    }


def text_of(body: Any) -> str | None:
    """A document's text, a line a block; None for what is no document (a plain string is none)."""
    if not isinstance(body, dict) or body.get("type") != "doc" or not isinstance(body.get("content"), list):
        return None
    lines: list[str] = []
    stack: list[Any] = list(reversed(body["content"]))
    while stack:
        node = stack.pop()
        if not isinstance(node, dict):
            return None
        children = node.get("content")
        if node.get("type") == "paragraph":
            texts = children if isinstance(children, list) else []
            lines.append("".join(str(c.get("text", "")) for c in texts if isinstance(c, dict)))
        elif isinstance(children, list):
            stack.extend(reversed(children))
    return "\n".join(lines)
