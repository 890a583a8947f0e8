"""What Slack refuses in a message or a view, as lists of broken rules."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from bot.demo.workspace.blockkit import limits
from bot.demo.workspace.blockkit.shapes import Check, Shapes, problem
from bot.demo.workspace.errors import ApiError

Json = dict[str, Any]


def check_message(payload: Json) -> list[str]:
    """Everything that Slack would refuse in the arguments of chat.postMessage; [] when it takes them.

    Looks at `text`, `blocks`, `attachments` and `metadata`; JSON text counts as what it holds. Each problem is
    worded as in Slack's `response_metadata.messages`, or is one of Slack's error codes.
    """
    given = {key: _plain(payload.get(key)) for key in ("blocks", "attachments", "metadata")}
    problems: list[str] = []
    try:
        check_content(text=payload.get("text"), blocks=given["blocks"], attachments=given["attachments"])
    except ApiError as error:
        problems += error.messages or [error.code]
    try:
        if given["metadata"]:
            check_metadata(given["metadata"])
    except ApiError as error:
        problems += error.messages or [error.code]
    if not (payload.get("text") or given["blocks"] or given["attachments"]):
        problems.append("no_text")
    return problems


def check_view(view: Json) -> list[str]:
    """Everything that Slack would refuse in a modal or a home; [] when it takes it."""
    if not isinstance(view, dict):
        return [problem("must provide an object", "/view")]
    kind = view.get("type")
    if kind not in ("modal", "home"):
        return [problem(f"unsupported type: {kind}", "/view/type")]
    problems: list[str] = []
    _shape("ModalView" if kind == "modal" else "HomeView")(view, "/view", problems)
    if problems:
        return problems
    blocks: list[Json] = view["blocks"]
    problems += limits.limit_problems(view, limits.VIEW, "/view")
    problems += limits.object_problems(blocks, "/view/blocks")
    problems += limits.block_list_problems(blocks, "/view/blocks")
    for index, block in enumerate(blocks):
        if block["type"] in limits.MESSAGE_ONLY:
            problems.append(problem(f"unsupported type: {block['type']}", f"/view/blocks/{index}/type"))
    if kind == "modal" and "submit" not in view and any(block["type"] == "input" for block in blocks):
        problems.append(problem("missing required field: submit", "/view"))
    return list(dict.fromkeys(problems))


def check_content(*, text: Any, blocks: Any, attachments: Any, cumulative: bool = True) -> None:
    """Raise Slack's error for a message's parts. `cumulative` False: blocks may be long as a whole."""
    if text is not None and not isinstance(text, str):
        raise ApiError("invalid_arguments", messages=[problem("must be a string", "/text")])
    if text is not None and len(text) > limits.MESSAGE_TEXT:
        raise ApiError("msg_too_long")
    if blocks is not None:
        if not isinstance(blocks, list):
            raise ApiError("invalid_blocks_format")
        if problems := block_problems(blocks, "/blocks"):
            raise ApiError("invalid_blocks", messages=problems)
        if cumulative and len(_compact(blocks)) > limits.MESSAGE_BLOCKS_JSON:
            raise ApiError("msg_blocks_too_long")
    if attachments is not None:
        _check_attachments(attachments)


def block_problems(blocks: list[Any], pointer: str) -> list[str]:
    """What is wrong with a message's blocks: their shapes first, then lengths and counts."""
    problems: list[str] = []
    if len(blocks) > limits.MESSAGE_BLOCKS:
        problems.append(problem(f"no more than {limits.MESSAGE_BLOCKS} items allowed", pointer))
    check = _shape("KnownBlock")
    for index, block in enumerate(blocks):
        check(block, f"{pointer}/{index}", problems)
    if not problems:
        problems += limits.object_problems(blocks, pointer)
        problems += limits.block_list_problems(blocks, pointer)
    return list(dict.fromkeys(problems))


def check_metadata(metadata: Any) -> None:
    """Raise Slack's error for message metadata."""
    problems: list[str] = []
    _shape("MessageMetadata")(metadata, "/metadata", problems)
    if problems or not metadata["event_type"]:
        raise ApiError("invalid_metadata_format", messages=problems)
    if len(_compact(metadata).encode()) > limits.METADATA_BYTES:
        raise ApiError("metadata_too_large")


def _check_attachments(attachments: Any) -> None:
    if not isinstance(attachments, list):
        raise ApiError("invalid_attachments")
    if len(attachments) > limits.ATTACHMENTS:
        raise ApiError("too_many_attachments")
    problems: list[str] = []
    check = _shape("MessageAttachment")
    for index, attachment in enumerate(attachments):
        check(attachment, f"/attachments/{index}", problems)
    if problems:
        raise ApiError("invalid_attachments", messages=problems)
    for index, attachment in enumerate(attachments):
        pointer = f"/attachments/{index}"
        if problems := list(limits.limit_problems(attachment, limits.ATTACHMENT, pointer)):
            raise ApiError("invalid_attachments", messages=problems)
        if problems := block_problems(attachment.get("blocks", []), f"{pointer}/blocks"):
            raise ApiError("invalid_blocks", messages=problems)


@cache
def _shape(name: str) -> Check:
    return _shapes().check(name)


@cache
def _shapes() -> Shapes:
    return Shapes.packaged()


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """What JSON text holds; text that is no JSON stays text, which no check accepts."""
    if not isinstance(value, str) or not value:
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
