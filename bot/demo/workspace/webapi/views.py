"""views.*: modals and App Homes."""

from __future__ import annotations

from typing import Any

from bot.demo.workspace.blockkit import check_view, settled
from bot.demo.workspace.errors import ApiError
from bot.demo.workspace.webapi.arguments import Arguments
from bot.demo.workspace.workspace import Workspace

Json = dict[str, Any]


def accepted_view(given: Json | None, *, kind: str) -> Json:
    """A valid view of type `kind`; Slack's invalid_arguments, with each broken rule, for any other."""
    if given is None:
        raise ApiError("invalid_arguments", messages=["missing required field: view"])
    problems = check_view(given)
    if not problems and given["type"] != kind:
        problems = [f"must be of type {kind} [json-pointer:/view/type]"]
    if problems:
        raise ApiError("invalid_arguments", messages=problems)
    return given


async def open_view(workspace: Workspace, arguments: Arguments) -> Json:
    """views.open."""
    given = accepted_view(_view(arguments), kind="modal")
    pulled = workspace.tickets.pull(arguments.required("trigger_id"))
    view = workspace.views.open(pulled["user"], given, settled(given["blocks"], workspace.ids))
    return {"view": view}


async def push_view(workspace: Workspace, arguments: Arguments) -> Json:
    """views.push."""
    given = accepted_view(_view(arguments), kind="modal")
    pulled = workspace.tickets.pull(arguments.required("trigger_id"))
    view = workspace.views.push(pulled["user"], given, settled(given["blocks"], workspace.ids))
    return {"view": view}


async def update_view(workspace: Workspace, arguments: Arguments) -> Json:
    """views.update, by `view_id` or `external_id`."""
    view_id, external_id = arguments.optional("view_id"), arguments.optional("external_id")
    if view_id is None and external_id is None:
        raise ApiError("invalid_arguments", messages=["view_id or external_id is required"])
    found = workspace.views.find(view_id, external_id)
    if found is None:
        raise ApiError("not_found")
    user, view = found
    given = accepted_view(_view(arguments), kind=view["type"])
    blocks = settled(given["blocks"], workspace.ids)
    return {"view": workspace.views.update(user, view, given, blocks, hash_=arguments.optional("hash"))}


async def publish_view(workspace: Workspace, arguments: Arguments) -> Json:
    """views.publish."""
    user = arguments.required("user_id")
    if user not in workspace.directory.users:
        raise ApiError("user_not_found")
    given = accepted_view(_view(arguments), kind="home")
    blocks = settled(given["blocks"], workspace.ids)
    return {"view": workspace.views.publish(user, given, blocks, hash_=arguments.optional("hash"))}


def _view(arguments: Arguments) -> Json | None:
    return arguments.document("view", error="invalid_arguments")


METHODS = {
    "views.open": open_view,
    "views.push": push_view,
    "views.update": update_view,
    "views.publish": publish_view,
}
