"""The stand-in's HTTP side: Jira's REST paths for Cloud (api 2 and 3) or Data Center (api 2), and pages to browse."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Awaitable, Callable
from typing import Any, get_args

from aiohttp import web

from bot.demo.tracker import adf, pages, searching
from bot.demo.tracker.exchange import (
    TRACKER,
    base_of,
    is_cloud,
    parameters,
    refuse,
    site_of,
    ticket_of,
    version_of,
)
from bot.demo.tracker.limits import budget, exceeded
from bot.demo.tracker.render import author_json, comment_json, fields_of, issue_json, link_json, when
from bot.demo.tracker.tickets import HIDDEN, PROJECTS, READ_ONLY, Comment, Mode, Ticket, Tracker

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_COMMENT_LIMIT = 32767
_ORDERS = ("created", "-created", "+created", " created")  # a plus that nobody escaped is a space
_MODES: tuple[str, ...] = get_args(Mode)


def make_app(tracker: Tracker) -> web.Application:
    """The aiohttp application over `tracker`; faults are made by `tracker.fail` or POST /demo/faults."""
    app = web.Application(middlewares=[_faults, _authenticated], client_max_size=4 * 1024 * 1024)
    app[TRACKER] = tracker
    versions = ("2", "latest") if tracker.flavour == "datacenter" else ("2", "3", "latest")
    doors = ("", f"/ex/jira/{tracker.cloud_id}") if tracker.cloud_id else ("",)
    for base in (f"{door}/rest/api/{version}" for door in doors for version in versions):
        app.router.add_get(f"{base}/serverInfo", _server_info)
        app.router.add_get(f"{base}/myself", _myself)
        app.router.add_get(f"{base}/field", _fields)
        app.router.add_get(f"{base}/search", searching.classic)
        app.router.add_post(f"{base}/search", searching.classic)
        if tracker.flavour == "cloud":
            app.router.add_get(f"{base}/search/jql", searching.enhanced)
            app.router.add_post(f"{base}/search/jql", searching.enhanced)
        app.router.add_post(f"{base}/issue", _create)
        app.router.add_get(f"{base}/issue/{{key}}", _issue)
        app.router.add_get(f"{base}/issue/{{key}}/comment", _comments)
        app.router.add_post(f"{base}/issue/{{key}}/comment", _add_comment)
        app.router.add_put(f"{base}/issue/{{key}}/comment/{{id}}", _edit_comment)
        app.router.add_get(f"{base}/issue/{{key}}/remotelink", _links)
        app.router.add_post(f"{base}/issue/{{key}}/remotelink", _add_link)
    app.router.add_get("/", _index)
    app.router.add_get("/browse/{key}", _browse)
    app.router.add_post("/demo/faults", _make_fault)
    return app


@web.middleware
async def _faults(request: web.Request, handler: _Handler) -> web.StreamResponse:
    tracker = request.app[TRACKER]
    if "/rest/" not in request.path:
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
        return refuse(429, "Rate limit exceeded.", headers=exceeded(tracker, fault.delay))
    if fault.mode in {"401", "403", "404"}:
        return refuse(int(fault.mode), "You may not, or there is none.")
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
    if "/rest/" not in request.path or request.path.endswith("/serverInfo"):
        return await handler(request)
    at_its_door = tracker.cloud_id is None or request.path.startswith("/ex/jira/")
    if at_its_door and _known(tracker, request.headers.get("Authorization", "")):
        answer = await handler(request)
        answer.headers.update(budget(tracker))
        return answer
    message = "Client must be authenticated to access this resource."
    headers = {"WWW-Authenticate": 'OAuth realm="demo"', "X-Seraph-LoginReason": "AUTHENTICATED_FAILED"}
    if tracker.flavour == "cloud":
        return refuse(401, message, headers=headers)
    return web.json_response({"message": message, "status-code": 401}, status=401, headers=headers)


def _known(tracker: Tracker, header: str) -> bool:
    if tracker.flavour == "datacenter":
        wanted = f"Bearer {tracker.token}"
    else:
        wanted = "Basic " + base64.b64encode(f"{tracker.email}:{tracker.token}".encode()).decode()
    return hmac.compare_digest(header.encode(), wanted.encode())


async def _server_info(request: web.Request) -> web.Response:
    tracker, cloud = request.app[TRACKER], is_cloud(request)
    return web.json_response(
        {
            "baseUrl": site_of(request),
            "version": "1001.0.0-SNAPSHOT" if cloud else "9.12.15",
            "versionNumbers": [1001, 0, 0] if cloud else [9, 12, 15],
            "deploymentType": "Cloud" if cloud else "Server",
            "buildNumber": 100283 if cloud else 9120015,
            "buildDate": "2026-11-02T00:00:00.000+0000",
            "serverTime": when(tracker.clock()),
            "scmInfo": "0" * 40,
            "serverTitle": "Demo tracker",
            **({"displayUrl": site_of(request), "serverTimeZone": "Etc/UTC"} if cloud else {}),
        }
    )


async def _myself(request: web.Request) -> web.Response:
    tracker = request.app[TRACKER]
    user = author_json("panicroom", base_of(request), version_of(request), cloud=is_cloud(request))
    nothing: dict[str, Any] = {"size": 0, "items": []}
    user |= {
        "emailAddress": tracker.email,
        "locale": "en_US",
        "groups": nothing,
        "applicationRoles": nothing,
        "expand": "groups,applicationRoles",
    }
    return web.json_response(user)


async def _fields(request: web.Request) -> web.Response:
    names = ("summary", "status", "issuetype", "assignee", "created", "updated", "description", "labels")
    shown = [(name, name.capitalize(), name) for name in names] + [("resolutiondate", "Resolved", "resolved")]
    return web.json_response(
        [
            {
                "id": name,
                **({"key": name} if is_cloud(request) else {}),
                "name": title,
                "custom": False,
                "orderable": True,
                "navigable": True,
                "searchable": True,
                "clauseNames": [clause],
            }
            for name, title, clause in shown
        ]
    )


async def _issue(request: web.Request) -> web.Response:
    ticket, refusal = ticket_of(request)
    if ticket is None:
        return refusal
    fields = fields_of(request.query.getall("fields", None), "*all")
    version, cloud = version_of(request), is_cloud(request)
    return web.json_response(issue_json(ticket, base_of(request), fields, version, cloud=cloud))


async def _create(request: web.Request) -> web.Response:
    asked = (await parameters(request)).get("fields")
    fields = asked if isinstance(asked, dict) else {}
    project, kind = ((fields.get(name) or {}) for name in ("project", "issuetype"))
    wrong: dict[str, str] = {}
    if project.get("key") not in PROJECTS or project["key"] in HIDDEN:
        wrong["project"] = "valid project is required"
    if kind.get("name") not in {"Change", "Bug", "Problem"}:
        wrong["issuetype"] = "The issue type selected is invalid."
    if not str(fields.get("summary") or "").strip():
        wrong["summary"] = "You must specify a summary of the issue."
    if any(" " in str(label) for label in fields.get("labels") or ()):
        wrong["labels"] = "The label contains spaces which is invalid."
    if wrong:
        return refuse(400, errors=wrong)
    if project["key"] in READ_ONLY:
        return refuse(403, "You do not have permission to create issues in this project.")
    told = fields.get("description")
    text = adf.text_of(told) if version_of(request) == "3" else told
    ticket = request.app[TRACKER].create(
        project["key"],
        str(fields["summary"]),
        str(text or ""),
        kind["name"],
        list(fields.get("labels") or ()),
    )
    where = f"{base_of(request)}/rest/api/{version_of(request)}/issue/{ticket.id}"
    return web.json_response({"id": ticket.id, "key": ticket.key, "self": where}, status=201)


async def _comments(request: web.Request) -> web.Response:
    ticket, refusal = ticket_of(request)
    if ticket is None:
        return refusal
    tracker = request.app[TRACKER]
    try:
        start = int(request.query.get("startAt", "0"))
        limit = min(int(request.query.get("maxResults", "100")), tracker.page_limit)
    except ValueError:
        return refuse(400, "startAt and maxResults are numbers.")
    order = request.query.get("orderBy", "created")
    if order not in _ORDERS:
        return refuse(400, "Comments can be ordered by created alone.")
    rows = sorted(ticket.comments, key=lambda c: int(c.id), reverse=order == "-created")
    shown = [_comment_json(request, ticket, c) for c in rows[start : start + limit]]
    return web.json_response({"startAt": start, "maxResults": limit, "total": len(rows), "comments": shown})


async def _add_comment(request: web.Request) -> web.Response:
    """Who may not is answered with 400, as who sends an empty one is."""
    ticket, refusal = ticket_of(
        request, writing="You do not have the permission to comment on this issue.", status=400
    )
    if ticket is None:
        return refusal
    text = await _comment_text(request)
    if isinstance(text, web.Response):
        return text
    comment = request.app[TRACKER].comment(ticket, text)
    return web.json_response(_comment_json(request, ticket, comment), status=201)


async def _edit_comment(request: web.Request) -> web.Response:
    """Its user may edit its own comments, and nobody else's."""
    forbidden = "You do not have the permission to edit this comment."
    ticket, refusal = ticket_of(request, writing=forbidden, status=400)
    if ticket is None:
        return refusal
    comment = next((c for c in ticket.comments if c.id == request.match_info["id"]), None)
    if comment is None:
        return refuse(404, f"Can not find a comment for the id: {request.match_info['id']}.")
    if comment.author != "panicroom":
        return refuse(400, forbidden)
    text = await _comment_text(request)
    if isinstance(text, web.Response):
        return text
    request.app[TRACKER].edit(ticket, comment, text)
    return web.json_response(_comment_json(request, ticket, comment))


def _comment_json(request: web.Request, ticket: Ticket, comment: Comment) -> dict[str, Any]:
    return comment_json(ticket, comment, base_of(request), version_of(request), cloud=is_cloud(request))


async def _comment_text(request: web.Request) -> str | web.Response:
    """The text of the body that was sent, or the refusal."""
    body = (await parameters(request)).get("body")
    text = adf.text_of(body) if version_of(request) == "3" else body if isinstance(body, str) else None
    if not text:
        wrong = "Comment body can not be empty!" if text == "" else "Comment body is not valid!"
        return refuse(400, errors={"comment": wrong})
    if len(text) > _COMMENT_LIMIT:
        wrong = "The entered text is too long. It exceeds the allowed limit of 32,767 characters."
        return refuse(400, errors={"comment": wrong})
    return text


async def _links(request: web.Request) -> web.Response:
    ticket, refusal = ticket_of(request)
    if ticket is None:
        return refusal
    wanted = request.query.get("globalId")
    rows = [link for link in ticket.links if wanted is None or link.global_id == wanted]
    shown = [link_json(ticket, link, base_of(request), version_of(request)) for link in rows]
    if wanted is None:
        return web.json_response(shown)
    return web.json_response(shown[0]) if shown else refuse(404, "No such link.")


async def _add_link(request: web.Request) -> web.Response:
    ticket, refusal = ticket_of(request, writing="You do not have permission to link issues in this project.")
    if ticket is None:
        return refusal
    asked = await parameters(request)
    target = asked.get("object")
    global_id = asked.get("globalId")
    said = target if isinstance(target, dict) else {}
    missing = {name: f"'{name}' is required." for name in ("url", "title") if not said.get(name)}
    if missing:
        return refuse(400, errors=missing)
    if global_id is not None and (not isinstance(global_id, str) or len(global_id) > 255):
        return refuse(400, errors={"globalId": "The maximum length is 255 characters."})
    link, new = request.app[TRACKER].link(ticket, global_id, str(said["url"]), str(said["title"]))
    where = f"{base_of(request)}/rest/api/{version_of(request)}/issue/{ticket.key}/remotelink/{link.id}"
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
    asked = await parameters(request)
    tracker = request.app[TRACKER]
    mode = asked.get("mode")
    if mode == "none":
        tracker.faults.clear()
    elif mode in _MODES:
        tracker.fail(
            mode,
            count=int(asked.get("count", 1)),
            delay=float(asked.get("delay", 0)),
            path=str(asked.get("path", "")),
        )
    else:
        return refuse(400, f"mode is one of none, {', '.join(_MODES)}.")
    return web.json_response({"ok": True})
