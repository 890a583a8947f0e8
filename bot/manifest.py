"""The Slack app's manifest: what to paste at "Create an app from a manifest"."""

from __future__ import annotations

from typing import Any

from commands.panics.report_forms import SHORTCUT, SHORTCUT_NAME

# What each scope is for; the manifest, docs/slack-app.md and `panicroom doctor` agree on it.
BOT_SCOPES = {
    "app_mentions:read": "`@panicroom triage` in a thread, `@panicroom P-41` anywhere",
    "channels:history": "finding its own message again after an unclear failure",
    "channels:read": "`panicroom doctor`: whether it is in the channels",
    "chat:write": "the incident threads",
    "commands": "the slash command, and the entry in the menu of a message",
    "files:write": "the panic text and the evidence bundle",
    "groups:history": "the same in private channels",
    "groups:read": "the same in private channels",
    "usergroups:read": "roles by user group",
}
BOT_EVENTS = ("app_home_opened", "app_mention")


def app_manifest(*, socket_mode: bool, public_url: str | None, command: str = "/panic") -> dict[str, Any]:
    """The manifest as JSON values.

    HTTP mode needs `public_url`, the address at which Slack reaches the bot (ValueError without it); Socket
    Mode needs none, and an app-level token with `connections:write` instead.
    """
    if not socket_mode and not public_url:
        raise ValueError("HTTP mode needs the bot's public address: set server.public_url, or give --url")
    request_url = f"{(public_url or '').rstrip('/')}/slack/events"
    to_us = {} if socket_mode else {"request_url": request_url}
    slash = {
        "command": command,
        "description": "Kernel panics: find, show, triage",
        "usage_hint": "list | show P-1 | triage P-1 | link P-1 OPS-1 | help",
        "should_escape": True,
        **({} if socket_mode else {"url": request_url}),
    }
    interactivity: dict[str, Any] = {"is_enabled": True, **to_us}
    if not socket_mode:
        interactivity["message_menu_options_url"] = request_url
    shortcut = {
        "name": SHORTCUT_NAME,
        "type": "message",
        "callback_id": SHORTCUT,
        "description": "Reads the kernel crash in a message, and opens a thread for it",
    }
    return {
        "display_information": {
            "name": "Panicroom",
            "description": "A thread for every kernel panic: evidence, triage, the change, and a memory.",
            "background_color": "#5b1a1a",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": False,
                "messages_tab_read_only_enabled": True,
            },
            "bot_user": {"display_name": "panicroom", "always_online": True},
            "slash_commands": [slash],
            "shortcuts": [shortcut],
        },
        "oauth_config": {"scopes": {"bot": sorted(BOT_SCOPES)}},
        "settings": {
            "event_subscriptions": {"bot_events": list(BOT_EVENTS), **to_us},
            "interactivity": interactivity,
            "org_deploy_enabled": False,
            "socket_mode_enabled": socket_mode,
            "token_rotation_enabled": False,
        },
    }
