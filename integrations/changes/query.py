"""The search for changes that name a host, written in JQL. Nothing of a host's name gets out of its quotes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from integrations.changes.config import JiraConfig

_WORD = re.compile(r"[\w.\-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LONGEST = 100


def quoted(value: str) -> str:
    """A JQL string literal of any text (control characters become spaces)."""
    escaped = _CONTROL.sub(" ", value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def phrase(value: str) -> str | None:
    """A literal for `text ~`: the value's words one after another; None when it has no word.

    The text index knows no other characters, and several of them are operators of its own query language.
    """
    words = [word for word in _WORD.findall(value[:_LONGEST]) if any(letter.isalnum() for letter in word)]
    return quoted(f'"{" ".join(words)}"') if words else None


def changes_queries(
    config: JiraConfig, terms: dict[str, str | None], since: datetime, now: datetime
) -> list[str]:
    """The searches for tickets that name any of the terms; none when no term has a word to look for.

    Projects with a template of their own are searched with that, each by itself; the others together, first.
    `since` becomes a period before `now`, rounded up to minutes: a date would be read in the account's time zone.
    """
    literals = dict.fromkeys(phrase(value) for value in terms.values() if value)
    names = " OR ".join(f"text ~ {literal}" for literal in literals if literal)
    if not names:
        return []
    minutes = max(1, -((since - now) // timedelta(minutes=1)))
    together = [key for key in config.projects if key not in config.project_jql]
    searches = [(config.jql, together)] if together else []
    searches += [(config.project_jql[key], [key]) for key in config.projects if key in config.project_jql]
    return [
        template.format(projects=_list(keys), since=f'"-{minutes}m"', names=names)
        for template, keys in searches
    ]


def typed_query(config: JiraConfig, text: str) -> str | None:
    """The search for what a person types in a box: all its words in the summary, the last one perhaps unfinished.

    None when there is no word in it. Words are lower case: AND, OR and NOT would be operators.
    """
    words = re.findall(r"\w+", text[:_LONGEST].casefold().replace("_", " "))
    if not words:
        return None
    clauses = [f"summary ~ {quoted(word)}" for word in words[:-1]] + [f"summary ~ {quoted(words[-1] + '*')}"]
    return f"project in ({_list(config.projects)}) AND {' AND '.join(clauses)} ORDER BY updated DESC"


def _list(keys: Sequence[str]) -> str:
    return ", ".join(quoted(key) for key in keys)


def named(terms: dict[str, str | None], text: str) -> tuple[str, ...]:
    """The terms that stand in `text` as whole names: web-1 is not named by web-17 or web-1-old."""
    # a domain may follow: web-1.example.com is web-1
    folded = text.casefold()
    return tuple(
        label
        for label, value in terms.items()
        if value
        and phrase(value)
        and re.search(rf"(?<![\w.\-]){re.escape(value.casefold())}(?![\w\-])", folded)
    )
