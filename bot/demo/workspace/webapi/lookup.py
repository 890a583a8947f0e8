"""Channels and messages that a call names, with Slack's errors when they are not there."""

from __future__ import annotations

from typing import Any

from bot.demo.workspace.directory import Channel
from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.webapi.arguments import Arguments
from bot.demo.workspace.workspace import Workspace

Json = dict[str, Any]


def channel_of(workspace: Workspace, arguments: Arguments, name: str = "channel") -> Channel:
    """The channel that argument `name` means. A private one without the bot is as if it were not there."""
    channel = workspace.directory.channel(arguments.required(name))
    if channel is None or (channel.is_private and workspace.app.bot_user_id not in channel.members):
        raise ApiError("channel_not_found")
    return channel


def joined_channel(workspace: Workspace, arguments: Arguments, name: str = "channel") -> Channel:
    """A channel that the bot is a member of."""
    channel = channel_of(workspace, arguments, name)
    if workspace.app.bot_user_id not in channel.members:
        raise ApiError("not_in_channel")
    return channel


def writable_channel(workspace: Workspace, arguments: Arguments, name: str = "channel") -> Channel:
    """A channel that the bot may post to."""
    channel = joined_channel(workspace, arguments, name)
    if channel.is_archived:
        raise ApiError("is_archived")
    return channel


def message_of(workspace: Workspace, channel: Channel, ts: str) -> Json:
    """The message `ts` of `channel`."""
    message = workspace.messages.find(channel.id, ts)
    if message is None:
        raise ApiError("message_not_found")
    return message


def shown(message: Json, *, metadata: bool) -> Json:
    """The message as the history gives it: its metadata only when asked for."""
    if metadata or "metadata" not in message:
        return message
    return {key: value for key, value in message.items() if key != "metadata"}
