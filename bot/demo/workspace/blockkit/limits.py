"""How much Slack takes: lengths and counts by the type of block or element, and rules no schema tells.

Numbers are those of Slack's Block Kit reference (and of slack_sdk's models, which a test compares).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bot.demo.workspace.blockkit.shapes import problem

Json = dict[str, Any]


class Limit(NamedTuple):
    """Text or list at `path` ("*": each item) has between `least` and `most` characters or items."""

    path: tuple[str, ...]
    least: int
    most: int


def _limit(path: str, most: int, *, least: int = 1) -> Limit:
    return Limit(tuple(path.split(".")), least, most)


_ID = (_limit("action_id", 255),)
_PLACEHOLDER = (_limit("placeholder.text", 150),)


def _options(path: str, most: int) -> tuple[Limit, ...]:
    return (
        _limit(path, most),
        _limit(f"{path}.*.text.text", 75),
        _limit(f"{path}.*.value", 150, least=0),
        _limit(f"{path}.*.description.text", 75),
        _limit(f"{path}.*.url", 3000),
    )


_SELECT = (
    *_ID,
    *_PLACEHOLDER,
    *_options("options", 100),
    _limit("option_groups", 100),
    _limit("option_groups.*.label.text", 75),
    *_options("option_groups.*.options", 100),
)
_TEXT_INPUT = (*_ID, *_PLACEHOLDER)
_TYPED_OR_PICKED = (
    "email_text_input",
    "url_text_input",
    "number_input",
    "rich_text_input",
    "datepicker",
    "timepicker",
    "datetimepicker",
    "file_input",
)

#: By `type` of any object inside a block.
LIMITS: dict[str, tuple[Limit, ...]] = {
    "plain_text": (_limit("text", 3000),),
    "mrkdwn": (_limit("text", 3000),),
    "section": (_limit("text.text", 3000), _limit("fields", 10), _limit("fields.*.text", 2000)),
    "header": (_limit("text.text", 150),),
    "context": (_limit("elements", 10),),
    "actions": (_limit("elements", 25),),
    "context_actions": (_limit("elements", 5),),
    "image": (_limit("image_url", 3000), _limit("alt_text", 2000), _limit("title.text", 2000)),
    "input": (_limit("label.text", 2000), _limit("hint.text", 2000)),
    "markdown": (_limit("text", 12_000),),
    "video": (_limit("title.text", 200), _limit("author_name", 50)),
    "table": (_limit("rows", 100), _limit("rows.*", 20)),
    "button": (
        *_ID,
        _limit("text.text", 75),
        _limit("value", 2000, least=0),
        _limit("url", 3000),
        _limit("accessibility_label", 75),
    ),
    "overflow": (*_ID, *_options("options", 5)),
    "radio_buttons": (*_ID, *_options("options", 10)),
    "checkboxes": (*_ID, *_options("options", 10)),
    "plain_text_input": (*_TEXT_INPUT, _limit("initial_value", 3000, least=0)),
    **{
        kind: _SELECT
        for what in ("static", "external", "users", "conversations", "channels")
        for kind in (f"{what}_select", f"multi_{what}_select")
    },
    **dict.fromkeys(_TYPED_OR_PICKED, _TEXT_INPUT),
}

CONFIRM = (
    _limit("title.text", 100),
    _limit("text.text", 300),
    _limit("confirm.text", 30),
    _limit("deny.text", 30),
)
VIEW = (
    _limit("title.text", 24),
    _limit("submit.text", 24),
    _limit("close.text", 24),
    _limit("private_metadata", 3000, least=0),
    _limit("callback_id", 255, least=0),
    _limit("external_id", 255, least=0),
    _limit("blocks", 100, least=0),
)
ATTACHMENT = (_limit("blocks", 20, least=0),)

MESSAGE_BLOCKS = 50
MESSAGE_TEXT = 40_000
ATTACHMENTS = 100
METADATA_BYTES = 16_000
#: chat.postMessage refuses blocks that are longer as a whole (msg_blocks_too_long). Slack does not document
#: the figure; apps met it between 13,200 and 13,300 characters of compact JSON.
MESSAGE_BLOCKS_JSON = 13_200

#: Blocks that only messages may have.
MESSAGE_ONLY = frozenset(
    {"file", "markdown", "table", "data_table", "context_actions", "task_card", "plan", "carousel"}
)


def limit_problems(value: Json, limits: tuple[Limit, ...], pointer: str) -> Iterator[str]:
    """What in `value` is longer or shorter than `limits` allow."""
    for limit in limits:
        for found, where in _reached(value, limit.path, pointer):
            if not isinstance(found, (str, list)):
                continue
            unit = "items" if isinstance(found, list) else "characters"
            if len(found) > limit.most and unit == "items":
                yield problem(f"no more than {limit.most} items allowed", where)
            elif len(found) > limit.most:
                yield problem(f"must be less than {limit.most + 1} characters", where)
            elif len(found) < limit.least:
                yield problem(f"must be more than {limit.least - 1} {unit}", where)


def object_problems(value: Any, pointer: str) -> Iterator[str]:
    """Everything too long, too short or contradictory in a block, down to its smallest text."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from object_problems(item, f"{pointer}/{index}")
    elif isinstance(value, dict):
        kind = value.get("type")
        if isinstance(kind, str):
            yield from limit_problems(value, LIMITS.get(kind, ()), pointer)
            if rule := _RULES.get(kind):
                yield from rule(value, pointer)
        if isinstance(value.get("confirm"), dict) and kind is not None:
            yield from limit_problems(value["confirm"], CONFIRM, f"{pointer}/confirm")
        for name, item in value.items():
            if isinstance(item, (dict, list)):
                yield from object_problems(item, f"{pointer}/{name}")


def block_list_problems(blocks: list[Json], pointer: str) -> Iterator[str]:
    """Ids that are too long or given twice."""
    seen: set[str] = set()
    for index, block in enumerate(blocks):
        where = f"{pointer}/{index}"
        block_id = block.get("block_id")
        if isinstance(block_id, str):
            if len(block_id) > 255:
                yield problem("must be less than 256 characters", f"{where}/block_id")
            if block_id in seen:
                yield problem(f"`block_id` {block_id!r} already exists", f"{where}/block_id")
            seen.add(block_id)
        actions: set[str] = set()
        for number, element in enumerate(block.get("elements", ())):
            action = element.get("action_id") if isinstance(element, dict) else None
            if action is not None and action in actions:
                yield problem(
                    f"`action_id` {action!r} already exists", f"{where}/elements/{number}/action_id"
                )
            actions.add(str(action))


def _reached(value: Any, path: tuple[str, ...], pointer: str) -> Iterator[tuple[Any, str]]:
    if not path:
        yield value, pointer
    elif path[0] == "*":
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from _reached(item, path[1:], f"{pointer}/{index}")
    elif isinstance(value, dict) and path[0] in value:
        yield from _reached(value[path[0]], path[1:], f"{pointer}/{path[0]}")


def _section(block: Json, pointer: str) -> Iterator[str]:
    if "text" not in block and "fields" not in block:
        yield problem("missing required field: text", pointer)


def _static_select(element: Json, pointer: str) -> Iterator[str]:
    if ("options" in element) == ("option_groups" in element):
        yield problem("must provide either options or option_groups", pointer)
    options = list(element.get("options", ()))
    for group in element.get("option_groups", ()):
        options += group.get("options", ())
    yield from _initial(element, options, pointer)


def _boxes(element: Json, pointer: str) -> Iterator[str]:
    yield from _initial(element, element.get("options", []), pointer)


def _initial(element: Json, options: list[Json], pointer: str) -> Iterator[str]:
    chosen = (
        [element["initial_option"]] if "initial_option" in element else element.get("initial_options", [])
    )
    if any(option not in options for option in chosen):
        field = "initial_option" if "initial_option" in element else "initial_options"
        yield problem("must match one of the options", f"{pointer}/{field}")


def _formatted(field: str, pattern: str, shown: str) -> Callable[[Json, str], Iterator[str]]:
    matcher = re.compile(pattern)

    def rule(element: Json, pointer: str) -> Iterator[str]:
        if field in element and not matcher.fullmatch(element[field]):
            yield problem(f"must be in the format {shown}", f"{pointer}/{field}")

    return rule


def _text_input(element: Json, pointer: str) -> Iterator[str]:
    least, most = element.get("min_length", 0), element.get("max_length", 3000)
    if not 0 <= least <= 3000 or not 1 <= most <= 3000 or least > most:
        yield problem("min_length and max_length must be between 0 and 3000, in that order", pointer)


_RULES: dict[str, Callable[[Json, str], Iterator[str]]] = {
    "section": _section,
    "static_select": _static_select,
    "multi_static_select": _static_select,
    "radio_buttons": _boxes,
    "checkboxes": _boxes,
    "datepicker": _formatted("initial_date", r"\d{4}-\d\d-\d\d", "YYYY-MM-DD"),
    "timepicker": _formatted("initial_time", r"([01]\d|2[0-3]):[0-5]\d", "HH:mm"),
    "plain_text_input": _text_input,
}
