"""Pages for people who follow a ticket's link."""

from __future__ import annotations

import re
from html import escape

from bot.demo.tracker.render import when
from bot.demo.tracker.tickets import Ticket

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#172b4d}"
    "h1{font-size:1.4rem}dl{display:grid;grid-template-columns:8rem 1fr}dt{color:#5e6c84}dd{margin:0}"
    ".lozenge{background:#dfe1e6;border-radius:3px;padding:.1rem .4rem;font-size:.8rem}"
    "article{border-top:1px solid #dfe1e6;padding:.5rem 0;white-space:pre-wrap}a{color:#0052cc}"
)
_URL = re.compile(r"https?://[^\s|\]]+")
_ESCAPE = re.compile(r"\\([^A-Za-z0-9\s])")


def index(tickets: list[Ticket]) -> str:
    """All tickets, the newest change first."""
    rows = "".join(
        f'<li><a href="/browse/{t.key}">{t.key}</a> {escape(t.summary)} '
        f'<span class="lozenge">{escape(t.status)}</span></li>'
        for t in sorted(tickets, key=lambda t: -t.updated)
    )
    return _page("Change tickets", f"<h1>Change tickets</h1><ul>{rows}</ul>")


def ticket(shown: Ticket) -> str:
    """One ticket with its links and comments."""
    facts = {
        "Status": shown.status,
        "Type": shown.kind,
        "Assignee": shown.assignee or "Unassigned",
        "Labels": ", ".join(shown.labels) or "None",
        "Created": when(shown.created),
        "Updated": when(shown.updated),
        "Resolved": when(shown.resolved) if shown.resolved else "Unresolved",
    }
    table = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    links = "".join(f"<li>{_anchor(link.url, link.title)}</li>" for link in shown.links)
    comments = "".join(
        f"<article id=comment-{escape(c.id)}><small>panicroom, {when(c.created)}</small>\n{_text(c.body)}</article>"
        for c in shown.comments
    )
    return _page(
        f"[{shown.key}] {shown.summary}",
        f'<p><a href="/">Change tickets</a> / {shown.key}</p><h1>{escape(shown.summary)}</h1><dl>{table}</dl>'
        f"<h2>Description</h2><p>{escape(shown.description)}</p><h2>Links</h2><ul>{links or '<li>None</li>'}</ul>"
        f"<h2>Comments</h2>{comments or '<p>None</p>'}",
    )


def unknown() -> str:
    """What Jira says of a ticket that is not there or not yours."""
    return _page(
        "Not found",
        "<h1>You can't view this issue</h1><p>It may have been deleted, or you may not see it.</p>",
    )


def _text(wiki: str) -> str:
    """A comment's text with its URLs as links and wiki escapes taken off; no other markup is rendered."""
    out, place = [], 0
    for match in _URL.finditer(wiki):
        out.append(escape(_ESCAPE.sub(r"\1", wiki[place : match.start()])))
        out.append(_anchor(match[0], match[0]))
        place = match.end()
    return "".join(out) + escape(_ESCAPE.sub(r"\1", wiki[place:]))


def _anchor(url: str, title: str) -> str:
    if not url.startswith(("http://", "https://")):
        return escape(title)
    return f'<a href="{escape(url)}" rel="noreferrer">{escape(title)}</a>'


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><body>{body}</body></html>"
    )
