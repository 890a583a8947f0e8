"""files.*: the external upload, in its two calls, and the file object."""

from __future__ import annotations

import copy
from typing import Any

from bot.demo.workspace.blockkit import check_content
from bot.demo.workspace.directory import Channel
from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.webapi.arguments import Arguments
from bot.demo.workspace.workspace import Workspace

Json = dict[str, Any]


async def get_upload_url(workspace: Workspace, arguments: Arguments) -> Json:
    """files.getUploadURLExternal."""
    filename = arguments.required("filename")
    length = arguments.number("length", 0, low=1, high=2**31, error="invalid_arguments")
    alt = arguments.text("alt_txt")
    if len(alt) > 1000:
        raise ApiError("alt_txt_too_large")
    url, file_id = workspace.files.expect(filename=filename, length=length, base=workspace.base_url, alt=alt)
    return {"upload_url": url, "file_id": file_id}


async def complete_upload(workspace: Workspace, arguments: Arguments) -> Json:
    """files.completeUploadExternal: finish the uploads and share them in one message a channel."""
    given = arguments.items("files", error="invalid_arguments")
    if not given:
        raise ApiError("invalid_arguments", messages=["missing required field: files"])
    channels = _channels(workspace, arguments)
    blocks = arguments.items("blocks", error="invalid_blocks_format")
    comment = arguments.text("initial_comment")
    check_content(text=comment, blocks=blocks, attachments=None)
    created = int(workspace.clock())
    documents = [
        workspace.files.complete(str(entry.get("id", "")), title=entry.get("title"), created=created)
        for entry in given
    ]
    # As in Slack, the answer does not tell where the files were shared: only files.info does.
    answer = copy.deepcopy(documents)
    thread_ts = arguments.optional("thread_ts")
    for channel in channels:
        message = workspace.bot_message(text=comment, blocks=blocks)
        message["files"] = documents
        message["upload"] = False
        posted = workspace.messages.post(channel.id, message, thread_ts=thread_ts)
        for document in documents:
            workspace.files.share(
                document["id"],
                channel=channel.id,
                private=channel.is_private,
                ts=posted["ts"],
                thread_ts=posted.get("thread_ts"),
            )
    return {"files": answer}


async def file_info(workspace: Workspace, arguments: Arguments) -> Json:
    """files.info."""
    document = workspace.files.find(arguments.required("file"))
    if document is None:
        raise ApiError("file_not_found")
    return {"file": document, "comments": [], "response_metadata": {"next_cursor": ""}}


async def delete_file(workspace: Workspace, arguments: Arguments) -> Json:
    """files.delete: the bytes are gone, and every message that showed the file shows a tombstone in its place."""
    file_id = arguments.required("file")
    document = workspace.files.find(file_id)
    if document is None:
        raise ApiError("file_not_found")
    if document.get("mode") == "tombstone":
        raise ApiError("file_deleted")
    if document["user"] != workspace.app.bot_user_id:
        raise ApiError("cant_delete_file")
    shares = await workspace.files.delete(file_id)
    tombstone = workspace.files.find(file_id)
    for channel, ts in shares:
        message = workspace.messages.find(channel, ts)
        if message is not None:
            message["files"] = [tombstone if f["id"] == file_id else f for f in message.get("files", ())]
            workspace.messages.change(channel, message)
    return {}


def _channels(workspace: Workspace, arguments: Arguments) -> list[Channel]:
    names = [arguments.text("channel_id"), *arguments.text("channels").split(",")]
    channels = []
    for name in dict.fromkeys(filter(None, (name.strip() for name in names))):
        channel = workspace.directory.channel(name)
        if channel is None:
            raise ApiError("channel_not_found")
        if workspace.app.bot_user_id not in channel.members:
            raise ApiError("not_in_channel")
        if channel.is_archived:
            raise ApiError("is_archived")
        channels.append(channel)
    return channels


METHODS = {
    "files.getUploadURLExternal": get_upload_url,
    "files.completeUploadExternal": complete_upload,
    "files.info": file_info,
    "files.delete": delete_file,
}
