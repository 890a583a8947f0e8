"""chat.*: post, update, delete, whisper, permalink."""

from __future__ import annotations

from typing import Any

from bot.demo.workspace.blockkit import check_content, check_metadata, settled
from bot.demo.workspace.directory import Channel
from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.webapi.arguments import Arguments
from bot.demo.workspace.webapi.lookup import channel_of, message_of, writable_channel
from bot.demo.workspace.workspace import Workspace

Json = dict[str, Any]


class Content:
    """What a message says: `text`, `blocks`, `attachments`, `metadata`, each None when not given."""

    def __init__(self, arguments: Arguments) -> None:
        self.text = arguments.text("text") if "text" in arguments else None
        self.blocks = arguments.items("blocks", error="invalid_blocks_format")
        self.attachments = arguments.items("attachments", error="invalid_attachments")
        self.metadata = arguments.document("metadata", error="invalid_metadata_format")
        check_content(text=self.text, blocks=self.blocks, attachments=self.attachments)
        if self.metadata:
            check_metadata(self.metadata)

    def require(self) -> None:
        """Raise no_text when there is nothing to show."""
        if not (self.text or self.blocks or self.attachments):
            raise ApiError("no_text")

    def message(self, workspace: Workspace) -> Json:
        return workspace.bot_message(
            text=self.text or "",
            blocks=self.blocks,
            attachments=self.attachments,
            metadata=self.metadata,
        )


async def post_message(workspace: Workspace, arguments: Arguments) -> Json:
    """chat.postMessage."""
    channel = writable_channel(workspace, arguments)
    content = Content(arguments)
    content.require()
    _keep_pace(workspace, channel)
    message = workspace.messages.post(
        channel.id,
        content.message(workspace),
        thread_ts=arguments.optional("thread_ts"),
        broadcast=arguments.flag("reply_broadcast"),
    )
    return {"channel": channel.id, "ts": message["ts"], "message": message}


async def post_ephemeral(workspace: Workspace, arguments: Arguments) -> Json:
    """chat.postEphemeral."""
    channel = writable_channel(workspace, arguments)
    user = arguments.required("user")
    if user not in workspace.directory.users:
        raise ApiError("user_not_found")
    if user not in channel.members:
        raise ApiError("user_not_in_channel")
    content = Content(arguments)
    content.require()
    message = workspace.messages.whisper(
        channel.id, user, content.message(workspace), thread_ts=arguments.optional("thread_ts")
    )
    return {"message_ts": message["ts"]}


async def update(workspace: Workspace, arguments: Arguments) -> Json:
    """chat.update. Text without blocks removes the blocks; blocks hide the "edited" mark."""
    channel = writable_channel(workspace, arguments)
    message = message_of(workspace, channel, arguments.required("ts"))
    if message.get("bot_id") != workspace.app.bot_id or message.get("subtype") == "tombstone":
        raise ApiError("cant_update_message")
    content = Content(arguments)
    given = (content.text, content.blocks, content.attachments, content.metadata)
    if all(part is None for part in given):
        raise ApiError("no_text")
    if content.text is not None:
        message["text"] = content.text
        if content.blocks is None:
            message.pop("blocks", None)
            message["edited"] = {"user": workspace.app.bot_id, "ts": workspace.ids.ts()}
    _replace(message, "blocks", None if content.blocks is None else settled(content.blocks, workspace.ids))
    _replace(message, "attachments", workspace.settled_attachments(content.attachments))
    _replace(message, "metadata", content.metadata)
    workspace.messages.change(channel.id, message)
    return {"channel": channel.id, "ts": message["ts"], "text": message["text"], "message": message}


async def delete(workspace: Workspace, arguments: Arguments) -> Json:
    """chat.delete."""
    channel = channel_of(workspace, arguments)
    message = message_of(workspace, channel, arguments.required("ts"))
    if message.get("bot_id") != workspace.app.bot_id:
        raise ApiError("cant_delete_message")
    workspace.messages.delete(channel.id, message["ts"])
    return {"channel": channel.id, "ts": message["ts"]}


async def get_permalink(workspace: Workspace, arguments: Arguments) -> Json:
    """chat.getPermalink."""
    channel = channel_of(workspace, arguments)
    message = message_of(workspace, channel, arguments.required("message_ts"))
    return {"channel": channel.id, "permalink": workspace.permalink(channel.id, message)}


def _replace(message: Json, field: str, value: Any) -> None:
    """None keeps what was there; an empty value removes it."""
    if value:
        message[field] = value
    elif value is not None:
        message.pop(field, None)


def _keep_pace(workspace: Workspace, channel: Channel) -> None:
    pace = workspace.faults.pace
    if pace is not None and not pace.admit(channel.id):
        raise ApiError("ratelimited", status=429, headers={"Retry-After": "1"})


METHODS = {
    "chat.postMessage": post_message,
    "chat.postEphemeral": post_ephemeral,
    "chat.update": update,
    "chat.delete": delete,
    "chat.getPermalink": get_permalink,
}
