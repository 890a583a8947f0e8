"""Both searches: the classic one of Data Center, and the enhanced one of Cloud."""

from __future__ import annotations

import base64
import json
from typing import Any

from aiohttp import web

from bot.demo.tracker.exchange import TRACKER, base_of, is_cloud, parameters, refuse, version_of
from bot.demo.tracker.jql import JqlError, parse, search
from bot.demo.tracker.render import fields_of, issue_json


async def classic(request: web.Request) -> web.Response:
    """Classic search with startAt; Cloud has removed it."""
    tracker = request.app[TRACKER]
    if tracker.flavour == "cloud":
        return refuse(
            410, "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API."
        )
    asked = await parameters(request)
    tracker.queries.append(asked)
    try:
        found = search(str(asked.get("jql") or ""), tracker.tickets(), tracker.clock())
        start, limit = int(asked.get("startAt") or 0), int(asked.get("maxResults") or 50)
    except JqlError as wrong:
        return refuse(400, str(wrong))
    except ValueError:
        return refuse(400, "startAt and maxResults are numbers.")
    page = found[start : start + min(limit, tracker.page_limit)]
    names = fields_of(asked.get("fields"), "*navigable")
    issues = [issue_json(t, base_of(request), names, version_of(request), cloud=False) for t in page]
    return web.json_response(
        {
            "expand": "schema,names",
            "startAt": start,
            "maxResults": min(limit, tracker.page_limit),
            "total": len(found),
            "issues": issues,
        }
    )


async def enhanced(request: web.Request) -> web.Response:
    """Enhanced search: pages by nextPageToken, no startAt and no total; only ids unless fields are asked for."""
    tracker = request.app[TRACKER]
    asked = await parameters(request)
    tracker.queries.append(asked)
    jql = str(asked.get("jql") or "")
    try:
        if parse(jql).where is None:
            return refuse(
                400,
                "Unbounded JQL queries are not allowed here. Please add a search restriction to your query.",
            )
        found = search(jql, tracker.tickets(), tracker.clock())
        start = _from_token(str(asked.get("nextPageToken") or ""), jql)
        limit = min(int(asked.get("maxResults") or 50), tracker.page_limit)
    except JqlError as wrong:
        return refuse(400, str(wrong))
    except ValueError:
        return refuse(400, "Invalid nextPageToken or maxResults.")
    page = found[start : start + limit]
    names, version = fields_of(asked.get("fields"), "id"), version_of(request)
    issues = [issue_json(t, base_of(request), names, version, cloud=is_cloud(request)) for t in page]
    answer: dict[str, Any] = {"issues": issues, "isLast": start + limit >= len(found)}
    if not answer["isLast"]:
        answer["nextPageToken"] = _token(start + limit, jql)
    return web.json_response(answer)


def _token(start: int, jql: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([start, jql]).encode()).decode()


def _from_token(token: str, jql: str) -> int:
    """Where the page begins; ValueError for a token that is none, or is of another query."""
    if not token:
        return 0
    start, of = json.loads(base64.urlsafe_b64decode(token))
    if of != jql or not isinstance(start, int):
        raise ValueError(token)
    return start
