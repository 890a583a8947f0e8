"""What is known of a panic's past, as a reader in Slack sees it."""

from __future__ import annotations

from collections.abc import Mapping

from commands.fitting import linked
from integrations.slack.text import escape, shorten
from storage import panic_ref
from storage.recurrence import Recurrence, recurrence_line


def past_line(facts: Recurrence, threads: Mapping[int, str]) -> str:
    """The recurrence line in mrkdwn. `threads`, panic id -> address, makes similar panics links to their threads."""
    line = escape(shorten(recurrence_line(facts, similar=False), 600))
    if not facts.similar:
        return line
    return f"{line} · similar: " + ", ".join(linked(panic_ref(i), threads.get(i)) for i in facts.similar)
