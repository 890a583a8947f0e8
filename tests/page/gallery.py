"""Blocks of every kind that the page shows, built from plain data for the tests of the page."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def plain(text: str) -> Json:
    return {"type": "plain_text", "text": text, "emoji": True}


def mrkdwn(text: str) -> Json:
    return {"type": "mrkdwn", "text": text}


def option(text: str, value: str | None = None, description: str | None = None) -> Json:
    made: Json = {"text": plain(text), "value": value or text}
    return made if description is None else {**made, "description": plain(description)}


def button(text: str, action_id: str, **more: Any) -> Json:
    return {"type": "button", "text": plain(text), "action_id": action_id, "value": "P-41", **more}


def section(text: str, **more: Any) -> Json:
    return {"type": "section", "text": mrkdwn(text), **more}


def confirm(title: str) -> Json:
    return {
        "title": plain(title),
        "text": plain("It can be reopened."),
        "confirm": plain("Yes"),
        "deny": plain("No"),
    }


def rich_text(*elements: Json) -> Json:
    return {"type": "rich_text", "elements": list(elements)}


def rich_section(*parts: Json) -> Json:
    return {"type": "rich_text_section", "elements": list(parts)}


def text_part(text: str, **style: bool) -> Json:
    return {"type": "text", "text": text, **({"style": style} if style else {})}


INCIDENT: list[Json] = [
    section(
        ":red_circle: *web-17 panicked: NULL pointer dereference in nvme_irq*\nkernel `6.1.0-31-amd64`",
        block_id="headline",
        accessory={
            "type": "overflow",
            "action_id": "incident.more",
            "options": [option("Assign…", "assign"), option("Resolve…", "resolve")],
        },
    ),
    {"type": "context", "block_id": "facts", "elements": [mrkdwn("Runbook *3/5*"), mrkdwn("P-41 · I-7")]},
    {
        "type": "actions",
        "block_id": "buttons",
        "elements": [
            button("Run triage", "triage.run", style="primary"),
            button("Resolve", "incident.resolve", style="danger"),
            button("Silence", "incident.silence", confirm=confirm("Silence web-17?")),
        ],
    },
]

CHOICES: list[Json] = [
    section(
        "Kind",
        block_id="kind",
        accessory={
            "type": "static_select",
            "action_id": "kind",
            "placeholder": plain("Kind"),
            "option_groups": [
                {"label": plain("Oops"), "options": [option("NULL dereference", "null_deref")]},
                {
                    "label": plain("Stall"),
                    "options": [option("Soft lockup", "soft"), option("Hung task", "hung")],
                },
            ],
        },
    ),
    {
        "type": "actions",
        "block_id": "filters",
        "elements": [
            {"type": "users_select", "action_id": "assignee", "placeholder": plain("Assign to")},
            {"type": "channels_select", "action_id": "room", "placeholder": plain("Channel")},
            {"type": "conversations_select", "action_id": "talk", "placeholder": plain("Conversation")},
            {"type": "datepicker", "action_id": "day", "initial_date": "2026-11-23"},
            {"type": "timepicker", "action_id": "time", "initial_time": "09:14"},
            {"type": "checkboxes", "action_id": "also", "options": [option("Pinned only", "pinned")]},
            {
                "type": "radio_buttons",
                "action_id": "scope",
                "options": [option("This host"), option("All hosts")],
            },
        ],
    },
    section(
        "Rings",
        block_id="rings",
        accessory={
            "type": "multi_static_select",
            "action_id": "rings",
            "placeholder": plain("Rings"),
            "options": [option("prod-1"), option("prod-2"), option("canary")],
            "initial_options": [option("prod-2")],
        },
    ),
]

READING: list[Json] = [
    {"type": "header", "text": plain("Panics of web-17 :mag:")},
    {
        "type": "table",
        "rows": [
            [{"type": "raw_text", "text": text} for text in row]
            for row in (("Panic", "Signature"), ("P-41", "null_deref|nvme_irq"), ("P-12", "hung_task|jbd2"))
        ],
    },
    rich_text(
        rich_section(text_part("Triage", bold=True), {"type": "user", "user_id": "U0KERNEL"}),
        {
            "type": "rich_text_list",
            "style": "ordered",
            "elements": [
                rich_section(text_part("Dump exists")),
                rich_section(text_part("Kernel", code=True)),
            ],
        },
        {"type": "rich_text_preformatted", "elements": [text_part("$ uname -a\nLinux web-17")]},
        {"type": "rich_text_quote", "elements": [text_part("quoted")]},
    ),
    {"type": "divider"},
    section("fields", fields=[mrkdwn("*Status*\nOpen"), mrkdwn("*Assignee*\nnobody")]),
    {
        "type": "image",
        "image_url": "https://pictures.invalid/plot.png",
        "alt_text": "panics a day",
        "title": plain("Trend"),
    },
]

FORM: Json = {
    "type": "modal",
    "callback_id": "resolve",
    "title": plain("Resolve I-7"),
    "submit": plain("Resolve"),
    "close": plain("Cancel"),
    "notify_on_close": True,
    "blocks": [
        {
            "type": "input",
            "block_id": "cause",
            "label": plain("Cause"),
            "hint": plain("One sentence."),
            "element": {"type": "plain_text_input", "action_id": "text", "multiline": True, "min_length": 5},
        },
        {
            "type": "input",
            "block_id": "change",
            "optional": True,
            "label": plain("Change"),
            "element": {
                "type": "external_select",
                "action_id": "change.key",
                "min_query_length": 2,
                "placeholder": plain("Search tickets"),
            },
        },
        {
            "type": "input",
            "block_id": "tell",
            "optional": True,
            "label": plain("Tell"),
            "element": {"type": "multi_users_select", "action_id": "people", "placeholder": plain("People")},
        },
        {
            "type": "input",
            "block_id": "hosts",
            "optional": True,
            "label": plain("Hosts"),
            "element": {
                "type": "number_input",
                "action_id": "count",
                "is_decimal_allowed": False,
                "min_value": "1",
            },
        },
        {
            "type": "actions",
            "block_id": "modal-buttons",
            "elements": [button("Refresh", "form.refresh"), button("Details", "form.details")],
        },
    ],
}

DETAILS: Json = {
    "type": "modal",
    "callback_id": "details",
    "title": plain("Details"),
    "blocks": [section("*Deeper*")],
}

HOME: Json = {
    "type": "home",
    "blocks": [
        {"type": "header", "text": plain("Open incidents")},
        {"type": "actions", "elements": [button("Refresh", "home.refresh")]},
    ],
}
