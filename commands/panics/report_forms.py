"""The form by which a person reports a panic, what is wrong with one that was filled in, and what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from commands.incident.wording import redacted
from commands.panics.message_text import MessageText
from commands.router import Ask
from integrations.inbound import host_name
from integrations.kernel import Crash, read_crash
from integrations.slack import blocks as b
from integrations.slack.text import clean, code, code_block, escape, shorten

MODAL = "panics.report"
HOSTS = "panics.host"  # the host's menu; its options are asked for as the name is typed
SHORTCUT = "panics.from_message"
SHORTCUT_NAME = "Open a panic from this"  # Slack takes 24 characters
LONGEST = 3000  # characters that Slack takes in a text field
_ANYWAY = "anyway"
_AHEAD = timedelta(minutes=5)
_OLDEST = timedelta(days=365)
MORE = (
    f"Slack takes {LONGEST:,} characters here: the part from “BUG:” or “Oops” on says most. For more, paste it into a "
    f"channel (long text becomes a file) and choose “{SHORTCUT_NAME}” in the menu of that message, or on the bot's "
    "machine: panicroom report --host web-17 dmesg.txt"
)


@dataclass(frozen=True)
class Prefilled:
    """What is known before the form is shown."""

    host: str = ""
    kernel: str = ""
    text: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Filled:
    """What the form says; `text` is None where it speaks of a message."""

    host: str
    kernel: str
    ring: str
    at: datetime | None
    text: str | None


def report_form(known: Prefilled, metadata: str) -> b.Block:
    """The form of `/panic report`."""
    fields = [
        *_fields(known),
        b.text_input(
            "Crash text",
            "text",
            multiline=True,
            optional=True,
            initial=known.text,
            max_length=LONGEST,
            placeholder="What the console, netconsole or dmesg said",
            hint=MORE,
        ),
        _anyway(),
    ]
    return b.modal(MODAL, "Report a panic", fields, submit="Open it", private_metadata=metadata)


def message_form(known: Prefilled, found: MessageText, crash: Crash, metadata: str) -> b.Block:
    """The form behind the message shortcut: it shows what was read, and asks for what the message does not say."""
    said = "\n".join(shorten(line, 200) for line in redacted(found.text, known.host).splitlines()[:12])
    made = [b.section(_read(crash))]
    if said.strip():
        made.append(b.section(code_block(said, limit=1200)))
    if found.files:
        names = ", ".join(code(shorten(name, 60)) for name in found.files[:5])
        made.append(
            b.context(
                f":page_facing_up: Of {names} Slack shows me the beginning at most, and no more than that is kept. "
                "The whole of it: `panicroom report` on the bot's machine."
            )
        )
    submit = "Open it" if crash.crash else "Open it anyway"
    return b.modal(MODAL, "Open a panic", [*made, *_fields(known)], submit=submit, private_metadata=metadata)


def _read(crash: Crash) -> str:
    if not crash.crash:
        return (
            ":grey_question: *I read no kernel crash in this message.* You can go on: the panic then stands as “cause "
            "unknown”, and triage can still look at the host. Or cancel, and nothing is opened."
        )
    parts = [f":boom: *{escape(shorten(redacted(crash.title), 200))}*"]
    parts += [f"kernel {code(shorten(crash.kernel, 80))}"] if crash.kernel else []
    return " · ".join(parts)


def _fields(known: Prefilled) -> list[b.Block]:
    menu: b.Block = {
        "type": "external_select",
        "action_id": HOSTS,
        "min_query_length": 1,
        "placeholder": b.plain("web-17"),
    }
    if known.host and len(known.host) <= 150:
        menu["initial_option"] = b.option(known.host, known.host)
    when: b.Block = {"type": "datetimepicker", "action_id": "value"}
    if known.at is not None:
        when["initial_date_time"] = int(known.at.timestamp())
    return [
        _input("Host", "host", menu, hint="Type its name; one that nobody knows yet can be chosen, too."),
        _input(
            "When",
            "when",
            when,
            optional=True,
            hint="About when it died, in your time zone. Empty: just now, or as its host tells.",
        ),
        b.text_input(
            "Kernel",
            "kernel",
            optional=True,
            initial=known.kernel,
            max_length=200,
            placeholder="6.1.0-31-amd64, where the text does not say it",
        ),
        b.text_input(
            "Ring",
            "ring",
            optional=True,
            max_length=60,
            placeholder="prod-2, where the inventory does not say it",
        ),
    ]


def _input(label: str, block_id: str, element: b.Block, *, hint: str, optional: bool = False) -> b.Block:
    return {
        "type": "input",
        "block_id": block_id,
        "label": b.plain(label),
        "element": element,
        "optional": optional,
        "hint": b.plain(hint, 2000),
    }


def _anyway() -> b.Block:
    boxes: b.Block = {
        "type": "checkboxes",
        "action_id": "value",
        "options": [b.option("Open it even if no crash is read in the text", _ANYWAY)],
    }
    return {
        "type": "input",
        "block_id": _ANYWAY,
        "label": b.plain("No text?"),
        "element": boxes,
        "optional": True,
    }


# -- what was filled in ---------------------------------------------------------------------------------


def metadata_of(ask: Ask, *, message: tuple[str, str] | None = None) -> str:
    """Where the person who sends the form is to be answered, and of which message it is."""
    told: dict[str, Any] = {"channel": ask.channel, "thread_ts": ask.thread_ts}
    if ask.response_url:
        told["response_url"] = ask.response_url[:1000]
    if message is not None:
        told["message"] = list(message)
        told["subject"] = f"{message[0]}:{message[1]}"
    return json.dumps(told)


def message_of(ask: Ask) -> tuple[str, str] | None:
    """(channel, ts) of the message that the form is of."""
    try:
        told = json.loads((ask.view or {}).get("private_metadata") or "{}")
    except (ValueError, TypeError, RecursionError):
        return None
    found = told.get("message") if isinstance(told, dict) else None
    if isinstance(found, list) and len(found) == 2 and all(isinstance(part, str) for part in found):
        return found[0], found[1]
    return None


def filled(ask: Ask) -> Filled:
    """Whatever stands in the fields; never raises."""
    of_message = message_of(ask) is not None
    at = _element(ask, "when").get("selected_date_time")
    moment = None
    if isinstance(at, int) and 0 < at < 4_000_000_000:
        moment = datetime.fromtimestamp(at, UTC)
    chosen = _element(ask, "host").get("selected_option")
    host = str(chosen.get("value") or "") if isinstance(chosen, Mapping) else ""
    return Filled(
        host=host.strip().lower().removesuffix("."),
        kernel=_line(ask, "kernel"),
        ring=_line(ask, "ring"),
        at=moment,
        text=None if of_message else _text(ask),
    )


def check_report(ask: Ask, now: datetime) -> dict[str, str]:
    """{field: what is wrong}; what was typed stays."""
    told = filled(ask)
    wrong = {}
    try:
        host_name(told.host)
    except ValueError:
        wrong["host"] = "Which host? Letters, digits, hyphens and dots, such as web-17."
    if told.at is not None and told.at > now + _AHEAD:
        wrong["when"] = "That is still to come. Leave it empty if you do not know."
    elif told.at is not None and told.at < now - _OLDEST:
        wrong["when"] = "That is more than a year ago: `panicroom import` takes old crashes in."
    if told.kernel and (" " in told.kernel or not told.kernel[0].isalnum()):
        wrong["kernel"] = "That is no kernel release; they look like 6.1.0-31-amd64."
    if told.text is not None and not _opened_anyway(ask) and not read_crash(told.text).crash:
        wrong["text"] = (
            "I read no kernel crash in this. Paste from “BUG:”, “Oops” or “Kernel panic” on; or tick the box below, "
            "and the panic stands as “cause unknown”."
            if told.text.strip()
            else "Paste what the kernel said; or tick the box below if nothing is left of it."
        )
    return wrong


def _opened_anyway(ask: Ask) -> bool:
    ticked = _element(ask, _ANYWAY).get("selected_options")
    return isinstance(ticked, list) and bool(ticked)


def _element(ask: Ask, block_id: str) -> Mapping[str, Any]:
    """The one element's state in a field."""
    found = ask.values.get(block_id)
    elements = [e for e in found.values() if isinstance(e, Mapping)] if isinstance(found, Mapping) else []
    return elements[0] if elements else {}


def _text(ask: Ask) -> str:
    value = _element(ask, "text").get("value")
    return clean(value) if isinstance(value, str) else ""


def _line(ask: Ask, block_id: str) -> str:
    value = _element(ask, block_id).get("value")
    return " ".join(clean(value).split())[:200] if isinstance(value, str) else ""
