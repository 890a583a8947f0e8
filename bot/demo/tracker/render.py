"""Tickets as Jira's REST writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bot.demo.tracker import adf
from bot.demo.tracker.tickets import PROJECTS, Comment, Link, Ticket

_CATEGORY = {"To Do": "new", "In Progress": "indeterminate", "Done": "done"}


def fields_of(asked: Any, default: str) -> list[str]:
    """The field names asked for, as a list or with commas; `default` when none were."""
    rows = asked if isinstance(asked, list) else [asked] if asked else []
    names = [name.strip() for row in rows for name in str(row).split(",") if name.strip()]
    return names or [default]


def issue_json(ticket: Ticket, base: str, names: list[str], version: str) -> dict[str, Any]:
    """One issue with the fields asked for; of `id` alone, nothing but the id (Cloud's enhanced search)."""
    if names == ["id"]:
        return {"id": ticket.id}
    every = _fields(ticket, base, version)
    wanted = every if set(names) & {"*all", "*navigable"} else {n: every[n] for n in names if n in every}
    return {
        "expand": "renderedFields,names,schema,operations,editmeta,changelog",
        "id": ticket.id,
        "self": f"{base}/rest/api/{version}/issue/{ticket.id}",
        "key": ticket.key,
        "fields": wanted,
    }


def _fields(ticket: Ticket, base: str, version: str) -> dict[str, Any]:
    category = ticket.category
    return {
        "summary": ticket.summary,
        "description": adf.document(ticket.description) if version == "3" else ticket.description,
        "project": {"key": ticket.project, "name": PROJECTS[ticket.project]},
        "issuetype": {"name": ticket.kind, "subtask": False},
        "status": {"name": ticket.status, "statusCategory": {"key": _CATEGORY[category], "name": category}},
        "assignee": {"displayName": ticket.assignee, "active": True} if ticket.assignee else None,
        "labels": ticket.labels,
        "created": when(ticket.created),
        "updated": when(ticket.updated),
        "resolutiondate": when(ticket.resolved) if ticket.resolved else None,
    }


def comment_json(ticket: Ticket, comment: Comment, base: str, version: str, *, cloud: bool) -> dict[str, Any]:
    """One comment: wiki text in API 2, a document in API 3."""
    return {
        "self": f"{base}/rest/api/{version}/issue/{ticket.id}/comment/{comment.id}",
        "id": comment.id,
        "author": author_json(comment.author, cloud=cloud),
        "body": adf.document(comment.body) if version == "3" else comment.body,
        "created": when(comment.created),
        "updated": when(comment.updated or comment.created),
    }


def author_json(name: str, *, cloud: bool) -> dict[str, Any]:
    """A user: Cloud knows accounts, Data Center names and keys."""
    known = {"accountId": f"demo:{name}"} if cloud else {"name": name, "key": f"KEY-{name}"}
    return {"displayName": name, "active": True, **known}


def link_json(ticket: Ticket, link: Link, base: str) -> dict[str, Any]:
    """One remote link."""
    return {
        "id": link.id,
        "self": f"{base}/rest/api/2/issue/{ticket.key}/remotelink/{link.id}",
        "globalId": link.global_id,
        "application": {},
        "object": {"url": link.url, "title": link.title, "icon": {}, "status": {"icon": {}}},
    }


def when(seconds: float) -> str:
    """Jira's way to write a time: 2026-11-23T05:30:37.000+0000."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"
