"""The one app that is installed in the workspace: credentials, commands, shortcuts, subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

# Not secrets: the demo's own, known to everybody, good for the stand-in alone.
DEMO_SIGNING_SECRET = "demo-signing-secret"  # noqa: S105
DEMO_BOT_TOKEN = "xoxb-demo-bot-token"  # noqa: S105
DEMO_APP_TOKEN = "xapp-demo-app-token"  # noqa: S105


class Command(BaseModel):
    """A slash command. With `should_escape` its text carries `<@U…|name>` and links, as a manifest asks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    usage_hint: str = ""
    description: str = ""
    should_escape: bool = True


class Shortcut(BaseModel):
    """An entry of the message menu (`message`) or of the composer's menu (`global`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    callback_id: str
    type: str = "message"
    description: str = ""


class SlackApp(BaseModel):
    """The installed app. `request_url` set: HTTP mode, else Socket Mode."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    app_id: str = "A0PANICROOM"
    bot_id: str = "B0PANICROOM"
    bot_user_id: str = "U0PANICROOM"
    name: str = "panicroom"
    signing_secret: str = DEMO_SIGNING_SECRET
    bot_token: str = DEMO_BOT_TOKEN
    app_token: str = DEMO_APP_TOKEN
    commands: tuple[Command, ...] = (
        Command(
            command="/panic",
            usage_hint="list | show P-1 | triage P-1 | help",
            description="Kernel panics: find, show, triage",
        ),
    )
    shortcuts: tuple[Shortcut, ...] = ()
    events: frozenset[str] = frozenset({"app_mention", "app_home_opened"})

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], **credentials: str) -> SlackApp:
        """The app that a Slack app manifest describes; `credentials` as the fields of this class."""
        features: Mapping[str, Any] = manifest.get("features", {})
        settings: Mapping[str, Any] = manifest.get("settings", {})
        commands = tuple(
            Command(
                command=entry["command"],
                usage_hint=entry.get("usage_hint", ""),
                description=entry.get("description", ""),
                should_escape=bool(entry.get("should_escape", False)),
            )
            for entry in features.get("slash_commands", ())
        )
        shortcuts = tuple(
            Shortcut(
                name=entry["name"],
                callback_id=entry["callback_id"],
                type=entry["type"],
                description=entry.get("description", ""),
            )
            for entry in features.get("shortcuts", ())
        )
        events = frozenset(settings.get("event_subscriptions", {}).get("bot_events", ()))
        return cls.model_validate(
            {"commands": commands, "shortcuts": shortcuts, "events": events, **credentials}
        )
