"""Answers of the app outside the Web API: to a response URL, or in the acknowledgement of a command."""

from __future__ import annotations

import json
from typing import Any

import structlog
from aiohttp import web

from bot.demo.workspace.blockkit import check_content
from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.workspace import Workspace

log = structlog.get_logger(__name__)

Json = dict[str, Any]


class Responses:
    """Shows what the app answers to a command or an action."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """POST to a response URL."""
        fault = self._workspace.faults.take("response_url")
        if fault is not None:
            headers = {"Retry-After": str(fault.retry_after)} if fault.mode == "ratelimited" else {}
            return web.Response(status=429 if headers else 500, text="server_error", headers=headers)
        try:
            ticket = self._workspace.tickets.respond(request.match_info["token"])
            answer = await _document(request)
            self.show(answer, **{key: ticket[key] for key in ("channel", "user", "message_ts", "thread_ts")})
        except ApiError as error:
            log.warning("workspace_response_refused", error=error.code, messages=error.messages)
            status = 400 if error.status == 200 else error.status
            return web.json_response(error.answer(), status=status)
        return web.Response(text="ok")

    def show(
        self,
        answer: Json,
        *,
        channel: str,
        user: str,
        message_ts: str | None = None,
        thread_ts: str | None = None,
    ) -> None:
        """Show `answer` in `channel`: to `user` alone unless `response_type` is in_channel.

        `message_ts` is the message that was clicked: `replace_original` and `delete_original` mean it.
        """
        messages = self._workspace.messages
        whispered = message_ts is not None and messages.find_ephemeral(message_ts, user) is not None
        if answer.get("delete_original"):
            if message_ts is not None and whispered:
                messages.drop_ephemeral(message_ts)
            elif message_ts is not None and messages.find(channel, message_ts) is not None:
                messages.delete(channel, message_ts)
            return
        made = self._made(answer)
        # An answer to an action replaces what was clicked unless it says otherwise.
        replace = answer.get("replace_original", message_ts is not None and "response_type" not in answer)
        if replace and message_ts is not None:
            self._replace(channel, user, message_ts, made)
        elif answer.get("response_type") == "in_channel":
            messages.post(channel, made, thread_ts=answer.get("thread_ts"))
        else:
            messages.whisper(channel, user, made, thread_ts=answer.get("thread_ts") or thread_ts)

    def _made(self, answer: Json) -> Json:
        text = answer.get("text", "")
        if not isinstance(text, str):
            raise ApiError("invalid_payload")
        blocks, attachments = answer.get("blocks"), answer.get("attachments")
        if isinstance(blocks, str):
            blocks = json.loads(blocks)
        check_content(text=text, blocks=blocks, attachments=attachments, cumulative=False)
        if not (text or blocks or attachments):
            raise ApiError("no_text")
        return self._workspace.bot_message(text=text, blocks=blocks, attachments=attachments)

    def _replace(self, channel: str, user: str, message_ts: str, made: Json) -> None:
        messages = self._workspace.messages
        original = messages.find_ephemeral(message_ts, user)
        whispered = original is not None
        original = original or messages.find(channel, message_ts)
        if original is None:
            raise ApiError("message_not_found")
        for field in ("blocks", "attachments", "files"):
            original.pop(field, None)
        original.update({field: made[field] for field in ("text", "blocks", "attachments") if field in made})
        if whispered:
            messages.change_ephemeral(message_ts)
        else:
            messages.change(channel, original)


async def _document(request: web.Request) -> Json:
    raw = await request.read()
    if request.content_type == "application/x-www-form-urlencoded":
        raw = str((await request.post()).get("payload", "")).encode()
    try:
        body = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ApiError("invalid_payload") from error
    if not isinstance(body, dict):
        raise ApiError("invalid_payload")
    return body
