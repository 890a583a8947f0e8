"""Tickets as Jira's REST writes them."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from bot.demo.tracker import adf
from bot.demo.tracker.tickets import PROJECTS, Comment, Link, Ticket

# name: (key, id, colour)
_CATEGORY = {
    "To Do": ("new", 2, "blue-gray"),
    "In Progress": ("indeterminate", 4, "yellow"),
    "Done": ("done", 3, "green"),
}
_SIZES = ("16x16", "24x24", "32x32", "48x48")


def fields_of(asked: Any, default: str) -> list[str]:
    """The field names asked for, as a list or with commas; `default` when none were."""
    rows = asked if isinstance(asked, list) else [asked] if asked else []
    names = [name.strip() for row in rows for name in str(row).split(",") if name.strip()]
    return names or [default]


def issue_json(ticket: Ticket, base: str, names: list[str], version: str, *, cloud: bool) -> dict[str, Any]:
    """One issue with the fields asked for; of `id` alone, nothing but the id (Cloud's enhanced search)."""
    if names == ["id"]:
        return {"id": ticket.id}
    every = _fields(ticket, base, version, cloud)
    wanted = every if set(names) & {"*all", "*navigable"} else {n: every[n] for n in names if n in every}
    return {
        "expand": "renderedFields,names,schema,operations,editmeta,changelog,versionedRepresentations",
        "id": ticket.id,
        "self": f"{base}/rest/api/{version}/issue/{ticket.id}",
        "key": ticket.key,
        "fields": wanted,
    }


def _fields(ticket: Ticket, base: str, version: str, cloud: bool) -> dict[str, Any]:
    api = f"{base}/rest/api/{version}"
    assignee = ticket.assignee
    return {
        "summary": ticket.summary,
        "description": adf.document(ticket.description) if version == "3" else ticket.description,
        "project": _project(ticket.project, api),
        "issuetype": _kind(ticket.kind, api),
        "status": _status(ticket, api),
        "assignee": author_json(assignee, base, version, cloud=cloud) if assignee else None,
        "labels": ticket.labels,
        "created": when(ticket.created),
        "updated": when(ticket.updated),
        "resolutiondate": when(ticket.resolved) if ticket.resolved else None,
    }


def _project(key: str, api: str) -> dict[str, Any]:
    number = str(10000 + list(PROJECTS).index(key)) if key in PROJECTS else _number(key)
    return {
        "self": f"{api}/project/{number}",
        "id": number,
        "key": key,
        "name": PROJECTS.get(key, key),
        "projectTypeKey": "service_desk",
    }


def _kind(name: str, api: str) -> dict[str, Any]:
    number = _number(name)
    return {
        "self": f"{api}/issuetype/{number}",
        "id": number,
        "description": "",
        "iconUrl": "",
        "name": name,
        "subtask": False,
    }


def _status(ticket: Ticket, api: str) -> dict[str, Any]:
    key, category, colour = _CATEGORY[ticket.category]
    number = _number(ticket.status)
    return {
        "self": f"{api}/status/{number}",
        "description": "",
        "iconUrl": "",
        "name": ticket.status,
        "id": number,
        "statusCategory": {
            "self": f"{api}/statuscategory/{category}",
            "id": category,
            "key": key,
            "colorName": colour,
            "name": ticket.category,
        },
    }


def _number(name: str) -> str:
    """The same id for the same name, each time."""
    return str(10100 + zlib.crc32(name.encode()) % 80000)


def comment_json(ticket: Ticket, comment: Comment, base: str, version: str, *, cloud: bool) -> dict[str, Any]:
    """One comment: wiki text in API 2, a document in API 3."""
    author = author_json(comment.author, base, version, cloud=cloud)
    return {
        "self": f"{base}/rest/api/{version}/issue/{ticket.id}/comment/{comment.id}",
        "id": comment.id,
        "author": author,
        "body": adf.document(comment.body) if version == "3" else comment.body,
        "updateAuthor": author,
        "created": when(comment.created),
        "updated": when(comment.updated or comment.created),
        **({"jsdPublic": True} if cloud else {}),
    }


def author_json(name: str, base: str, version: str, *, cloud: bool) -> dict[str, Any]:
    """A user: Cloud knows accounts, Data Center names and keys."""
    user = f"{base}/rest/api/{version}/user"
    known = (
        {"self": f"{user}?accountId={quote(f'demo:{name}')}", "accountId": f"demo:{name}", "accountType": "atlassian"}
        if cloud
        else {"self": f"{user}?username={quote(name)}", "name": name, "key": f"KEY-{name}"}
    )  # fmt: skip
    pictures = {size: f"{base}/secure/useravatar?size={size}" for size in _SIZES}
    return {**known, "avatarUrls": pictures, "displayName": name, "active": True, "timeZone": "Etc/UTC"}


def link_json(ticket: Ticket, link: Link, base: str, version: str) -> dict[str, Any]:
    """One remote link; without a global id where it was made without one."""
    known = {"globalId": link.global_id} if link.global_id else {}
    return {
        "id": link.id,
        "self": f"{base}/rest/api/{version}/issue/{ticket.key}/remotelink/{link.id}",
        **known,
        "application": {},
        "object": {"url": link.url, "title": link.title, "icon": {}, "status": {"icon": {}}},
    }


def when(seconds: float) -> str:
    """Jira's way to write a time: 2026-11-23T05:30:37.000+0000."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"
