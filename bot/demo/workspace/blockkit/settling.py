"""What Slack adds to accepted blocks: block ids, action ids, `emoji` and `verbatim`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bot.demo.workspace.identity import Ids

Json = dict[str, Any]

#: Elements that can be acted on; Slack gives each an `action_id` when the app did not.
_INTERACTIVE_SUFFIXES = ("_select", "button", "picker", "_input", "checkboxes", "_buttons", "overflow")


def settled(blocks: list[Json], ids: Ids) -> list[Json]:
    """A deep copy of valid `blocks` as Slack would give them back."""
    kept = []
    for block in blocks:
        copy: Json = _settle(block, ids)
        copy.setdefault("block_id", ids.token(5))
        kept.append(copy)
    return kept


def is_interactive(element: Json) -> bool:
    """Whether an element sends something when it is used."""
    return str(element.get("type", "")).endswith(_INTERACTIVE_SUFFIXES)


def interactive_elements(blocks: list[Json]) -> Iterator[tuple[Json, Json]]:
    """(block, element) for every element that can be acted on, in order."""
    for block in blocks:
        candidates = [block.get("accessory"), block.get("element"), *block.get("elements", ())]
        for element in candidates:
            if isinstance(element, dict) and is_interactive(element):
                yield block, element


def _settle(value: Any, ids: Ids) -> Any:
    if isinstance(value, list):
        return [_settle(item, ids) for item in value]
    if not isinstance(value, dict):
        return value
    copy = {key: _settle(item, ids) for key, item in value.items()}
    kind = copy.get("type")
    if kind == "plain_text":
        copy.setdefault("emoji", True)
    elif kind == "mrkdwn":
        copy.setdefault("verbatim", False)
    elif is_interactive(copy):
        copy.setdefault("action_id", ids.token(5))
    return copy
