"""Block Kit objects as plain dictionaries, within Slack's limits.

Limits (Slack's Block Kit reference): section text 3,000 characters, header 150, 10 context elements, 25 action
elements, button text 75, button value 2,000, 50 blocks a message, 100 a view, modal title 24.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from integrations.slack.text import cut_mrkdwn, shorten

Block = dict[str, Any]


def mrkdwn(text: str, limit: int = 3000) -> Block:
    return {"type": "mrkdwn", "text": cut_mrkdwn(text, limit) or " ", "verbatim": True}


def plain(text: str, limit: int = 150) -> Block:
    return {"type": "plain_text", "text": shorten(text, limit) or " ", "emoji": True}


def section(
    text: str, *, fields: list[str] | None = None, accessory: Block | None = None, block_id: str | None = None
) -> Block:
    block: Block = {"type": "section", "text": mrkdwn(text)}
    if fields:
        block["fields"] = [mrkdwn(f, 2000) for f in fields[:10]]
    if accessory is not None:
        block["accessory"] = accessory
    if block_id is not None:
        block["block_id"] = block_id
    return block


def header(text: str) -> Block:
    return {"type": "header", "text": plain(text, 150)}


def context(*texts: str) -> Block:
    return {"type": "context", "elements": [mrkdwn(t) for t in texts[:10]]}


def divider() -> Block:
    return {"type": "divider"}


def button(
    text: str,
    action_id: str,
    value: str = "",
    *,
    style: str | None = None,
    confirm: Block | None = None,
    url: str | None = None,
) -> Block:
    element: Block = {"type": "button", "text": plain(text, 75), "action_id": action_id[:255]}
    if value:
        element["value"] = value[:2000]
    if style is not None:
        element["style"] = style
    if confirm is not None:
        element["confirm"] = confirm
    if url is not None:
        element["url"] = url
    return element


def actions(elements: list[Block], *, block_id: str | None = None) -> Block:
    block: Block = {"type": "actions", "elements": elements[:25]}
    if block_id is not None:
        block["block_id"] = block_id
    return block


def option(text: str, value: str, *, description: str | None = None) -> Block:
    made: Block = {"text": plain(text, 75), "value": value[:150]}
    if description:
        made["description"] = plain(description, 75)
    return made


def overflow(action_id: str, options: list[Block]) -> Block:
    return {"type": "overflow", "action_id": action_id, "options": options[:5]}


def confirm(title: str, text: str, yes: str, no: str = "Cancel") -> Block:
    return {
        "title": plain(title, 100),
        "text": plain(text, 300),
        "confirm": plain(yes, 30),
        "deny": plain(no, 30),
    }


def text_input(
    label: str,
    block_id: str,
    *,
    action_id: str = "value",
    multiline: bool = False,
    optional: bool = False,
    initial: str = "",
    placeholder: str = "",
    hint: str = "",
    max_length: int = 3000,
) -> Block:
    element: Block = {
        "type": "plain_text_input",
        "action_id": action_id,
        "multiline": multiline,
        "max_length": max_length,
    }
    if initial:
        element["initial_value"] = initial[:max_length]
    if placeholder:
        element["placeholder"] = plain(placeholder, 150)
    block: Block = {
        "type": "input",
        "block_id": block_id,
        "label": plain(label, 2000),
        "element": element,
        "optional": optional,
    }
    if hint:
        block["hint"] = plain(hint, 2000)
    return block


def modal(
    callback_id: str,
    title: str,
    blocks: list[Block],
    *,
    submit: str | None = "Save",
    close: str = "Cancel",
    private_metadata: str = "",
) -> Block:
    view: Block = {
        "type": "modal",
        "callback_id": callback_id,
        "title": plain(title, 24),
        "close": plain(close, 24),
        "blocks": blocks[:100],
        "private_metadata": private_metadata[:3000],
    }
    if submit is not None:
        view["submit"] = plain(submit, 24)
    return view


# Slack refuses a message whose blocks are longer as a whole (msg_blocks_too_long). The figure is not documented; apps
# have met it a little above 13,200 characters of compact JSON.
MESSAGE_LIMIT = 12_900
MESSAGE_BLOCKS = 50


def weight(value: Any) -> int:
    """Characters of compact JSON, which is what Slack counts."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def level(weights: Sequence[int], room: int) -> int:
    """The largest weight that each may have so that all fit in `room`: small ones stay whole, large ones are cut alike.

    The largest of the weights when all of them fit.
    """
    left = max(room, 0)
    for count, one in enumerate(sorted(weights)):
        share = left // (len(weights) - count)
        if one > share:
            return share
        left -= one
    return max(weights, default=0)


def within_limit(
    blocks: Sequence[Block], notice: str, *, foot: int = 0, limit: int = MESSAGE_LIMIT
) -> list[Block]:
    """The blocks of one message, as many as Slack takes; where some are left out, `notice` (mrkdwn) says so.

    Whole blocks go, from the end, before the last `foot` of them, which stay (buttons).
    """
    if len(blocks) <= MESSAGE_BLOCKS and weight(list(blocks)) <= limit:
        return list(blocks)
    body, last = list(blocks[: len(blocks) - foot]), list(blocks[len(blocks) - foot :])
    end = [context(notice), *last]
    room = limit - weight(end) - 1
    kept: list[Block] = []
    for block in body[: MESSAGE_BLOCKS - len(end)]:
        room -= weight(block) + 1
        if room < 0:
            break
        kept.append(block)
    return [*kept, *end]
