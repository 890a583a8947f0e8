"""conversations.* and reactions.*: histories, threads, channels."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.messages import window
from bot.demo.workspace.webapi.arguments import Arguments
from bot.demo.workspace.webapi.lookup import channel_of, joined_channel, message_of, shown, writable_channel
from bot.demo.workspace.workspace import Workspace

Json = dict[str, Any]

MAX_PAGE = 999


async def history(workspace: Workspace, arguments: Arguments) -> Json:
    """conversations.history: newest first, top level only."""
    channel = joined_channel(workspace, arguments)
    limit = arguments.number("limit", 100, low=1, high=MAX_PAGE, error="invalid_limit")
    log = workspace.messages.log(channel.id)
    start, end = window(
        log.top,
        oldest=_stamp(arguments, "oldest"),
        latest=_stamp(arguments, "latest"),
        inclusive=arguments.flag("inclusive"),
    )
    if cursor := arguments.optional("cursor"):
        end = min(end, window(log.top, oldest=None, latest=_cursor_ts(cursor), inclusive=True)[1])
    page = log.top[max(start, end - limit) : end]
    metadata = arguments.flag("include_all_metadata")
    body: Json = {
        "messages": [shown(log.messages[ts], metadata=metadata) for ts in reversed(page)],
        "has_more": end - limit > start,
        "pin_count": 0,
        "response_metadata": {"next_cursor": ""},
    }
    if body["has_more"]:
        body["response_metadata"]["next_cursor"] = _cursor(log.top[end - limit - 1])
    return body


async def replies(workspace: Workspace, arguments: Arguments) -> Json:
    """conversations.replies: the parent, then its replies, oldest first."""
    channel = joined_channel(workspace, arguments)
    limit = arguments.number("limit", 1000, low=1, high=1000, error="invalid_limit")
    log = workspace.messages.log(channel.id)
    parent = log.messages.get(arguments.required("ts"))
    if parent is None:
        raise ApiError("thread_not_found")
    metadata = arguments.flag("include_all_metadata")
    stamps = log.threads.get(parent["ts"], [])
    oldest = _stamp(arguments, "oldest")
    start, end = window(
        stamps, oldest=oldest, latest=_stamp(arguments, "latest"), inclusive=arguments.flag("inclusive")
    )
    if cursor := arguments.optional("cursor"):
        start = max(start, window(stamps, oldest=_cursor_ts(cursor), latest=None, inclusive=True)[0])
    page = stamps[start : min(end, start + limit - 1 if limit > 1 else start)]
    has_more = start + len(page) < end
    body: Json = {
        "messages": [shown(parent, metadata=metadata)]
        + [shown(log.messages[ts], metadata=metadata) for ts in page],
        "has_more": has_more,
        "response_metadata": {"next_cursor": _cursor(stamps[start + len(page)]) if has_more else ""},
    }
    return body


async def info(workspace: Workspace, arguments: Arguments) -> Json:
    """conversations.info."""
    return {"channel": channel_of(workspace, arguments).api(viewer=workspace.app.bot_user_id)}


async def list_channels(workspace: Workspace, arguments: Arguments) -> Json:
    """conversations.list: public channels unless `types` says more."""
    kinds = arguments.text("types", "public_channel").replace(" ", "").split(",")
    bot = workspace.app.bot_user_id
    found = []
    for channel in workspace.directory.channels.values():
        kind = "im" if channel.is_im else "private_channel" if channel.is_private else "public_channel"
        hidden = kind != "public_channel" and bot not in channel.members
        if kind in kinds and not hidden and not (channel.is_archived and arguments.flag("exclude_archived")):
            found.append(channel.api(viewer=bot))
    return paged(found, "channels", arguments)


async def join(workspace: Workspace, arguments: Arguments) -> Json:
    """conversations.join: public channels only."""
    channel = channel_of(workspace, arguments)
    if channel.is_archived:
        raise ApiError("is_archived")
    if channel.is_im or channel.is_private:
        raise ApiError("method_not_supported_for_channel_type")
    workspace.join(channel, workspace.app.bot_user_id)
    return {"channel": channel.api(viewer=workspace.app.bot_user_id)}


async def add_reaction(workspace: Workspace, arguments: Arguments) -> Json:
    """reactions.add."""
    channel = writable_channel(workspace, arguments)
    message = message_of(workspace, channel, arguments.required("timestamp"))
    name = arguments.required("name").strip(":")
    user = workspace.app.bot_user_id
    reactions: list[Json] = message.setdefault("reactions", [])
    entry = next((reaction for reaction in reactions if reaction["name"] == name), None)
    if entry is None:
        reactions.append({"name": name, "users": [user], "count": 1})
    elif user in entry["users"]:
        raise ApiError("already_reacted")
    else:
        entry["users"].append(user)
        entry["count"] += 1
    workspace.messages.change(channel.id, message)
    return {}


def paged(found: list[Json], name: str, arguments: Arguments) -> Json:
    """One page of `found` by `limit` and `cursor`."""
    limit = arguments.number("limit", 1000, low=1, high=1000, error="invalid_limit")
    cursor = arguments.optional("cursor")
    start = int(_cursor_ts(cursor).replace(".", "")) if cursor else 0
    rest = start + limit < len(found)
    return {
        name: found[start : start + limit],
        "response_metadata": {"next_cursor": _cursor(str(start + limit)) if rest else ""},
    }


def _stamp(arguments: Arguments, name: str) -> str | None:
    """`oldest` and `latest`: seconds, with or without a fraction; 0 means no bound."""
    text = arguments.optional(name)
    if text is None:
        return None
    seconds, _, fraction = text.partition(".")
    if not seconds.isdigit() or (fraction and not fraction.isdigit()):
        raise ApiError(f"invalid_ts_{name}")
    if int(seconds) == 0:
        return None
    return f"{seconds}.{fraction[:6]:0<6}"


def _cursor(position: str) -> str:
    return base64.b64encode(f"next_ts:{position}".encode()).decode()


def _cursor_ts(cursor: str) -> str:
    try:
        kind, _, position = base64.b64decode(cursor, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ApiError("invalid_cursor") from error
    if kind != "next_ts" or not position.replace(".", "").isdigit():
        raise ApiError("invalid_cursor")
    return position


METHODS = {
    "conversations.history": history,
    "conversations.replies": replies,
    "conversations.info": info,
    "conversations.list": list_channels,
    "conversations.join": join,
    "reactions.add": add_reaction,
}
