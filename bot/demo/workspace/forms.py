"""Inputs of a view or message: their state, and what the client refuses before the app is asked."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

#: The field of an element's state, and the element's own field that fills it at first.
_STATE: dict[str, tuple[str, str]] = {
    "plain_text_input": ("value", "initial_value"),
    "email_text_input": ("value", "initial_value"),
    "url_text_input": ("value", "initial_value"),
    "number_input": ("value", "initial_value"),
    "rich_text_input": ("rich_text_value", "initial_value"),
    "static_select": ("selected_option", "initial_option"),
    "external_select": ("selected_option", "initial_option"),
    "users_select": ("selected_user", "initial_user"),
    "channels_select": ("selected_channel", "initial_channel"),
    "conversations_select": ("selected_conversation", "initial_conversation"),
    "multi_static_select": ("selected_options", "initial_options"),
    "multi_external_select": ("selected_options", "initial_options"),
    "multi_users_select": ("selected_users", "initial_users"),
    "multi_channels_select": ("selected_channels", "initial_channels"),
    "multi_conversations_select": ("selected_conversations", "initial_conversations"),
    "radio_buttons": ("selected_option", "initial_option"),
    "checkboxes": ("selected_options", "initial_options"),
    "datepicker": ("selected_date", "initial_date"),
    "timepicker": ("selected_time", "initial_time"),
    "datetimepicker": ("selected_date_time", "initial_date_time"),
    "file_input": ("files", ""),
}
_LISTS = ("checkboxes", "file_input")

REQUIRED = "Please complete this required field."


def state_of(blocks: list[Json], given: Json) -> Json:
    """`state.values` {block_id: {action_id: {...}}}: what the page gives, else the initial value, else null."""
    values: Json = {}
    for block in blocks:
        elements = [block.get("accessory"), block.get("element"), *block.get("elements", ())]
        for element in elements:
            if not isinstance(element, dict) or element.get("type") not in _STATE:
                continue
            kind, action = element["type"], element["action_id"]
            field, initial = _STATE[kind]
            chosen = given.get(block["block_id"], {}).get(action)
            empty: Any = [] if kind in _LISTS or kind.startswith("multi_") else None
            value = chosen.get(field) if isinstance(chosen, dict) else element.get(initial)
            if value in (None, "", []):
                value = empty
            values.setdefault(block["block_id"], {})[action] = {"type": kind, field: value}
    return values


def input_problems(blocks: list[Json], values: Json) -> dict[str, str]:
    """{block_id: text} for inputs that Slack's client does not let through: missing, too short, too long."""
    problems: dict[str, str] = {}
    for block in blocks:
        if block.get("type") != "input":
            continue
        element = block["element"]
        entry = values.get(block["block_id"], {}).get(element.get("action_id"), {})
        value = entry.get(_STATE[element["type"]][0]) if element.get("type") in _STATE else None
        if value in (None, "", []):
            if not block.get("optional", False):
                problems[block["block_id"]] = REQUIRED
        elif isinstance(value, str) and element["type"] == "plain_text_input":
            if len(value) < element.get("min_length", 0):
                problems[block["block_id"]] = f"Please enter at least {element['min_length']} characters."
            elif len(value) > element.get("max_length", 3000):
                problems[block["block_id"]] = (
                    f"Please enter at most {element.get('max_length', 3000)} characters."
                )
    return problems
