"""The stand-in's HTTP side: Jira's REST paths for Cloud (api 2 and 3) or Data Center (api 2), and pages to browse."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bot.demo.tracker import adf, pages
from bot.demo.tracker.jql import JqlError, parse, search
from bot.demo.tracker.render import comment_json, fields_of, issue_json, link_json
from bot.demo.tracker.tickets import READ_ONLY, Ticket, Tracker

TRACKER: web.AppKey[Tracker] = web.AppKey("tracker", Tracker)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_UNKNOWN = "Issue does not exist or you do not have permission to see it."
_COMMENT_LIMIT = 32767


def make_app(tracker: Tracker) -> web.Application:
    """The aiohttp application over `tracker`; faults are made by `tracker.fail` or POST /demo/faults."""
    app = web.Application(middlewares=[_faults, _authenticated], client_max_size=4 * 1024 * 1024)
    app[TRACKER] = tracker
    for version in ("2", "latest") if tracker.flavour == "datacenter" else ("2", "3", "latest"):
        base = f"/rest/api/{version}"
        app.router.add_get(f"{base}/serverInfo", _server_info)
        app.router.add_get(f"{base}/myself", _myself)
        app.router.add_get(f"{base}/field", _fields)
        app.router.add_route("*", f"{base}/search", _search)
        if tracker.flavour == "cloud":
            app.router.add_get(f"{base}/search/jql", _search_jql)
            app.router.add_post(f"{base}/search/jql", _search_jql)
        app.router.add_get(f"{base}/issue/{{key}}", _issue)
        app.router.add_get(f"{base}/issue/{{key}}/comment", _comments)
        app.router.add_post(f"{base}/issue/{{key}}/comment", _add_comment)
        app.router.add_get(f"{base}/issue/{{key}}/remotelink", _links)
        app.router.add_post(f"{base}/issue/{{key}}/remotelink", _add_link)
    app.router.add_get("/", _index)
    app.router.add_get("/browse/{key}", _browse)
    app.router.add_post("/demo/faults", _make_fault)
    return app


@web.middleware
async def _faults(request: web.Request, handler: _Handler) -> web.StreamResponse:
    tracker = request.app[TRACKER]
    if not request.path.startswith("/rest/"):
        return await handler(request)
    tracker.calls.append(f"{request.method} {request.path}")
    fault = tracker.fault(request.path)
    if fault is None:
        return await handler(request)
    if fault.mode == "slow":
        await asyncio.sleep(fault.delay)
        return await handler(request)
    if fault.mode == "html":
        return web.Response(text="<html><body>Log in to continue</body></html>", content_type="text/html")
    if fault.mode == "429":
        headers = {"Retry-After": str(int(fault.delay))} if fault.delay else {}
        return _errors(429, "Rate limit exceeded.", headers=headers)
    if fault.mode in {"500", "503"}:
        return web.Response(
            status=int(fault.mode), text="<html>Internal error</html>", content_type="text/html"
        )
    if fault.mode == "lost_answer":
        await handler(request)
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


@web.middleware
async def _authenticated(request: web.Request, handler: _Handler) -> web.StreamResponse:
    tracker = request.app[TRACKER]
    open_to_all = not request.path.startswith("/rest/") or request.path.endswith("/serverInfo")
    if open_to_all or _known(tracker, request.headers.get("Authorization", "")):
        return await handler(request)
    message = "Client must be authenticated to access this resource."
    headers = {"WWW-Authenticate": 'OAuth realm="demo"', "X-Seraph-LoginReason": "AUTHENTICATED_FAILED"}
    if tracker.flavour == "cloud":
        return _errors(401, message, headers=headers)
    return web.json_response({"message": message, "status-code": 401}, status=401, headers=headers)


def _known(tracker: Tracker, header: str) -> bool:
    if tracker.flavour == "datacenter":
        wanted = f"Bearer {tracker.token}"
    else:
        wanted = "Basic " + base64.b64encode(f"{tracker.email}:{tracker.token}".encode()).decode()
    return hmac.compare_digest(header.encode(), wanted.encode())


async def _server_info(request: web.Request) -> web.Response:
    cloud = request.app[TRACKER].flavour == "cloud"
    return web.json_response(
        {
            "baseUrl": _base(request),
            "version": "1001.0.0-SNAPSHOT" if cloud else "9.12.15",
            "versionNumbers": [1001, 0, 0] if cloud else [9, 12, 15],
            "deploymentType": "Cloud" if cloud else "Server",
            "serverTitle": "Demo tracker",
        }
    )


async def _myself(request: web.Request) -> web.Response:
    tracker = request.app[TRACKER]
    user: dict[str, Any] = {
        "displayName": "panicroom",
        "active": True,
        "timeZone": "Etc/UTC",
        "locale": "en_US",
    }
    if tracker.flavour == "cloud":
        user |= {"accountId": "demo:panicroom", "accountType": "app", "emailAddress": tracker.email}
    else:
        user |= {"name": "panicroom", "key": "JIRAUSER10100"}
    return web.json_response(user)


async def _fields(request: web.Request) -> web.Response:
    names = ("summary", "status", "issuetype", "assignee", "created", "updated", "description", "labels")
    rows: list[dict[str, Any]] = [
        {"id": name, "name": name.capitalize(), "custom": False, "clauseNames": [name]} for name in names
    ]
    rows.append({"id": "resolutiondate", "name": "Resolved", "custom": False, "clauseNames": ["resolved"]})
    return web.json_response(rows)


async def _search(request: web.Request) -> web.Response:
    """Classic search with startAt; Cloud has removed it."""
    tracker = request.app[TRACKER]
    if tracker.flavour == "cloud":
        return _errors(
            410, "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API."
        )
    asked = await _asked(request)
    try:
        found = search(str(asked.get("jql") or ""), tracker.tickets(), tracker.clock())
        start, limit = int(asked.get("startAt") or 0), int(asked.get("maxResults") or 50)
    except JqlError as wrong:
        return _errors(400, str(wrong))
    except ValueError:
        return _errors(400, "startAt and maxResults are numbers.")
    page = found[start : start + min(limit, tracker.page_limit)]
    issues = [issue_json(t, _base(request), fields_of(asked.get("fields"), "*navigable"), "2") for t in page]
    return web.json_response(
        {
            "startAt": start,
            "maxResults": min(limit, tracker.page_limit),
            "total": len(found),
            "issues": issues,
        }
    )


async def _search_jql(request: web.Request) -> web.Response:
    """Enhanced search: pages by nextPageToken, no startAt and no total; only ids unless fields are asked for."""
    tracker = request.app[TRACKER]
    asked = await _asked(request)
    jql = str(asked.get("jql") or "")
    try:
        if parse(jql).where is None:
            return _errors(
                400,
                "Unbounded JQL queries are not allowed here. Please add a search restriction to your query.",
            )
        found = search(jql, tracker.tickets(), tracker.clock())
        start = _from_token(str(asked.get("nextPageToken") or ""), jql)
        limit = min(int(asked.get("maxResults") or 50), tracker.page_limit)
    except JqlError as wrong:
        return _errors(400, str(wrong))
    except ValueError:
        return _errors(400, "Invalid nextPageToken or maxResults.")
    version = request.path.split("/")[3]
    page = found[start : start + limit]
    issues = [issue_json(t, _base(request), fields_of(asked.get("fields"), "id"), version) for t in page]
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


async def _issue(request: web.Request) -> web.Response:
    ticket, refusal = _found(request)
    if ticket is None:
        return refusal
    fields = fields_of(request.query.getall("fields", None), "*all")
    return web.json_response(issue_json(ticket, _base(request), fields, request.path.split("/")[3]))


async def _comments(request: web.Request) -> web.Response:
    ticket, refusal = _found(request)
    if ticket is None:
        return refusal
    tracker = request.app[TRACKER]
    try:
        start = int(request.query.get("startAt", "0"))
        limit = min(int(request.query.get("maxResults", "50")), tracker.page_limit)
    except ValueError:
        return _errors(400, "startAt and maxResults are numbers.")
    rows = sorted(
        ticket.comments, key=lambda c: int(c.id), reverse=request.query.get("orderBy", "").startswith("-")
    )
    version = request.path.split("/")[3]
    shown = [comment_json(ticket, c, _base(request), version) for c in rows[start : start + limit]]
    return web.json_response({"startAt": start, "maxResults": limit, "total": len(rows), "comments": shown})


async def _add_comment(request: web.Request) -> web.Response:
    ticket, refusal = _found(request, writing="The user does not have permission to comment on this issue.")
    if ticket is None:
        return refusal
    body = (await _asked(request)).get("body")
    version = request.path.split("/")[3]
    text = adf.text_of(body) if version == "3" else body if isinstance(body, str) else None
    if not text:
        return _errors(
            400,
            errors={
                "comment": "Comment body can not be empty!" if text == "" else "Comment body is not valid!"
            },
        )
    if len(text) > _COMMENT_LIMIT:
        return _errors(
            400,
            errors={
                "comment": "The entered text is too long. It exceeds the allowed limit of 32,767 characters."
            },
        )
    comment = request.app[TRACKER].comment(ticket, text)
    return web.json_response(comment_json(ticket, comment, _base(request), version), status=201)


async def _links(request: web.Request) -> web.Response:
    ticket, refusal = _found(request)
    if ticket is None:
        return refusal
    wanted = request.query.get("globalId")
    rows = [link for link in ticket.links if wanted is None or link.global_id == wanted]
    if wanted is not None:
        return (
            web.json_response(link_json(ticket, rows[0], _base(request)))
            if rows
            else _errors(404, "No such link.")
        )
    return web.json_response([link_json(ticket, link, _base(request)) for link in rows])


async def _add_link(request: web.Request) -> web.Response:
    ticket, refusal = _found(request, writing="You do not have permission to link issues in this project.")
    if ticket is None:
        return refusal
    asked = await _asked(request)
    target = asked.get("object")
    global_id = asked.get("globalId")
    if not isinstance(target, dict) or not target.get("url") or not target.get("title"):
        return _errors(400, errors={"object": "'url' and 'title' are required."})
    if global_id is not None and (not isinstance(global_id, str) or len(global_id) > 255):
        return _errors(400, errors={"globalId": "The maximum length is 255 characters."})
    link, new = request.app[TRACKER].link(ticket, global_id, str(target["url"]), str(target["title"]))
    where = f"{_base(request)}/rest/api/2/issue/{ticket.key}/remotelink/{link.id}"
    return web.json_response({"id": link.id, "self": where}, status=201 if new else 200)


async def _index(request: web.Request) -> web.Response:
    return web.Response(text=pages.index(request.app[TRACKER].tickets()), content_type="text/html")


async def _browse(request: web.Request) -> web.Response:
    ticket = request.app[TRACKER].ticket(request.match_info["key"])
    if ticket is None:
        return web.Response(status=404, text=pages.unknown(), content_type="text/html")
    return web.Response(text=pages.ticket(ticket), content_type="text/html")


async def _make_fault(request: web.Request) -> web.Response:
    """{"mode": …, "count"?, "delay"?, "path"?}, see `Fault`; {"mode": "none"} ends all of them."""
    asked = await _asked(request)
    tracker = request.app[TRACKER]
    mode = asked.get("mode")
    if mode == "none":
        tracker.faults.clear()
    elif mode in {"down", "slow", "500", "503", "429", "lost_answer", "html"}:
        tracker.fail(
            mode,
            count=int(asked.get("count", 1)),
            delay=float(asked.get("delay", 0)),
            path=str(asked.get("path", "")),
        )
    else:
        return _errors(400, "mode is one of none, down, slow, 500, 503, 429, lost_answer, html.")
    return web.json_response({"ok": True})


def _found(request: web.Request, writing: str = "") -> tuple[Ticket | None, web.Response]:
    """The ticket of the path, or the refusal to send; with `writing`, only where its user may write."""
    ticket = request.app[TRACKER].ticket(request.match_info["key"])
    if ticket is None:
        return None, _errors(404, _UNKNOWN)
    if writing and ticket.project in READ_ONLY:
        return None, _errors(403, writing)
    return ticket, web.Response()


async def _asked(request: web.Request) -> dict[str, Any]:
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


def _errors(
    status: int, *messages: str, errors: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    return web.json_response(
        {"errorMessages": list(messages), "errors": errors or {}}, status=status, headers=headers
    )


def _base(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"
