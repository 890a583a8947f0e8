"""The payloads that acts of people become: who, where, with which trigger and which state."""

from __future__ import annotations

from typing import Any

from bot.demo.workspace.blockkit.settling import interactive_elements
from bot.demo.workspace.directory import TEAM_DOMAIN, TEAM_ID, Channel, User
from bot.demo.workspace.errors import ActError
from bot.demo.workspace.forms import state_of
from bot.demo.workspace.workspace import Workspace

Json = dict[str, Any]

#: What a used element carries beside its type and ids.
_VALUES = (
    "value",
    "selected_option",
    "selected_options",
    "selected_user",
    "selected_users",
    "selected_channel",
    "selected_channels",
    "selected_conversation",
    "selected_conversations",
    "selected_date",
    "selected_time",
    "selected_date_time",
    "rich_text_value",
)


class Payloads:
    """Builds payloads from the workspace's state; raises ActError for what is not there."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def user(self, user: str) -> User:
        """The person with that id; apps do not act."""
        found = self._workspace.directory.users.get(user)
        if found is None or found.is_bot:
            raise ActError("user_not_found", user)
        return found

    def channel(self, channel: str, user: str) -> Channel:
        """The channel with that id, if `user` may write in it."""
        found = self._workspace.directory.channels.get(channel)
        if found is None or ((found.is_private or found.is_im) and user not in found.members):
            raise ActError("channel_not_found", channel)
        if found.is_archived:
            raise ActError("is_archived", channel)
        return found

    def interaction(self, kind: str, who: User, *, view_id: str | None = None, trigger: bool = True) -> Json:
        """What every interaction payload carries, with a fresh trigger unless told otherwise."""
        payload: Json = {
            "type": kind,
            "user": {"id": who.id, "username": who.name, "name": who.name, "team_id": TEAM_ID},
            "api_app_id": self._workspace.app.app_id,
            "token": "verification-token",
            "team": {"id": TEAM_ID, "domain": TEAM_DOMAIN},
            "enterprise": None,
            "is_enterprise_install": False,
        }
        if trigger:
            payload["trigger_id"] = self._workspace.tickets.trigger(who.id, view_id=view_id)
        return payload

    def locate(
        self,
        payload: Json,
        who: User,
        *,
        channel: str | None,
        message_ts: str | None,
        view_id: str | None,
        state: Json | None,
    ) -> list[Json]:
        """Put into `payload` where the element stands; gives the blocks around it."""
        values = (state or {}).get("values", {})
        if view_id is not None:
            found = self._workspace.views.find(view_id)
            if found is None or found[0] != who.id:
                raise ActError("view_not_found", view_id)
            view = found[1]
            view["state"] = {"values": state_of(view["blocks"], values)}
            payload.update(container={"type": "view", "view_id": view_id}, view=view)
            return list(view["blocks"])
        if channel is None or message_ts is None:
            raise ActError("message_not_found", "give view_id, or channel and message_ts")
        where = self.channel(channel, who.id)
        message = self._workspace.messages.find_ephemeral(message_ts, who.id)
        ephemeral = message is not None
        message = message or self._workspace.messages.find(where.id, message_ts)
        if message is None:
            raise ActError("message_not_found", message_ts)
        blocks = [*message.get("blocks", ())]
        for attachment in message.get("attachments", ()):
            blocks += attachment.get("blocks", ())
        thread_ts = message.get("thread_ts")
        # A click on a parent is answered in the channel, on a reply in its thread.
        reply_to = thread_ts if thread_ts != message_ts else None
        container: Json = {
            "type": "message",
            "message_ts": message_ts,
            "channel_id": where.id,
            "is_ephemeral": ephemeral,
            **({"thread_ts": thread_ts} if thread_ts else {}),
        }
        payload.update(
            container=container,
            channel={"id": where.id, "name": "directmessage" if where.is_im else where.name},
            state={"values": state_of(blocks, values)},
            response_url=self.response_url("actions", where, who, message_ts, reply_to),
        )
        if not ephemeral:
            payload["message"] = as_sent(message)
        return blocks

    def used(self, blocks: list[Json], action: Json) -> Json:
        """The entry of `actions`: what the element is, from the blocks; what was chosen, from `action`."""
        for block, element in interactive_elements(blocks):
            same_block = action.get("block_id") in (None, block["block_id"])
            if same_block and element.get("action_id") == action.get("action_id"):
                break
        else:
            raise ActError("action_not_found", str(action.get("action_id")))
        used: Json = {
            "type": element["type"],
            "action_id": element["action_id"],
            "block_id": block["block_id"],
            "action_ts": self._workspace.ids.ts(),
        }
        for field in ("text", "style", "placeholder", "confirm"):
            if field in element and (field != "text" or element["type"] == "button"):
                used[field] = element[field]
        for field in _VALUES:
            if field in action:
                used[field] = action[field]
        if element["type"] == "button":
            used.pop("value", None)
            if "value" in element:
                used["value"] = element["value"]
        self._check_option(element, used)
        return used

    def response_url(
        self, kind: str, where: Channel, who: User, message_ts: str | None, thread_ts: str | None
    ) -> str:
        """A URL to answer this act."""
        return self._workspace.tickets.response_url(
            kind,
            base=self._workspace.base_url,
            channel=where.id,
            user=who.id,
            message_ts=message_ts,
            thread_ts=thread_ts,
        )

    def _check_option(self, element: Json, used: Json) -> None:
        options = element.get("options", [])
        for group in element.get("option_groups", ()):
            options = [*options, *group["options"]]
        chosen = (
            [used["selected_option"]] if used.get("selected_option") else used.get("selected_options", [])
        )
        if not options:
            return
        by_value = {option.get("value"): option for option in options}
        for option in chosen:
            if option.get("value") not in by_value:
                raise ActError("option_not_found", str(option.get("value")))
        if used.get("selected_option"):
            used["selected_option"] = by_value[used["selected_option"]["value"]]
        elif "selected_options" in used:
            used["selected_options"] = [by_value[option["value"]] for option in chosen]


def as_sent(message: Json) -> Json:
    """The message as the app gets it in a payload: without metadata, which only the API gives."""
    return {key: value for key, value in message.items() if key != "metadata"}
