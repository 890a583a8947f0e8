"""Answers to what was pressed in a view: there is no channel to answer in, so they stand in a view of their own."""

from __future__ import annotations

from typing import Any

import structlog

from commands.router import Respond
from integrations.slack import blocks as b
from integrations.slack.client import SlackClient, patiently
from integrations.slack.errors import SlackError

log = structlog.get_logger(__name__)

_TITLE = "Panicroom"


def answer_view(text: str, blocks: list[dict[str, Any]] | None) -> dict[str, Any]:
    """An answer as a modal that is only read."""
    return b.modal("answer", _TITLE, blocks or [b.section(text)], submit=None, close="Close")


def by_view(slack: SlackClient, body: dict[str, Any]) -> Respond:
    """Pressed in a modal: the answer takes the place of what stands there, or lies upon it."""
    trigger, view_id = str(body.get("trigger_id") or ""), str((body.get("view") or {}).get("id") or "")

    async def respond(
        text: str,
        blocks: list[dict[str, Any]] | None = None,
        *,
        replace: bool = False,
        in_channel: bool = False,
    ) -> None:
        view = answer_view(text, blocks)
        try:
            if replace:
                await patiently(lambda: slack.update_view(view_id, view))
            else:
                fields = {"trigger_id": trigger, "view": view}
                await patiently(lambda: slack.call("views.push", fields), within=2.0)
        except SlackError as error:
            log.warning("slack.answer_lost", error=str(error))

    return respond


def by_home(slack: SlackClient, body: dict[str, Any], said: list[str]) -> Respond:
    """Pressed on a home page: a long answer opens as a modal; a short one is left in `said`, for the page itself."""
    trigger = str(body.get("trigger_id") or "")

    async def respond(
        text: str,
        blocks: list[dict[str, Any]] | None = None,
        *,
        replace: bool = False,
        in_channel: bool = False,
    ) -> None:
        if not blocks:
            said.append(text)
            return
        try:
            await slack.open_view(trigger, answer_view(text, blocks))
        except SlackError as error:
            log.warning("slack.answer_lost", error=str(error))
            said.append(f":hourglass: That took too long for Slack to show it: {text}\nPress once more.")

    return respond
