"""The incident's forms. `private_metadata` carries the incident's id, as JSON with the channel to answer in."""

from __future__ import annotations

import json

from commands.router import Ask
from integrations.slack import blocks as b
from integrations.slack.text import escape, shorten


def resolve_modal(ref: str, title: str) -> b.Block:
    return b.modal(
        "incident.resolve",
        f"Resolve {ref}",
        [
            b.section(escape(shorten(title, 200))),
            b.text_input(
                "Cause",
                "cause",
                multiline=True,
                placeholder="What made the kernel panic?",
                hint="Shown in the next thread of this signature.",
            ),
            b.text_input(
                "Fixed by",
                "fixed_by",
                multiline=True,
                optional=True,
                placeholder="Kernel 6.1.0-32, a new DIMM, OPS-1190 …",
            ),
        ],
        submit="Resolve",
    )


def note_modal(ref: str, title: str) -> b.Block:
    return b.modal(
        "incident.note",
        f"Note on {ref}",
        [
            b.section(escape(shorten(title, 200))),
            b.text_input("Note", "note", multiline=True, max_length=2500),
        ],
        submit="Add",
    )


def metadata(ref: str, ask: Ask) -> str:
    """What the form is about, and where the person who sends it is to be answered."""
    return json.dumps({"subject": ref, "channel": ask.channel, "thread_ts": ask.thread_ts})


def subject(ask: Ask) -> str | None:
    """The id that the form was opened for."""
    try:
        found = json.loads((ask.view or {}).get("private_metadata") or "{}").get("subject")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def value(ask: Ask, block_id: str) -> str:
    """What was typed in a text input; "" when nothing was."""
    element = (ask.values.get(block_id) or {}).get("value") or {}
    return str(element.get("value") or "")


def check_resolve(ask: Ask) -> dict[str, str]:
    return (
        {}
        if value(ask, "cause").strip()
        else {"cause": "Say what the cause was; “unknown” is an answer, too."}
    )


def check_note(ask: Ask) -> dict[str, str]:
    return {} if value(ask, "note").strip() else {"note": "There is nothing in this note."}
