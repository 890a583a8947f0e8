"""What people do: say, command, click, choose, submit, close, open. Each becomes a payload for the app."""

from __future__ import annotations

from typing import Any

import structlog

from bot.demo.workspace import typed
from bot.demo.workspace.blockkit import settled
from bot.demo.workspace.delivery import Ack
from bot.demo.workspace.directory import SLACKBOT, TEAM_DOMAIN, TEAM_ID, Channel, User
from bot.demo.workspace.errors import ActError, ApiError
from bot.demo.workspace.forms import input_problems, state_of
from bot.demo.workspace.payloads import Payloads, as_sent
from bot.demo.workspace.responses import Responses
from bot.demo.workspace.webapi.views import accepted_view
from bot.demo.workspace.workspace import Workspace

log = structlog.get_logger(__name__)

Json = dict[str, Any]

_FAILED = {
    "http_timeout": '{} failed with the error "operation_timeout"',
    "http_error": '{} failed with the error "dispatch_failed"',
}
_NO_ANSWER = (
    "{} failed because the app did not respond. If this keeps happening, reach out to the app's owner."
)


class Acts:
    """Acts of people, as the page and the tests ask for them. `user` is a user id throughout."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._payloads = Payloads(workspace)
        self._responses = Responses(workspace)

    async def say(self, user: str, channel: str, text: str, *, thread_ts: str | None = None) -> Json:
        """A message or, with a leading slash, a command. Gives {message} or {acknowledged, error?}."""
        who, where = self._payloads.user(user), self._payloads.channel(channel, user)
        if text.startswith("/"):
            return await self._command(who, where, text, thread_ts)
        if not text.strip():
            raise ActError("no_text")
        workspace = self._workspace
        message: Json = {
            "type": "message",
            "user": user,
            "team": TEAM_ID,
            "client_msg_id": workspace.ids.token(32),
            "text": typed.message_text(text, workspace.directory),
        }
        workspace.join(where, user)
        posted = workspace.messages.post(where.id, message, thread_ts=thread_ts)
        self._tell_app(where, posted)
        return {"message": posted}

    async def act(
        self,
        user: str,
        action: Json,
        *,
        channel: str | None = None,
        message_ts: str | None = None,
        view_id: str | None = None,
        state: Json | None = None,
    ) -> Json:
        """Use an element of a message or a view (block_actions). Gives {acknowledged, error?}."""
        who = self._payloads.user(user)
        payload = self._payloads.interaction("block_actions", who, view_id=view_id)
        blocks = self._payloads.locate(
            payload, who, channel=channel, message_ts=message_ts, view_id=view_id, state=state
        )
        payload["actions"] = [self._payloads.used(blocks, action)]
        ack = await self._workspace.delivery.interaction(payload)
        return self._acknowledged(ack, user)

    async def suggest(
        self,
        user: str,
        *,
        action_id: str,
        block_id: str,
        value: str,
        channel: str | None = None,
        message_ts: str | None = None,
        view_id: str | None = None,
    ) -> Json:
        """Ask the app for the options of an external select (block_suggestion)."""
        who = self._payloads.user(user)
        payload = self._payloads.interaction("block_suggestion", who, trigger=False)
        self._payloads.locate(
            payload, who, channel=channel, message_ts=message_ts, view_id=view_id, state=None
        )
        payload.pop("response_url", None)
        payload.update(action_id=action_id, block_id=block_id, value=value)
        ack = await self._workspace.delivery.interaction(payload)
        if not ack.ok:
            raise ActError(_code(ack), ack.error or "")
        return {key: ack.body[key] for key in ("options", "option_groups") if key in ack.body}

    async def submit(self, user: str, view_id: str, state: Json) -> Json:
        """Submit a modal. Gives {} or {errors: {block_id: text}}; what the app answers is done to the stack."""
        who, view = self._payloads.user(user), self._top_view(user, view_id)
        view["state"] = {"values": state_of(view["blocks"], state.get("values", {}))}
        if problems := input_problems(view["blocks"], view["state"]["values"]):
            return {"errors": problems}
        payload = self._payloads.interaction("view_submission", who, view_id=view_id)
        payload.update(view=view, response_urls=[])
        ack = await self._workspace.delivery.interaction(payload)
        if not ack.ok:
            self._workspace.notice("We had some trouble connecting. Try again?", user=user)
            raise ActError(_code(ack), ack.error or "")
        return await self._after_submission(user, view, ack.body)

    async def close(self, user: str, view_id: str) -> Json:
        """Close the visible modal; the app is told when the view asks for it."""
        who = self._payloads.user(user)
        view = self._top_view(user, view_id)
        if view["clear_on_close"]:
            closed = self._workspace.views.clear(user)
        else:
            self._workspace.views.close(user, view_id)
            closed = [view]
        self._tell_closed(who, closed, cleared=view["clear_on_close"])
        return {}

    async def shortcut(
        self, user: str, callback_id: str, *, channel: str | None = None, message_ts: str | None = None
    ) -> Json:
        """A message shortcut (with channel and message) or a global one."""
        who = self._payloads.user(user)
        known = next((s for s in self._workspace.app.shortcuts if s.callback_id == callback_id), None)
        if known is None:
            raise ActError("unknown_shortcut", callback_id)
        kind = "message_action" if known.type == "message" else "shortcut"
        payload = self._payloads.interaction(kind, who)
        payload.update(callback_id=callback_id, action_ts=self._workspace.ids.ts())
        if kind == "message_action":
            if channel is None or message_ts is None:
                raise ActError("message_not_found", "a message shortcut needs channel and message_ts")
            where = self._payloads.channel(channel, user)
            message = self._workspace.messages.find(where.id, message_ts)
            if message is None:
                raise ActError("message_not_found")
            payload.update(
                channel={"id": where.id, "name": where.name},
                message_ts=message_ts,
                message=as_sent(message),
                response_url=self._payloads.response_url("app", where, who, None, message.get("thread_ts")),
            )
        return self._acknowledged(await self._workspace.delivery.interaction(payload), user)

    async def open_home(self, user: str) -> Json:
        """Open the App Home: gives {view} as it is now; the app is told and may publish a newer one."""
        self._payloads.user(user)
        view = self._workspace.views.homes.get(user)
        event: Json = {
            "type": "app_home_opened",
            "user": user,
            "channel": self._workspace.directory.direct_message(user).id,
            "tab": "home",
            "event_ts": self._workspace.ids.ts(),
        }
        if view is not None:
            event["view"] = view
        self._workspace.spawn(self._workspace.delivery.event(event))
        return {"view": view}

    async def _command(self, who: User, where: Channel, text: str, thread_ts: str | None) -> Json:
        workspace = self._workspace
        name, _, rest = text.partition(" ")
        command = next((c for c in workspace.app.commands if c.command == name), None)
        if thread_ts is not None:
            self._slackbot(where, who, f"{name} is not supported in threads. Sorry!", thread_ts)
            return {"acknowledged": False, "error": "not_supported_in_threads"}
        if command is None:
            self._slackbot(where, who, f"{name} is not a valid command.", None)
            return {"acknowledged": False, "error": "unknown_command"}
        response_url = self._payloads.response_url("commands", where, who, None, None)
        payload = {
            "token": "verification-token",
            "team_id": TEAM_ID,
            "team_domain": TEAM_DOMAIN,
            "channel_id": where.id,
            "channel_name": "directmessage" if where.is_im else where.name,
            "user_id": who.id,
            "user_name": who.name,
            "command": name,
            "text": typed.command_text(
                rest.strip(), workspace.directory, should_escape=command.should_escape
            ),
            "api_app_id": workspace.app.app_id,
            "is_enterprise_install": "false",
            "response_url": response_url,
            "trigger_id": workspace.tickets.trigger(who.id),
        }
        ack = await workspace.delivery.command(payload)
        if not ack.ok:
            self._slackbot(where, who, _FAILED.get(ack.error or "", _NO_ANSWER).format(name), None)
            return {"acknowledged": False, "error": ack.error}
        if ack.body:
            try:
                self._responses.show(ack.body, channel=where.id, user=who.id)
            except ApiError as error:
                log.warning("workspace_ack_refused", error=error.code, messages=error.messages)
                self._slackbot(where, who, _FAILED["http_error"].format(name), None)
                return {"acknowledged": True, "error": error.code, "messages": list(error.messages)}
        return {"acknowledged": True}

    def _tell_app(self, where: Channel, message: Json) -> None:
        workspace = self._workspace
        if workspace.app.bot_user_id not in where.members:
            return
        event: Json = {
            **as_sent(message),
            "channel": where.id,
            "event_ts": message["ts"],
            "channel_type": "im" if where.is_im else "group" if where.is_private else "channel",
        }
        workspace.spawn(workspace.delivery.event(event))
        if f"<@{workspace.app.bot_user_id}" in message["text"]:
            mention = {k: v for k, v in event.items() if k != "channel_type"}
            workspace.spawn(workspace.delivery.event({**mention, "type": "app_mention"}))

    async def _after_submission(self, user: str, view: Json, answer: Json) -> Json:
        workspace, who = self._workspace, self._payloads.user(user)
        match answer.get("response_action"):
            case "errors":
                return {"errors": answer.get("errors", {})}
            case "clear":
                self._tell_closed(who, workspace.views.clear(user)[1:], cleared=True)
            case "update" | "push" as how:
                try:
                    given = accepted_view(answer.get("view"), kind="modal")
                    blocks = settled(given["blocks"], workspace.ids)
                    if how == "push":
                        workspace.views.push(user, given, blocks)
                    else:
                        workspace.views.update(user, view, given, blocks, hash_=None)
                except ApiError as error:
                    detail = "; ".join(error.messages) or error.code
                    workspace.notice(f"The app answered with a bad view: {detail}", user=user)
                    raise ActError("bad_view", detail) from error
            case _:
                workspace.views.close(user, view["id"])
        return {}

    def _tell_closed(self, who: User, closed: list[Json], *, cleared: bool) -> None:
        """Tell the app about closed views that ask for it; the person does not wait for that."""
        for view in closed:
            if view["notify_on_close"]:
                payload = self._payloads.interaction("view_closed", who, trigger=False)
                payload.update(view=view, is_cleared=cleared)
                self._workspace.spawn(self._deliver_unheard(payload))

    async def _deliver_unheard(self, payload: Json) -> None:
        ack = await self._workspace.delivery.interaction(payload)
        if not ack.ok:
            log.info("workspace_view_closed_unheard", error=ack.error)

    def _acknowledged(self, ack: Ack, user: str) -> Json:
        if ack.ok:
            return {"acknowledged": True}
        self._workspace.notice("This app responded with an error, or not at all.", user=user)
        return {"acknowledged": False, "error": ack.error}

    def _slackbot(self, where: Channel, who: User, text: str, thread_ts: str | None) -> None:
        message: Json = {"type": "message", "user": SLACKBOT, "team": TEAM_ID, "text": text}
        self._workspace.messages.whisper(where.id, who.id, message, thread_ts=thread_ts)

    def _top_view(self, user: str, view_id: str) -> Json:
        stack = self._workspace.views.stack(user)
        if not stack or stack[-1]["id"] != view_id:
            raise ActError("view_not_found", view_id)
        return stack[-1]


def _code(ack: Ack) -> str:
    """Why nothing came of it, in the words of Slack's client."""
    return "operation_timeout" if ack.error == "http_timeout" else "dispatch_failed"
