"""What a person types, as Slack turns it into message text: entities, mentions, links."""

from __future__ import annotations

import re
from collections.abc import Callable

from bot.demo.workspace.directory import Directory

#: Control sequences that a client puts in itself; everything else that looks like one is escaped.
_CONTROL = re.compile(
    r"<(?:@[UW][A-Z0-9]+(?:\|[^<>]*)?|#[CGD][A-Z0-9]+(?:\|[^<>]*)?|!(?:here|channel|everyone)"
    r"|!subteam\^S[A-Z0-9]+(?:\|[^<>]*)?|https?://[^<>\s]+)>"
)
#: A mention by name, a URL, or a bare domain of a well-known kind: Slack links all three.
_TOKEN = re.compile(
    r"(?P<mention>(?<![\w@])@[a-z0-9][a-z0-9._-]*)"
    r"|(?P<channel>(?<![\w#&])#[a-z0-9][a-z0-9_-]*)"
    r"|(?P<url>https?://[^\s<>]+)"
    r"|(?P<domain>(?<![\w@./-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:com|net|org|io|dev|info)(?![\w.-]))"
)


def message_text(typed: str, directory: Directory) -> str:
    """The `text` of a message that somebody typed."""
    return _outside_control(typed, lambda part: _linked(_escaped(part), directory, labels=False))


def command_text(typed: str, directory: Directory, *, should_escape: bool) -> str:
    """The `text` of a slash command: always with entities, with `<@U…|name>` only if the command asks."""
    if not should_escape:
        return _escaped(typed)
    return _outside_control(typed, lambda part: _linked(_escaped(part), directory, labels=True))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _outside_control(text: str, change: Callable[[str], str]) -> str:
    parts: list[str] = []
    position = 0
    for control in _CONTROL.finditer(text):
        parts += [change(text[position : control.start()]), control.group()]
        position = control.end()
    return "".join([*parts, change(text[position:])])


def _linked(text: str, directory: Directory, *, labels: bool) -> str:
    def link(found: re.Match[str]) -> str:
        whole = found.group()
        if found["mention"]:
            return _mention(whole, directory, labels=labels) or whole
        if found["channel"]:
            channel = directory.channel(whole)
            return f"<#{channel.id}|{channel.name if labels else ''}>" if channel else whole
        if found["url"]:
            return f"<{whole}>"
        return f"<http://{whole}|{whole}>"

    return _TOKEN.sub(link, text)


def _mention(typed: str, directory: Directory, *, labels: bool) -> str | None:
    name = typed[1:]
    for user in directory.users.values():
        if user.name == name:
            return f"<@{user.id}|{name}>" if labels else f"<@{user.id}>"
    for group in directory.usergroups.values():
        if group.handle == name:
            return f"<!subteam^{group.id}|{typed}>" if labels else f"<!subteam^{group.id}>"
    return f"<!{name}>" if name in ("here", "channel", "everyone") else None
