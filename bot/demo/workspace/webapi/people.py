"""auth.*, api.*, apps.*, users.*, usergroups.*: who is there."""

from __future__ import annotations

from typing import Any

from bot.demo.workspace.directory import TEAM_DOMAIN, TEAM_ID
from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.webapi.arguments import Arguments
from bot.demo.workspace.webapi.conversations import paged
from bot.demo.workspace.workspace import Workspace

Json = dict[str, Any]


async def auth_test(workspace: Workspace, arguments: Arguments) -> Json:
    """auth.test."""
    return {
        "url": workspace.base_url + "/",
        "team": TEAM_DOMAIN,
        "user": workspace.app.name,
        "team_id": TEAM_ID,
        "user_id": workspace.app.bot_user_id,
        "bot_id": workspace.app.bot_id,
        "is_enterprise_install": False,
    }


async def api_test(workspace: Workspace, arguments: Arguments) -> Json:
    """api.test: gives back its arguments; `error` makes it fail with that code."""
    if error := arguments.optional("error"):
        raise ApiError(error)
    return {"args": arguments.public()}


async def open_connection(workspace: Workspace, arguments: Arguments) -> Json:
    """apps.connections.open: one websocket address for Socket Mode."""
    base = workspace.base_url.replace("http", "ws", 1)
    return {"url": f"{base}/socket/{workspace.sockets.ticket()}"}


async def user_info(workspace: Workspace, arguments: Arguments) -> Json:
    """users.info."""
    user = workspace.directory.users.get(arguments.required("user"))
    if user is None:
        raise ApiError("user_not_found")
    return {"user": user.api()}


async def list_users(workspace: Workspace, arguments: Arguments) -> Json:
    """users.list."""
    return paged([user.api() for user in workspace.directory.users.values()], "members", arguments)


async def list_usergroups(workspace: Workspace, arguments: Arguments) -> Json:
    """usergroups.list."""
    include = arguments.flag("include_users")
    groups = workspace.directory.usergroups.values()
    return {"usergroups": [group.api(include_users=include) for group in groups]}


async def list_usergroup_users(workspace: Workspace, arguments: Arguments) -> Json:
    """usergroups.users.list."""
    group = workspace.directory.usergroups.get(arguments.required("usergroup"))
    if group is None:
        raise ApiError("no_such_subteam")
    return {"users": list(group.users)}


METHODS = {
    "auth.test": auth_test,
    "api.test": api_test,
    "apps.connections.open": open_connection,
    "users.info": user_info,
    "users.list": list_users,
    "usergroups.list": list_usergroups,
    "usergroups.users.list": list_usergroup_users,
}
