"""What every path of the stand-in needs: its state, what was asked, and how a refusal looks."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from bot.demo.tracker.tickets import READ_ONLY, Ticket, Tracker

TRACKER: web.AppKey[Tracker] = web.AppKey("tracker", Tracker)
_UNKNOWN = "Issue does not exist or you do not have permission to see it."


def ticket_of(
    request: web.Request, writing: str = "", *, status: int = 403
) -> tuple[Ticket | None, web.Response]:
    """The ticket of the path, or the refusal to send; with `writing`, only where its user may write."""
    ticket = request.app[TRACKER].ticket(request.match_info["key"])
    if ticket is None:
        return None, refuse(404, _UNKNOWN)
    if writing and ticket.project in READ_ONLY:
        return None, refuse(status, writing)
    return ticket, web.Response()


async def parameters(request: web.Request) -> dict[str, Any]:
    """The parameters of a GET, or a POST's JSON object."""
    if request.method == "GET":
        return {
            name: request.query.getall(name) if name == "fields" else request.query[name]
            for name in request.query
        }
    try:
        asked = await request.json()
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise web.HTTPBadRequest(
            text=json.dumps({"errorMessages": ["There was an error parsing JSON."], "errors": {}}),
            content_type="application/json",
        )
    return asked


def refuse(
    status: int, *messages: str, errors: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    """An error collection: messages, and errors by the field that they are about."""
    return web.json_response(
        {"errorMessages": list(messages), "errors": errors or {}}, status=status, headers=headers
    )


def is_cloud(request: web.Request) -> bool:
    return request.app[TRACKER].flavour == "cloud"


def version_of(request: web.Request) -> str:
    """The API's version in the path: 2, 3 or latest."""
    return request.path.partition("/rest/api/")[2].split("/", 1)[0]


def site_of(request: web.Request) -> str:
    """The address at which people browse."""
    return f"{request.scheme}://{request.host}"


def base_of(request: web.Request) -> str:
    """The address that the REST paths follow: the site's, or the gateway's when it was asked."""
    return site_of(request) + request.path.partition("/rest/")[0]
