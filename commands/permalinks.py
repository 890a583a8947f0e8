"""Links to incident threads: only Slack knows them, so an answer waits a moment for them and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from integrations.slack.client import SlackClient
from integrations.slack.errors import SlackError

log = structlog.get_logger(__name__)

LINKS_WITHIN = 1.5  # seconds


async def permalinks(
    slack: SlackClient, parents: Iterable[tuple[int | None, str | None, str | None]]
) -> dict[int, str]:
    """{incident id: link} for (incident id, channel, ts), as many as Slack tells in time."""
    wanted = {i: (channel, ts) for i, channel, ts in parents if i is not None and channel and ts}
    if not wanted:
        return {}
    tasks = {asyncio.create_task(slack.permalink(channel, ts)): i for i, (channel, ts) in wanted.items()}
    done, late = await asyncio.wait(tasks, timeout=LINKS_WITHIN)
    for task in late:
        task.cancel()
    links = {}
    for task in done:
        error = task.exception()
        if isinstance(error, SlackError):
            log.warning("permalink.unknown", incident=tasks[task], error=str(error))
        elif error is not None:
            raise error
        else:
            links[tasks[task]] = task.result()
    return links
