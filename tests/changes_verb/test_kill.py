"""`kill -9` while a link is worked on: a new process ends with one card, one comment and one remote link."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from storage import SlackMessage, TimelineEntry
from tests.forks import Script, run_file

ISSUE = "/issue/OPS-1182"


def process(bench: Any) -> Script:
    tracker = bench.jira.tracker
    arguments = [
        bench.ctx.db.url, bench.workspace.api_url, bench.workspace.bot_token,
        bench.jira.url, tracker.email, tracker.token,
    ]  # fmt: skip
    return run_file(Path(__file__).with_name("desk_process.py"), *arguments)


@pytest.mark.parametrize(
    ("when", "method", "path"),
    [
        ("after", "GET", ISSUE),  # read, not recorded
        ("after", "POST", f"{ISSUE}/remotelink"),  # the link is on the ticket, the comment is not
        ("before", "POST", f"{ISSUE}/comment"),
        ("after", "POST", f"{ISSUE}/comment"),  # all is on the ticket, nothing of it is recorded
    ],
)
async def test_killed_at_a_call(
    make_bench: Callable[..., Any], waiting: Any, when: str, method: str, path: str
) -> None:
    bench = make_bench(running=False)
    await bench.panic()
    await bench.type("link P-1 OPS-1182")
    bench.jira.hold(when, method, path)
    first = process(bench)
    async with asyncio.timeout(60):
        await bench.jira.holding.wait()
    first.kill()
    await first.wait()
    assert bench.link("OPS-1182").told_at is None
    bench.jira.let_go()
    second = process(bench)
    try:
        await waiting(lambda: bench.link("OPS-1182").told_at, seconds=60)
    finally:
        second.kill()
        await second.wait()
    ticket = bench.jira.ticket("OPS-1182")
    assert (len(ticket.comments), len(ticket.links)) == (1, 1)
    assert "comment with this thread's link" in bench.card("OPS-1182")
    rows = bench.ctx.db.read_now(
        lambda s: s.exec(select(TimelineEntry).where(TimelineEntry.verb == "link")).all()
    )
    assert len(rows) == 1
    cards = bench.ctx.db.read_now(
        lambda s: s.exec(select(SlackMessage).where(SlackMessage.renderer == "change_card")).all()
    )
    assert len(cards) == 1
