from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from slack_sdk.models.blocks import Block
from sqlmodel import SQLModel

from bot.demo.workspace import check_message
from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from commands.access import Access, AccessConfig
from commands.context import Context
from commands.home import publish_home
from commands.inventory import Inventory
from commands.panics.slack import register
from commands.router import Ask, Router
from integrations.slack.client import SlackClient, SlackConfig
from storage import Database, Panic

NOW = datetime(2026, 11, 23, 9, 14, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/panicroom.db")
    SQLModel.metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def panic() -> Callable[..., Panic]:
    def make(host: str = "web-17", *, days: float = 0, **facts: Any) -> Panic:
        known: dict[str, Any] = {
            "kind": "null_deref",
            "title": "NULL pointer dereference in nvme_irq",
            "signature_key": "null_deref|nvme_irq|nvme",
            "kernel": "6.1.0-31-amd64",
        }
        return Panic(host=host, occurred_at=NOW + timedelta(days=days), **{**known, **facts})

    return make


@pytest.fixture
def store(db: Database) -> Callable[..., None]:
    return lambda *rows: db.write_now(lambda s: s.add_all(rows))


@dataclass
class Answer:
    text: str
    blocks: list[dict[str, Any]] = field(default_factory=list)
    replaced: bool = False

    @property
    def seen(self) -> str:
        """What a reader sees: the texts of the blocks, or the text when there are none."""
        return "\n".join(_texts(self.blocks)) if self.blocks else self.text

    def button(self, label: str) -> dict[str, Any]:
        found = [
            e
            for b in self.blocks
            if b["type"] == "actions"
            for e in b["elements"]
            if label in e["text"]["text"]
        ]
        assert found, f"no button {label!r} in: {self.seen}"
        return found[0]

    @property
    def buttons(self) -> list[str]:
        return [e["text"]["text"] for b in self.blocks if b["type"] == "actions" for e in b["elements"]]


def _texts(node: Any) -> list[str]:
    if isinstance(node, list):
        return [text for item in node for text in _texts(item)]
    if not isinstance(node, dict):
        return []
    if node.get("type") in ("mrkdwn", "plain_text"):
        return [node["text"]]
    return [
        text
        for key in ("text", "fields", "elements", "label", "element")
        for text in _texts(node.get(key, []))
    ]


def fits_slack(text: str, blocks: list[dict[str, Any]]) -> None:
    """Within Slack's limits, by the workspace's rules and by slack_sdk's."""
    assert text
    assert len(text) <= 4000
    assert check_message({"text": text, "blocks": blocks}) == []
    assert len(blocks) <= 50
    for block, model in zip(blocks, Block.parse_all(blocks), strict=True):
        model.validate_json()
        for piece in _texts(block):
            assert 0 < len(piece) <= 3000
    ids = [e["action_id"] for b in blocks if b["type"] == "actions" for e in b["elements"]]
    assert len(ids) == len(set(ids))


@pytest.fixture
async def workspace() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace() as ws:
        yield ws


@dataclass
class Desk:
    """The verbs over a real database and a real (small) Slack, and a person who types and clicks."""

    ctx: Context
    router: Router
    workspace: RunningWorkspace
    answers: list[Answer] = field(default_factory=list)

    def ask(self, text: str = "", *, user: str = "U0VIEWER", **more: Any) -> Ask:
        async def respond(
            text: str,
            blocks: list[dict[str, Any]] | None = None,
            *,
            replace: bool = False,
            in_channel: bool = False,
        ) -> None:
            assert not in_channel
            fits_slack(text, blocks or [])
            self.answers.append(Answer(text, blocks or [], replace))

        return Ask(
            request_id="r-1",
            user=user,
            channel="C0INCIDENTS",
            text=text,
            trigger_id="t",
            respond=respond,
            **more,
        )

    async def type(self, line: str, **more: Any) -> Answer:
        await self.router.command_line(self.ask(line, **more))
        return self.answers[-1]

    async def click(self, button: dict[str, Any], **more: Any) -> Answer:
        await self.router.click(button["action_id"], self.ask(value=button["value"], **more))
        return self.answers[-1]

    async def home(self, user: str) -> None:
        await publish_home(self.ctx, user)


@pytest.fixture
async def desk(db: Database, workspace: RunningWorkspace, tmp_path: Path) -> AsyncIterator[Desk]:
    slack = SlackClient(SlackConfig(api_url=workspace.api_url, bot_token=SecretStr(workspace.bot_token)))
    await slack.start()
    access = Access(AccessConfig(responders=("U0ONCALL",), admins=("U0ADMIN",)), slack.members_of)
    ctx = Context(
        db=db, slack=slack, inventory=Inventory(), access=access, store_dir=tmp_path, clock=lambda: NOW
    )
    router = Router(db, access)
    register(router, ctx)
    yield Desk(ctx, router, workspace)
    await slack.close()
