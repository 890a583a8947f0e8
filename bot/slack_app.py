"""Bolt's AsyncApp with one listener a kind of request; each makes an `Ask` and hands it to the router."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient

from bot.slack_payloads import action_of, identify, opened_from, to_ask
from bot.slack_views import by_home, by_view
from commands.errors import CommandError
from commands.router import Respond, Router
from integrations.slack.client import SlackClient, patiently
from integrations.slack.errors import SlackError, SlackRefused

log = structlog.get_logger(__name__)
_ANY = re.compile(r"[\s\S]*")


async def _nothing_to_tell(_user: str, _said: str) -> None:
    """Where no home page is drawn."""


def make_bolt(
    router: Router,
    slack: SlackClient,
    *,
    on_home: Callable[[str], Awaitable[None]],
    tell_home: Callable[[str, str], Awaitable[None]] = _nothing_to_tell,
) -> AsyncApp:
    """The app. Requests reach it through `FrontDesk`, which has verified and stored them.

    `on_home(user)` draws a home page; `tell_home(user, said)` draws it anew with an answer on top, for what was pressed
    there: a home page belongs to no channel in which one could answer.
    """
    token = slack.config.bot_token.get_secret_value()

    async def authorize(team_id: str | None = None) -> AuthorizeResult:
        """Bolt's own asks Slack (auth.test): with Slack down, what was acknowledged before a restart would fail."""
        return AuthorizeResult(
            enterprise_id=None, team_id=team_id, bot_token=token, bot_user_id=slack.bot_user_id
        )

    app = AsyncApp(
        client=AsyncWebClient(base_url=slack.web.base_url),  # Bolt's own; the verbs speak through `slack`
        authorize=authorize,
        process_before_response=True,
        signing_secret=slack.config.signing_secret.get_secret_value() or None,
        request_verification_enabled=False,
        logger=logging.getLogger("slack_bolt"),
    )

    @app.command(_ANY)
    async def _command(ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        incoming = identify(body)
        await router.command_line(to_ask(incoming, _by_response_url(slack, body), slack.bot_user_id))

    @app.action(_ANY)
    async def _action(ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        incoming = identify(body)
        name = action_of(body)[0]
        view = body.get("view") or {}
        if view.get("type") != "home":
            respond = by_view(slack, body) if view else _by_response_url(slack, body)
            await router.click(name, to_ask(incoming, respond, slack.bot_user_id))
            return
        said: list[str] = []
        ask = to_ask(incoming, by_home(slack, body, said), slack.bot_user_id)
        try:
            await router.click(name, ask)
        finally:
            await tell_home(ask.user, "\n".join(said))

    @app.view(_ANY)
    async def _view(ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        incoming = identify(body)
        ask = to_ask(incoming, _unused, slack.bot_user_id)
        told = opened_from(body.get("view") or {})
        respond = _by_ephemeral(slack, ask.channel, ask.user, ask.thread_ts)
        if told.get("response_url"):
            where = {"response_url": told["response_url"], "channel_id": ask.channel, "user_id": ask.user}
            respond = _by_response_url(slack, where)
        elif not ask.channel:
            respond = _on_home(tell_home, ask.user)
        callback = str((body.get("view") or {}).get("callback_id") or "")
        await router.submit(callback, to_ask(incoming, respond, slack.bot_user_id))

    @app.view_closed(_ANY)
    async def _closed(ack: AsyncAck) -> None:
        await ack()

    @app.shortcut(_ANY)
    async def _shortcut(ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        incoming = identify(body)
        ask = to_ask(incoming, _by_response_url(slack, body), slack.bot_user_id)
        await router.use_shortcut(str(body.get("callback_id") or ""), ask)

    @app.options(_ANY)
    async def _options(ack: AsyncAck, body: dict[str, Any]) -> None:
        source = router.options.get(str(body.get("action_id") or ""))
        options: list[dict[str, Any]] = []
        if source is not None:
            try:
                options = await source(to_ask(identify(body), _unused, slack.bot_user_id))
            except CommandError as error:
                log.info("slack.options_refused", error=str(error))
        await ack(options=options[:100])

    @app.event("app_mention")
    async def _mention(body: dict[str, Any]) -> None:
        incoming = identify(body)
        event = body.get("event") or {}
        if event.get("bot_id") or event.get("user") in (None, "", slack.bot_user_id):
            return  # another bot's words, or our own: bots that answer bots never end
        ask = to_ask(incoming, _unused, slack.bot_user_id)
        respond = _by_ephemeral(slack, ask.channel, ask.user, ask.thread_ts)
        name = "@panicroom"
        await router.command_line(to_ask(incoming, respond, slack.bot_user_id), spoken=name)

    @app.event("app_home_opened")
    async def _home(body: dict[str, Any]) -> None:
        event = body.get("event") or {}
        if event.get("tab") in (None, "home"):
            await on_home(str(event.get("user") or ""))

    @app.event(_ANY)
    async def _other_event() -> None:
        """Events that the app is subscribed to by somebody's wish and the bot has no use for."""

    @app.error
    async def _error(error: Exception, body: dict[str, Any]) -> None:
        log.error(
            "slack.handler_failed",
            error=f"{type(error).__name__}: {error}",
            kind=body.get("type") or body.get("command"),
            exc_info=error,
        )

    return app


def _by_response_url(slack: SlackClient, body: dict[str, Any]) -> Respond:
    """Answers where the person asked. A response_url lives 30 minutes and five uses; then an ephemeral post."""
    url = str(body.get("response_url") or "")
    channel = str(body.get("channel_id") or (body.get("channel") or {}).get("id") or "")
    user = str(body.get("user_id") or (body.get("user") or {}).get("id") or "")
    thread_ts = _thread_of_reply(body)
    fallback = _by_ephemeral(slack, channel, user, thread_ts)

    async def respond(
        text: str,
        blocks: list[dict[str, Any]] | None = None,
        *,
        replace: bool = False,
        in_channel: bool = False,
    ) -> None:
        if not url:
            await fallback(text, blocks)
            return
        answer: dict[str, Any] = {
            "text": text,
            "response_type": "in_channel" if in_channel else "ephemeral",
            "replace_original": replace,
        }
        if blocks:
            answer["blocks"] = blocks
        if thread_ts and not replace:
            answer["thread_ts"] = thread_ts
        try:
            await patiently(lambda: slack.respond(url, answer))
        except SlackRefused:
            await fallback(text, blocks)
        except SlackError as error:
            log.warning("slack.answer_lost", error=str(error))

    return respond


def _thread_of_reply(body: dict[str, Any]) -> str | None:
    """The thread that a clicked reply is in. A parent stands in the channel, and there its clicks are answered."""
    message, container = body.get("message") or {}, body.get("container") or {}
    thread_ts = message.get("thread_ts") or container.get("thread_ts")
    here = message.get("ts") or container.get("message_ts")
    return str(thread_ts) if thread_ts and thread_ts != here else None


def _by_ephemeral(slack: SlackClient, channel: str, user: str, thread_ts: str | None) -> Respond:
    async def respond(
        text: str,
        blocks: list[dict[str, Any]] | None = None,
        *,
        replace: bool = False,
        in_channel: bool = False,
    ) -> None:
        if not channel or not user:
            log.warning("slack.nobody_to_answer", text=text[:200])
            return
        try:
            await patiently(lambda: slack.ephemeral(channel, user, text, blocks or (), thread_ts=thread_ts))
        except SlackError as error:
            log.warning("slack.answer_lost", error=str(error))

    return respond


def _on_home(tell_home: Callable[[str, str], Awaitable[None]], user: str) -> Respond:
    """For forms that were opened from a home page."""

    async def respond(
        text: str,
        blocks: list[dict[str, Any]] | None = None,
        *,
        replace: bool = False,
        in_channel: bool = False,
    ) -> None:
        await tell_home(user, text)

    return respond


async def _unused(
    text: str, blocks: list[dict[str, Any]] | None = None, *, replace: bool = False, in_channel: bool = False
) -> None:
    """Stands where the answer's way is not known yet."""
