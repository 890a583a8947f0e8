"""What the workspace refuses in blocks and views, against the schema of @slack/types and slack_sdk's models."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block, Option
from slack_sdk.models.views import View

from bot.demo.workspace import check_message, check_view
from bot.demo.workspace.blockkit.shapes import Shapes

Json = dict[str, Any]

SCHEMA: Json = json.loads(files("bot.demo.workspace.blockkit").joinpath("schema.json").read_text())


def plain(text: str) -> Json:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str) -> Json:
    return {"type": "mrkdwn", "text": text}


def section(size: int) -> Json:
    return {"type": "section", "text": mrkdwn("x" * size)}


def button(**more: Any) -> Json:
    return {"type": "button", "action_id": "a", "text": plain("Run triage"), **more}


def actions(*elements: Json) -> Json:
    return {"type": "actions", "elements": list(elements)}


def options(count: int) -> list[Json]:
    return [{"text": plain(f"option {n}"), "value": str(n)} for n in range(count)]


def select(**more: Any) -> Json:
    return {"type": "static_select", "action_id": "s", "options": options(2), **more}


#: (a block of size n, the most that Slack takes)
BOUNDARIES: dict[str, tuple[Callable[[int], Json], int]] = {
    "section text": (section, 3000),
    "section fields": (lambda n: {"type": "section", "fields": [mrkdwn("x")] * n}, 10),
    "field text": (lambda n: {"type": "section", "fields": [mrkdwn("x" * n)]}, 2000),
    "header text": (lambda n: {"type": "header", "text": plain("x" * n)}, 150),
    "context elements": (lambda n: {"type": "context", "elements": [mrkdwn("x")] * n}, 10),
    "actions": (lambda n: actions(*(button(action_id=str(i)) for i in range(n))), 25),
    "button text": (lambda n: actions(button(text=plain("x" * n))), 75),
    "button value": (lambda n: actions(button(value="x" * n)), 2000),
    "button url": (lambda n: actions(button(url="https://example.com/".ljust(n, "x"))), 3000),
    "action id": (lambda n: actions(button(action_id="x" * n)), 255),
    "block id": (lambda n: {"type": "divider", "block_id": "x" * n}, 255),
    "option text": (lambda n: actions(select(options=[{"text": plain("x" * n), "value": "v"}])), 75),
    "option value": (lambda n: actions(select(options=[{"text": plain("x"), "value": "v" * n}])), 150),
    "options": (lambda n: actions(select(options=options(n))), 100),
    "overflow options": (lambda n: actions({"type": "overflow", "action_id": "o", "options": options(n)}), 5),
    "placeholder": (lambda n: actions(select(placeholder=plain("x" * n))), 150),
    "confirm title": (lambda n: actions(button(confirm=confirm(title=plain("x" * n)))), 100),
    "confirm text": (lambda n: actions(button(confirm=confirm(text=plain("x" * n)))), 300),
    "confirm button": (lambda n: actions(button(confirm=confirm(confirm=plain("x" * n)))), 30),
    "image alt text": (
        lambda n: {"type": "image", "image_url": "https://example.com/a.png", "alt_text": "x" * n},
        2000,
    ),
    "markdown": (lambda n: {"type": "markdown", "text": "x" * n}, 12_000),
}
#: What slack_sdk's models do not measure inside a block that was parsed.
NOT_IN_SDK = {"field text", "option text", "option value"}


def confirm(**more: Any) -> Json:
    return {
        "title": plain("Sure?"),
        "text": plain("Really?"),
        "confirm": plain("Yes"),
        "deny": plain("No"),
        **more,
    }


@pytest.mark.parametrize("name", BOUNDARIES)
def test_the_limit_itself_is_taken_and_one_more_is_not(name: str) -> None:
    make, most = BOUNDARIES[name]
    assert check_message({"text": "x", "blocks": [make(most)]}) == []
    problems = check_message({"text": "x", "blocks": [make(most + 1)]})
    assert problems
    assert all("[json-pointer:/blocks/0" in problem for problem in problems)


@pytest.mark.parametrize("name", sorted(BOUNDARIES.keys() - NOT_IN_SDK))
def test_the_limits_are_those_of_slack_sdk(name: str) -> None:
    make, most = BOUNDARIES[name]
    parsed = Block.parse(make(most))
    assert parsed is not None
    parsed.to_dict()
    over = Block.parse(make(most + 1))
    assert over is not None
    with pytest.raises(SlackObjectFormationError):
        over.to_dict()


@pytest.mark.parametrize(("text", "value"), [("x" * 76, "v"), ("x", "v" * 151)])
def test_the_limits_of_an_option_are_those_of_slack_sdk(text: str, value: str) -> None:
    with pytest.raises(SlackObjectFormationError):
        Option(text=text, value=value).to_dict()
    assert Option(text=text[:75], value=value[:150]).to_dict()


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"type": "section"}, "missing required field: text"),
        ({"type": "section", "text": plain("")}, "must be more than 0 characters"),
        ({"type": "header", "text": mrkdwn("x")}, "must be one of: plain_text"),
        ({"type": "context", "elements": [button()]}, "unsupported type: button"),
        ({"type": "context", "elements": []}, "must be more than 0 items"),
        (actions({"type": "plain_text_input", "action_id": "x"}), "unsupported type: plain_text_input"),
        (actions(button(colour="red")), "invalid additional property: colour"),
        (actions(button(style="warning")), "must be one of: primary, danger"),
        (actions(button(value=7)), "must provide a string"),
        (actions(button(), button()), "`action_id` 'a' already exists"),
        (actions(select(initial_option={"text": plain("z"), "value": "z"})), "must match one of the options"),
        (
            actions({"type": "static_select", "action_id": "s"}),
            "must provide either options or option_groups",
        ),
        (
            actions({"type": "datepicker", "action_id": "d", "initial_date": "23.11.2026"}),
            "must be in the format YYYY-MM-DD",
        ),
        ({"no": "type"}, "missing required field: type"),
        ("text", "must provide an object"),
        ({"type": "image", "alt_text": "x"}, "missing required field"),
    ],
)
def test_what_is_refused_in_a_block(block: Any, problem: str) -> None:
    problems = check_message({"text": "x", "blocks": [block]})
    assert any(problem in found for found in problems), problems


def test_what_is_refused_in_a_message() -> None:
    divider = {"type": "divider"}
    assert check_message({}) == ["no_text"]
    assert check_message({"text": "x" * 40_001}) == ["msg_too_long"]
    assert check_message({"blocks": [divider] * 50}) == []
    assert check_message({"blocks": [divider] * 51}) == [
        "no more than 50 items allowed [json-pointer:/blocks]"
    ]
    twice = [{**divider, "block_id": "b"}] * 2
    assert check_message({"blocks": twice}) == [
        "`block_id` 'b' already exists [json-pointer:/blocks/1/block_id]"
    ]
    assert check_message({"blocks": [section(2900)] * 4}) == []
    assert check_message({"blocks": [section(2900)] * 5}) == ["msg_blocks_too_long"]
    assert check_message({"blocks": json.dumps([divider])}) == []
    nested = check_message({"attachments": [{"blocks": [section(3001)]}]})
    assert nested == ["must be less than 3001 characters [json-pointer:/attachments/0/blocks/0/text/text]"]
    assert check_message({"text": "x", "metadata": {"event_type": "x", "event_payload": {"id": "I-1"}}}) == []
    assert check_message({"text": "x", "metadata": {"event_type": "x", "event_payload": "I-1"}})


def modal(**more: Any) -> Json:
    return {"type": "modal", "title": plain("Resolve"), "blocks": [section(10)], **more}


TEXT_INPUT = {
    "type": "input",
    "label": plain("Cause"),
    "element": {"type": "plain_text_input", "action_id": "t"},
}


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        (modal(title=plain("x" * 25)), "must be less than 25 characters [json-pointer:/view/title/text]"),
        (modal(private_metadata="x" * 3001), "must be less than 3001 characters"),
        (modal(callback_id="x" * 256), "must be less than 256 characters"),
        (
            modal(blocks=[{"type": "divider"}] * 101),
            "no more than 100 items allowed [json-pointer:/view/blocks]",
        ),
        (modal(blocks=[TEXT_INPUT]), "missing required field: submit"),
        (modal(blocks=[{"type": "markdown", "text": "x"}]), "unsupported type: markdown"),
        (modal(blocks=[section(3001)]), "[json-pointer:/view/blocks/0/text/text]"),
        ({"type": "modal", "blocks": []}, "missing required field: title"),
        ({"type": "drawer", "blocks": []}, "unsupported type: drawer"),
        ({"type": "home"}, "missing required field: blocks"),
        ([], "must provide an object"),
    ],
)
def test_what_is_refused_in_a_view(view: Any, problem: str) -> None:
    problems = check_view(view)
    assert any(problem in found for found in problems), problems


def test_what_is_taken_as_a_view() -> None:
    full = modal(submit=plain("Resolve"), blocks=[TEXT_INPUT], private_metadata="x" * 3000)
    assert check_view(full) == []
    View(**full).to_dict()
    assert check_view({"type": "home", "blocks": [{"type": "divider"}] * 100}) == []


# The compiled shapes say the same as jsonschema, which is slower.

_leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just([]), st.just({}))
_samples = st.sampled_from(
    [
        section(3),
        {"type": "section", "fields": [mrkdwn("a"), plain("b")], "accessory": button(style="danger")},
        actions(button(confirm=confirm()), select(), {"type": "users_select", "action_id": "u"}),
        {"type": "context", "elements": [mrkdwn("a"), {"type": "image", "image_url": "u", "alt_text": "a"}]},
        TEXT_INPUT,
        {"type": "image", "slack_file": {"id": "F1"}, "alt_text": "a"},
        {
            "type": "rich_text",
            "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "a"}]}],
        },
        {"type": "table", "rows": [[{"type": "raw_text", "text": "a"}]]},
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A good block in which one value, at any depth, was replaced, removed or added."""
    block = json.loads(json.dumps(draw(_samples)))
    holder: Any = block
    while True:
        inner = [value for value in (holder.values() if isinstance(holder, dict) else holder) if value]
        deeper = [value for value in inner if isinstance(value, (dict, list))]
        if not deeper or draw(st.booleans()):
            break
        holder = draw(st.sampled_from(deeper))
    if isinstance(holder, list):
        holder.append(draw(_leaves))
        return block
    key = draw(st.sampled_from([*holder, "unknown"]))
    match draw(st.sampled_from(["replace", "remove", "keep"])):
        case "replace":
            holder[key] = draw(_leaves)
        case "remove":
            holder.pop(key, None)
    return block


_jsonschema = jsonschema.Draft7Validator({**SCHEMA, "$ref": "#/definitions/KnownBlock"})
_compiled = Shapes.packaged().check("KnownBlock")


@settings(deadline=None)
@given(damaged())
def test_compiled_shapes_agree_with_jsonschema(block: Any) -> None:
    problems: list[str] = []
    _compiled(block, "", problems)
    assert (problems == []) == _jsonschema.is_valid(block), problems


@settings(deadline=None)
@given(st.recursive(_leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner)))
def test_no_input_breaks_the_checks(anything: Any) -> None:
    assert isinstance(check_view(anything), list)
    assert isinstance(check_message({"text": "x", "blocks": [anything], "attachments": [anything]}), list)
    assert isinstance(check_message({"text": "x", "metadata": anything}), list)


@settings(deadline=None)
@given(damaged())
def test_damaged_blocks_never_break_the_checks(block: Any) -> None:
    assert isinstance(check_message({"text": "x", "blocks": [block]}), list)
    assert isinstance(check_view({**modal(), "blocks": [block]}), list)


def test_the_schema_compiles_as_a_whole() -> None:
    shapes = Shapes(SCHEMA)
    for name in SCHEMA["definitions"]:
        problems: list[str] = []
        shapes.check(name)(object(), "", problems)
        assert problems, name


def test_a_schema_with_unknown_keywords_is_refused() -> None:
    with pytest.raises(ValueError, match="minLength"):
        Shapes({"definitions": {"X": {"type": "string", "minLength": 1}}}).check("X")
