"""What Slack sends, taken apart: kind, a key that is the same when Slack sends it again, and the `Ask`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from commands.router import Ask, Respond


class BadPayload(Exception):
    """This is nothing that Slack sends."""


@dataclass(frozen=True)
class Incoming:
    """One request of Slack's. `dedupe` is unique to the request and the same for its retries."""

    kind: (
        str  # command, block_actions, view_submission, view_closed, shortcut, block_suggestion, event, other
    )
    dedupe: str
    payload: dict[str, Any]


def from_http(body: str, content_type: str) -> dict[str, Any]:
    """The payload in an HTTP request body: JSON (events), a form (commands), a form with JSON in `payload`."""
    try:
        if "json" in content_type:
            payload = json.loads(body)
        else:
            fields = dict(parse_qsl(body, keep_blank_values=True))
            payload = json.loads(fields["payload"]) if "payload" in fields else fields
    except (ValueError, RecursionError) as error:
        raise BadPayload(str(error)) from error
    if not isinstance(payload, dict) or not payload:
        raise BadPayload("not an object, or an empty one")
    return payload


def identify(payload: dict[str, Any]) -> Incoming:
    """Raises BadPayload when a part that is read later has another shape than Slack gives it."""
    _check_shape(payload)
    kind = str(payload.get("type") or "")
    if "command" in payload and "response_url" in payload:
        return Incoming("command", f"command:{payload.get('trigger_id') or _digest(payload)}", payload)
    if kind == "event_callback":
        return Incoming("event", f"event:{payload.get('event_id') or _digest(payload)}", payload)
    if kind in ("block_actions", "view_submission", "view_closed", "block_suggestion"):
        return Incoming(kind, f"{kind}:{payload.get('trigger_id') or _digest(payload)}", payload)
    if kind in ("message_action", "shortcut"):
        return Incoming("shortcut", f"shortcut:{payload.get('trigger_id') or _digest(payload)}", payload)
    return Incoming("other", f"other:{_digest(payload)}", payload)


def _check_shape(payload: dict[str, Any]) -> None:
    if not any(key in payload for key in ("type", "command", "ssl_check")):
        raise BadPayload("neither a command nor an event nor an interaction")
    if "command" in payload:
        return
    for name in ("view", "user", "channel", "event", "container", "message", "state"):
        if not isinstance(payload.get(name) or {}, dict):
            raise BadPayload(f"{name} is no object")
    view = payload.get("view") or {}
    if not isinstance(view.get("state") or {}, dict) or not isinstance(view.get("blocks") or [], list):
        raise BadPayload("the view has no state")
    values = (view.get("state") or payload.get("state") or {}).get("values") or {}
    if not isinstance(values, dict) or not all(_is_values(v) for v in values.values()):
        raise BadPayload("state.values is no object of objects")
    actions = payload.get("actions") or []
    if not isinstance(actions, list) or not all(isinstance(a, dict) for a in actions):
        raise BadPayload("actions is no list of objects")


def _is_values(block: Any) -> bool:
    return isinstance(block, dict) and all(isinstance(element, dict) for element in block.values())


def _digest(payload: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(payload, sort_keys=True, default=str).encode()).hexdigest()[:32]


def action_of(payload: Mapping[str, Any]) -> tuple[str, str | None]:
    """(router's action name, value). An overflow's entries are actions of their own: value `name|value`."""
    actions = payload.get("actions") or [{}]
    action = actions[0] if isinstance(actions[0], dict) else {}
    name = str(action.get("action_id") or "")
    value = action.get("value")
    option = action.get("selected_option")
    if isinstance(option, dict):
        value = str(option.get("value") or "")
        if action.get("type") == "overflow" and "|" in value:
            name, value = value.split("|", 1)
    return name, str(value) if value is not None else None


def label_of(payload: Mapping[str, Any]) -> str:
    """What the button, or the menu's entry, says."""
    actions = payload.get("actions") or [{}]
    action = actions[0] if isinstance(actions[0], dict) else {}
    option = action.get("selected_option")
    text = option.get("text") if isinstance(option, dict) else action.get("text")
    return str(text.get("text") or "")[:75] if isinstance(text, dict) else ""


def event_text(event: Mapping[str, Any], bot_user_id: str | None) -> str:
    """What was said to the bot, as it was typed, without the mention that begins (or is in) it."""
    text = str(event.get("text") or "")
    if bot_user_id:
        text = text.replace(f"<@{bot_user_id}>", " ", 1)
    return typed(text).strip()


_LINK = re.compile(r"<((?:https?|mailto|ftp):[^<>|]*)(?:\|([^<>]*))?>")


def typed(text: str) -> str:
    """What a person typed: Slack links addresses (`<http://web-1.net|web-1.net>`) and escapes &, < and >.

    Mentions of people (`<@U…>`) stay as Slack writes them.
    """
    text = _LINK.sub(lambda link: link.group(2) or link.group(1), text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def to_ask(incoming: Incoming, respond: Respond, bot_user_id: str | None) -> Ask:
    """The request as a verb sees it."""
    payload = incoming.payload
    if incoming.kind == "command":
        return Ask(
            request_id=incoming.dedupe,
            user=str(payload.get("user_id") or ""),
            channel=str(payload.get("channel_id") or ""),
            text=typed(str(payload.get("text") or "")),
            trigger_id=payload.get("trigger_id"),
            response_url=str(payload.get("response_url") or ""),
            respond=respond,
        )
    if incoming.kind == "event":
        event = payload.get("event") or {}
        return Ask(
            request_id=incoming.dedupe,
            user=str(event.get("user") or ""),
            channel=str(event.get("channel") or ""),
            text=event_text(event, bot_user_id),
            thread_ts=event.get("thread_ts"),
            message_ts=event.get("ts"),
            respond=respond,
        )
    user = str((payload.get("user") or {}).get("id") or "")
    view = payload.get("view") if isinstance(payload.get("view"), dict) else None
    if incoming.kind in ("view_submission", "view_closed") and view is not None:
        told = opened_from(view)
        return Ask(
            request_id=incoming.dedupe,
            user=user,
            channel=str(told.get("channel") or ""),
            thread_ts=told.get("thread_ts") or None,
            view=view,
            values=(view.get("state") or {}).get("values") or {},
            trigger_id=payload.get("trigger_id"),
            respond=respond,
        )
    message = payload.get("message") if isinstance(payload.get("message"), dict) else {}
    container = payload.get("container") or {}
    _, value = action_of(payload) if incoming.kind == "block_actions" else ("", payload.get("value"))
    return Ask(
        request_id=incoming.dedupe,
        user=user,
        channel=str((payload.get("channel") or {}).get("id") or container.get("channel_id") or ""),
        value=value,
        label=label_of(payload) if incoming.kind == "block_actions" else "",
        thread_ts=(message or {}).get("thread_ts") or container.get("thread_ts"),
        message_ts=(message or {}).get("ts") or container.get("message_ts"),
        trigger_id=payload.get("trigger_id"),
        response_url=str(payload.get("response_url") or ""),
        message=message or None,
        view=view,
        values=((view or {}).get("state") or {}).get("values")
        or (payload.get("state") or {}).get("values")
        or {},
        respond=respond,
    )


def opened_from(view: Mapping[str, Any]) -> dict[str, Any]:
    """The channel (and thread) that a form was opened from, which its `private_metadata` carries as JSON."""
    try:
        told = json.loads(view.get("private_metadata") or "{}")
    except (ValueError, TypeError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
