"""What a reader sees of a message or a view, and the elements that can be used in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bot.demo.workspace.blockkit.settling import interactive_elements

Json = dict[str, Any]

_SHOWN = ("title", "label", "hint", "submit", "close", "description", "placeholder", "alt_text")


def visible_text(thing: Json) -> str:
    """All text of a message or view in reading order, one piece a line: text, blocks, attachments, files.

    The notification text of a message counts too, though Slack shows it only where blocks are not shown.
    """
    pieces: list[str] = []
    if isinstance(thing.get("text"), str):
        pieces.append(thing["text"])
    for field in ("title", "blocks", "attachments", "submit", "close"):
        pieces += _texts(thing.get(field))
    pieces += [
        entry.get("title") or entry.get("name", "This file was deleted.") for entry in thing.get("files", ())
    ]
    return "\n".join(piece for piece in pieces if piece)


def elements(thing: Json) -> Iterator[tuple[Json, Json]]:
    """(block, element) for each element of a message or view that can be used."""
    yield from interactive_elements(thing.get("blocks", []))
    for attachment in thing.get("attachments", ()):
        yield from interactive_elements(attachment.get("blocks", []))


def element(thing: Json, name: str) -> tuple[Json, Json]:
    """The element with action id `name`, or with that label. Raises LookupError naming what there is."""
    found = list(elements(thing))
    for block, candidate in found:
        if candidate.get("action_id") == name or block.get("block_id") == name:
            return block, candidate
    for block, candidate in found:
        labels = (candidate.get("text"), block.get("label"), candidate.get("placeholder"))
        if any(isinstance(label, dict) and label.get("text") == name for label in labels):
            return block, candidate
    there = ", ".join(f"{e.get('action_id')} ({e['type']})" for _, e in found) or "nothing"
    raise LookupError(f"no element {name!r} here; there is: {there}\n{visible_text(thing)}")


def option(candidate: Json, name: str) -> Json:
    """The option of a select, an overflow, boxes or radio buttons with that value or text."""
    options = list(candidate.get("options", ()))
    for group in candidate.get("option_groups", ()):
        options += group["options"]
    for entry in options:
        if name in (entry.get("value"), entry["text"]["text"]):
            return dict(entry)
    there = ", ".join(f"{entry.get('value')} ({entry['text']['text']})" for entry in options)
    raise LookupError(f"no option {name!r}; there is: {there or 'nothing'}")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        text = value.get("text")
        if isinstance(text, str):
            yield text
        for key, item in value.items():
            if isinstance(item, (dict, list)):
                yield from _texts(item)
            elif key in _SHOWN and isinstance(item, str):
                yield item
