"""People, user groups and channels of the workspace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

TEAM_ID = "T0PANICROOM"
TEAM_DOMAIN = "panicroom-demo"
SLACKBOT = "USLACKBOT"

Json = dict[str, Any]


class User(BaseModel):
    """A member of the workspace."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    real_name: str = ""
    is_bot: bool = False
    is_admin: bool = False
    tz: str = "Etc/UTC"

    def api(self) -> Json:
        """The user object of `users.info`."""
        shown = self.real_name or self.name
        return {
            "id": self.id,
            "team_id": TEAM_ID,
            "name": self.name,
            "deleted": False,
            "real_name": shown,
            "tz": self.tz,
            "tz_label": "Coordinated Universal Time",
            "tz_offset": 0,
            "profile": {
                "real_name": shown,
                "real_name_normalized": shown,
                "display_name": self.name,
                "display_name_normalized": self.name,
                "team": TEAM_ID,
            },
            "is_admin": self.is_admin,
            "is_owner": False,
            "is_bot": self.is_bot,
            "is_app_user": False,
            "updated": 0,
        }


class Usergroup(BaseModel):
    """A user group, mentioned as `<!subteam^ID>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    handle: str
    name: str
    users: tuple[str, ...]

    def api(self, *, include_users: bool) -> Json:
        """The user group object of `usergroups.list`."""
        body: Json = {
            "id": self.id,
            "team_id": TEAM_ID,
            "is_usergroup": True,
            "handle": self.handle,
            "name": self.name,
            "description": "",
            "is_external": False,
            "date_create": 0,
            "date_update": 0,
            "date_delete": 0,
            "user_count": len(self.users),
        }
        if include_users:
            body["users"] = list(self.users)
        return body


class Channel(BaseModel):
    """A channel, or a direct message with the bot (`is_im`, `user`)."""

    model_config = ConfigDict(extra="forbid")

    id: str
    name: str = ""
    is_private: bool = False
    is_archived: bool = False
    is_im: bool = False
    user: str | None = None
    topic: str = ""
    members: set[str] = Field(default_factory=set)

    def api(self, *, viewer: str) -> Json:
        """The conversation object of `conversations.info`, as `viewer` sees it."""
        if self.is_im:
            return {"id": self.id, "is_im": True, "user": self.user, "is_archived": False, "created": 0}
        return {
            "id": self.id,
            "name": self.name,
            "name_normalized": self.name,
            "is_channel": not self.is_private,
            "is_group": self.is_private,
            "is_im": False,
            "is_mpim": False,
            "is_private": self.is_private,
            "is_archived": self.is_archived,
            "is_general": False,
            "is_shared": False,
            "is_member": viewer in self.members,
            "created": 0,
            "creator": SLACKBOT,
            "topic": {"value": self.topic, "creator": "", "last_set": 0},
            "purpose": {"value": "", "creator": "", "last_set": 0},
            "num_members": len(self.members),
            "context_team_id": TEAM_ID,
        }


class Directory:
    """Looks up people, groups and channels by id or name."""

    def __init__(
        self, *, users: Iterable[User], usergroups: Iterable[Usergroup], channels: Iterable[Channel]
    ) -> None:
        self.users = {user.id: user for user in users}
        self.usergroups = {group.id: group for group in usergroups}
        self.channels = {channel.id: channel for channel in channels}

    def channel(self, reference: str) -> Channel | None:
        """By id, `#name` or name; a user's id means the direct message with the bot."""
        if found := self.channels.get(reference):
            return found
        if reference in self.users:
            return self.direct_message(reference)
        name = reference.removeprefix("#")
        return next((c for c in self.channels.values() if c.name == name and not c.is_im), None)

    def direct_message(self, user: str) -> Channel:
        """The direct message channel between `user` and the bot, made when first needed."""
        channel_id = "D" + user[1:]
        if channel_id not in self.channels:
            members = {user, *(u.id for u in self.users.values() if u.is_bot)}
            self.channels[channel_id] = Channel(id=channel_id, is_im=True, user=user, members=members)
        return self.channels[channel_id]

    def visible_to(self, user: str) -> Iterator[Channel]:
        """Channels that the page lists for `user`."""
        for channel in self.channels.values():
            if user in channel.members or not (channel.is_private or channel.is_im):
                yield channel


def demo_directory(*, bot_user_id: str = "U0PANICROOM", bot_name: str = "panicroom") -> Directory:
    """The demo's four people, two groups and three channels; everybody and the bot are in each channel."""
    users = (
        User(id="U0ONCALL", name="on-call", real_name="On-call engineer"),
        User(id="U0KERNEL", name="kernel-engineer", real_name="Kernel engineer"),
        User(id="U0ADMIN", name="admin", real_name="Administrator", is_admin=True),
        User(id="U0VIEWER", name="viewer", real_name="Viewer"),
        User(id=bot_user_id, name=bot_name, real_name=bot_name.capitalize(), is_bot=True),
    )
    people = {user.id for user in users}
    return Directory(
        users=users,
        usergroups=(
            Usergroup(
                id="S0SREONCALL", handle="sre-oncall", name="SRE on call", users=("U0ONCALL", "U0KERNEL")
            ),
            Usergroup(id="S0ADMINS", handle="panicroom-admins", name="Panicroom admins", users=("U0ADMIN",)),
        ),
        channels=(
            Channel(
                id="C0INCIDENTS", name="incidents", topic="Kernel panics, one thread each", members=people
            ),
            Channel(id="C0ADMINS", name="panicroom-admins", members=set(people)),
            Channel(id="C0KERNEL", name="kernel-crashes", members=set(people)),
        ),
    )
