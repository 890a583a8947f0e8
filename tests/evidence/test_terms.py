"""Uploaded bundles have a term in Slack: after it the bot removes its own file there, and says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from sqlmodel import select

from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from commands.evidence.terms import SlackTerms
from commands.incident.rendering import draw
from integrations.slack.client import SlackClient, SlackConfig
from integrations.slack.errors import SlackRateLimited
from storage import MessageState, RunbookRun, RunState, SlackMessage, TimelineEntry
from storage.uploads import Upload
from tests.hosts.world import World

START = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
CHANNEL = "C0INCIDENTS"


@pytest.fixture
async def ws() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace() as workspace:
        yield workspace


class Uploaded:
    """A bundle that stands in Slack, and a clock that can be set."""

    def __init__(self, world: World, ws: RunningWorkspace, slack: SlackClient) -> None:
        self.world, self.ws, self.slack = world, ws, slack
        self.now = START
        self.context = replace(world.context, slack=slack, clock=lambda: self.now)
        self.run_id = 0
        self.file_id = ""

    def terms(self, days: int = 30) -> SlackTerms:
        return SlackTerms(self.context, days)

    async def upload(self) -> None:
        self.panic_id, self.incident_id = await self.world.panic()
        path = self.world.folder / "bundle.tar.gz"
        path.write_bytes(b"the bundle")
        self.file_id = await self.slack.upload(
            CHANNEL, None, path, name="P-1-evidence.tar.gz", comment="Evidence"
        )

        def write(session: Any) -> int:
            run = RunbookRun(
                kind="evidence", panic_id=self.panic_id, workflow_id="evidence:P-1:x", state=RunState.DONE,
                asked_by="U0ONCALL", asked_at=START,
            )  # fmt: skip
            session.add(run)
            session.flush()
            for key, ts, file in (
                (f"evidence:{run.id}", "1.5", None),
                (f"evidence-file:{run.id}", f"file:{self.file_id}", "P-1/bundle.tar.gz"),
                ("textfile:1:abc", "file:F0TEXT", "text.txt"),
            ):
                session.add(
                    SlackMessage(
                        key=key, incident_id=self.incident_id, channel=CHANNEL, ts=ts, file_path=file,
                        file_name="P-1-evidence.tar.gz" if file else None, state=MessageState.SENT,
                        renderer=None if file else "evidence_run", subject_id=None if file else run.id,
                        sent=1, created_at=START, attempted_at=START,
                    )
                )  # fmt: skip
            return run.id or 0

        self.run_id = await self.world.db.write(write)

    async def drawn(self) -> str:
        made = await self.world.db.read(lambda s: draw("evidence_run", s, self.run_id))
        assert made is not None
        return str(made.blocks)

    async def row(self) -> Upload | None:
        return await self.world.db.read(lambda s: s.exec(select(Upload)).first())

    def calls(self) -> list[str]:
        return [c["method"] for c in self.ws.workspace.calls if c["method"] == "files.delete"]


@pytest.fixture
async def uploaded(world: World, ws: RunningWorkspace) -> AsyncIterator[Uploaded]:
    slack = SlackClient(SlackConfig(api_url=f"{ws.url}/api/", bot_token=SecretStr(ws.bot_token)))
    await slack.start()
    made = Uploaded(world, ws, slack)
    await made.upload()
    yield made
    await slack.close()


async def test_it_goes_when_its_term_is_over_and_the_message_says_so(uploaded: Uploaded) -> None:
    terms = uploaded.terms()
    assert await terms.look() == 0
    uploaded.now = START + timedelta(days=29, hours=23)
    assert await terms.look() == 0
    assert uploaded.calls() == []
    assert "removed from Slack" not in await uploaded.drawn()

    uploaded.now = START + timedelta(days=30)
    assert await uploaded.terms().look() == 1  # another process: what is due stands in the database
    document = uploaded.ws.workspace.files.find(uploaded.file_id)
    assert document is not None
    assert document["mode"] == "tombstone"
    told = await uploaded.drawn()
    assert "was removed from Slack" in told
    assert "The store keeps it" in told
    edited = await uploaded.world.db.read(
        lambda s: s.exec(select(SlackMessage).where(SlackMessage.key == f"evidence:{uploaded.run_id}")).one()
    )
    assert edited.state is MessageState.WAITING
    notes = await uploaded.world.db.read(
        lambda s: [e.text for e in s.exec(select(TimelineEntry)) if "removed from Slack" in e.text]
    )
    assert len(notes) == 1
    assert await uploaded.terms().look() == 0
    assert len(uploaded.calls()) == 1


async def test_zero_days_keep_it(uploaded: Uploaded) -> None:
    uploaded.now = START + timedelta(days=5000)
    assert await uploaded.terms(0).look() == 0
    assert uploaded.calls() == []
    assert await uploaded.terms(30).look() == 1


async def test_what_somebody_deleted_by_hand_counts_as_gone(uploaded: Uploaded) -> None:
    await uploaded.slack.delete_file(uploaded.file_id)
    uploaded.now = START + timedelta(days=31)
    assert await uploaded.terms().look() == 1
    row = await uploaded.row()
    assert row is not None
    assert row.removed_at == uploaded.now


async def test_slack_fails_and_it_is_tried_again_later(uploaded: Uploaded) -> None:
    uploaded.now = START + timedelta(days=31)
    terms = uploaded.terms()
    for attempt in range(4):
        await uploaded.ws.fail("files.delete", "500")
        assert await terms.look() == 0
        row = await uploaded.row()
        assert row is not None
        assert row.attempts == attempt + 1
        assert row.next_at is not None
        assert row.next_at > uploaded.now
        assert await terms.look() == 0  # not before its turn
        uploaded.now = row.next_at
    assert "could not be removed" in await uploaded.drawn()
    assert await terms.look() == 1
    assert "could not be removed" not in await uploaded.drawn()


async def test_a_pause_that_slack_asks_for_is_kept(uploaded: Uploaded) -> None:
    uploaded.now = START + timedelta(days=31)
    await uploaded.ws.rate_limit("files.delete", retry_after=7)
    with pytest.raises(SlackRateLimited) as told:
        await uploaded.terms().look()
    assert told.value.retry_after == 7
    assert await uploaded.terms().look() == 1


async def test_the_message_shows_a_tombstone_and_the_bytes_are_gone(
    uploaded: Uploaded, ws: RunningWorkspace
) -> None:
    url = f"{ws.url}/files/{uploaded.file_id}/download/x"
    token = {"Authorization": f"Bearer {ws.bot_token}"}
    async with aiohttp.ClientSession(headers=token) as session, session.get(url) as answer:
        assert await answer.read() == b"the bundle"
    await uploaded.slack.delete_file(uploaded.file_id)
    async with aiohttp.ClientSession(headers=token) as session, session.get(url) as answer:
        assert answer.status == 404
    shown = [m for m in ws.workspace.messages.log(CHANNEL).messages.values() if m.get("files")]
    assert [m["files"][0]["mode"] for m in shown] == ["tombstone"]
