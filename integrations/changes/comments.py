"""What is written on a ticket: one remote link a global id, and one comment a marker, which is edited later on."""

from __future__ import annotations

import json
import re
from typing import Any

from jira import JIRA

_PAGE = 50
# * _ - + ^ ~ mark text up at a word's edge only: I-7 stays as it is
_MARKUP = re.compile(r"[{}\[\]|!#?\\]|(?<![A-Za-z0-9])[*_\-+^~]|[*_\-+^~](?![A-Za-z0-9])")
_ESCAPED = re.compile(r"\\([^A-Za-z0-9\s])")
_URL = re.compile(r"https?://[^\s<>\"{}|\\^`\[\]]+")
_Raw = dict[str, Any]


def plain(text: str) -> str:
    """Text as wiki markup that shows just this text; addresses are left alone and become links."""
    out, place = [], 0
    for address in _URL.finditer(text):
        out += [_MARKUP.sub(r"\\\g<0>", text[place : address.start()]), address[0]]
        place = address.end()
    return "".join(out) + _MARKUP.sub(r"\\\g<0>", text[place:])


def put_link(jira: JIRA, key: str, target: dict[str, str], global_id: str) -> None:
    """Makes the link of that id, or changes where it leads; one that leads there already is left alone."""
    for link in jira.remote_links(key):
        raw = link.raw or {}
        there = raw.get("object") or {}
        if raw.get("globalId") == global_id and there.get("url") == target["url"]:
            return
    jira.add_remote_link(key, target, globalId=global_id)


def marked(jira: JIRA, key: str, marker: str) -> list[_Raw]:
    """The comments that carry the marker on the first page that has one, the newest first.

    Cloud may give back other escapes than were sent.
    """
    wanted = _shown(marker)
    seen: set[str] = set()
    while True:
        page = [
            c.raw or {}
            for c in jira.comments(key, start_at=len(seen), max_results=_PAGE, order_by="-created")
        ]
        found = [comment for comment in page if wanted in _shown(comment.get("body"))]
        if found:
            return found
        fresh = {str(comment.get("id")) for comment in page} - seen
        if not fresh:  # the end, or a server that ignores start_at and sends the same page again
            return []
        seen |= fresh


def says(comment: _Raw, text: str) -> bool:
    return _shown(comment.get("body")).split() == _shown(text).split()


def own(jira: JIRA, comments: list[_Raw]) -> str | None:
    """The id of the oldest of them that our account wrote: a person who answers may quote ours, marker and all."""
    myself = jira.myself()
    for comment in reversed(comments):
        author = comment.get("author") or {}
        for name in ("accountId", "key", "name"):
            if myself.get(name) is not None and author.get(name) == myself[name]:
                return str(comment["id"])
    return None


def edit(jira: JIRA, key: str, comment_id: str, text: str) -> None:
    """Not through the comment's own `self`: that is an address the server names, and the token would go there."""
    if not comment_id.isdecimal():
        raise ValueError(comment_id)
    address = jira._get_url(f"issue/{key}/comment/{comment_id}")
    jira._session.put(address, data=json.dumps({"body": text}))


def _shown(body: object) -> str:
    return _ESCAPED.sub(r"\1", str(body or ""))
