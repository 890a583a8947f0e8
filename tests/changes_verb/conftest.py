from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr
from sqlmodel import SQLModel, select

from bot.demo.tracker import Ticket, Tracker, make_app, seed
from bot.demo.workspace import check_message, check_view
from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from commands.access import Access, AccessConfig
from commands.changes.config import ChangesConfig
from commands.changes.desk import ChangeDesk
from commands.changes.slack import register
from commands.context import Context
from commands.incident.rendering import draw
from commands.inventory import Inventory
from commands.router import Ask, Router
from integrations.changes import JiraConfig, JiraTracker
from integrations.slack.client import SlackClient, SlackConfig
from storage import ChangeLink, Database, Incident, Panic, SlackMessage
from tests.support_postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]

QUICK = ChangesConfig(
    automatic=False,
    retry_first=timedelta(milliseconds=30),
    retry_longest=timedelta(milliseconds=120),
    renew_within=timedelta(milliseconds=50),
)


@pytest.fixture
def db(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """SQLite, or with `on_both` PostgreSQL, too."""
    url = f"sqlite:///{tmp_path}/panicroom.db"
    if getattr(request, "param", "sqlite") == "postgresql":
        url = request.getfixturevalue("postgres_url")
    database = Database(url)
    SQLModel.metadata.create_all(database.engine)
    yield database
    database.close()


on_both = pytest.mark.parametrize("db", ["sqlite", "postgresql"], indirect=True)


@dataclass
class Jira:
    """The stand-in with a gate: an answer whose path is in `held` waits (before or after it was carried out)."""

    tracker: Tracker
    url: str = ""
    held: tuple[str, str, str] | None = None  # before/after, method, end of the path
    holding: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    def hold(self, when: str, method: str, path: str) -> None:
        self.held = (when, method, path)
        self.holding.clear()
        self.opened.clear()

    def let_go(self) -> None:
        self.held = None
        self.opened.set()

    def ticket(self, key: str) -> Ticket:
        found = self.tracker.ticket(key)
        assert found is not None
        return found

    def client(self, timeout: float = 30) -> JiraTracker:
        config = JiraConfig(
            url=self.url, email=self.tracker.email, token=SecretStr(self.tracker.token),
            projects=("OPS", "ARCHIVE"), timeout=timeout,
        )  # fmt: skip
        return JiraTracker(config)

    @web.middleware
    async def gate(self, request: web.Request, handler: Any) -> web.StreamResponse:
        held = self.held
        mine = held is not None and request.method == held[1] and request.path.endswith(held[2])
        if mine and held is not None and held[0] == "before":
            self.holding.set()
            await self.opened.wait()
        answer = await handler(request)
        if mine and held is not None and held[0] == "after":
            self.holding.set()
            await self.opened.wait()
        assert isinstance(answer, web.StreamResponse)
        return answer


@pytest.fixture
async def jira() -> AsyncIterator[Jira]:
    made = Jira(Tracker(seed(time.time()), clock=time.time))
    app = make_app(made.tracker)
    app.middlewares.insert(0, made.gate)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    made.url = f"http://{host}:{port}"
    yield made
    made.let_go()
    await runner.cleanup()


@pytest.fixture
async def workspace() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace() as ws:
        yield ws


async def until(condition: Callable[[], Any], *, seconds: float = 45.0) -> Any:
    """The first true value of the condition, looked at every few milliseconds, before the deadline."""
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if value:
                return value
            await asyncio.sleep(0.01)


@dataclass
class Bench:
    """A database with a threaded panic, a Slack, a Jira, and a desk that works between them."""

    ctx: Context
    router: Router
    desk: ChangeDesk
    workspace: RunningWorkspace
    jira: Jira
    answers: list[str] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.desk.run())

    async def stop_working(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task

    async def stop(self) -> None:
        await self.stop_working()
        await self.desk.the_tracker().close()

    def store(self, *rows: Any) -> None:
        self.ctx.db.write_now(lambda s: s.add_all(rows))

    async def panic(
        self, host: str = "web-17", *, posted: bool = True, incident: Incident | None = None, **facts: Any
    ) -> Panic:
        """A panic with an incident of its own (or in the one given), its parent message posted or not yet."""
        if incident is None:
            incident = Incident(
                signature_key="null_deref|nvme_irq", title="NULL pointer", channel="C0INCIDENTS"
            )
            self.store(incident)
            ts = None
            if posted:
                ts = await self.ctx.slack.post("C0INCIDENTS", "parent", [], key=f"incident:{incident.id}")
            key = f"incident:{incident.id}"
            where = {"incident_id": incident.id, "channel": "C0INCIDENTS", "renderer": "incident"}
            self.store(SlackMessage(key=key, ts=ts, **where))
        known: dict[str, Any] = {
            "kind": "null_deref",
            "title": "NULL pointer in nvme_irq <!channel>",
            "signature_key": "null_deref|nvme_irq",
            "kernel": "6.1.0-56-cloud-amd64",
            "occurred_at": datetime.now(UTC) - timedelta(minutes=1),
        }
        made = Panic(host=host, incident_id=incident.id, **{**known, **facts})
        self.store(made)
        return made

    def ask(self, text: str = "", *, user: str = "U0ONCALL", **more: Any) -> Ask:
        async def respond(
            text: str,
            blocks: list[dict[str, Any]] | None = None,
            *,
            replace: bool = False,
            in_channel: bool = False,
        ) -> None:
            self.answers.append(text)

        return Ask(request_id="r-1", user=user, channel="C0INCIDENTS", text=text, respond=respond, **more)

    async def type(self, line: str, **more: Any) -> str:
        await self.router.command_line(self.ask(line, **more))
        return self.answers[-1]

    async def click(self, action_id: str, value: str, **more: Any) -> str:
        await self.router.click(action_id, self.ask(value=value, **more))
        return self.answers[-1] if self.answers else ""

    def link(self, key: str, panic_id: int = 1) -> ChangeLink | None:
        return self.ctx.db.read_now(
            lambda s: s.exec(
                select(ChangeLink).where(ChangeLink.key == key, ChangeLink.panic_id == panic_id)
            ).first()
        )

    def card(self, key: str, panic_id: int = 1) -> str:
        """What a reader of the thread sees of the link, through the message that was committed for it."""
        link = self.link(key, panic_id)
        if link is None:
            return ""

        def look(session: Any) -> str:
            messages = session.exec(
                select(SlackMessage).where(
                    SlackMessage.renderer == "change_card", SlackMessage.subject_id == link.id
                )
            ).all()
            if not messages:
                return ""
            assert len(messages) == 1
            drawn = draw("change_card", session, link.id or 0)
            assert drawn is not None
            assert check_message({"text": drawn.text, "blocks": drawn.blocks}) == []
            assert "<!channel>" not in str(drawn.blocks)
            return drawn.text + "\n" + "\n".join(_texts(drawn.blocks))

        return self.ctx.db.read_now(look)

    async def form(self) -> dict[str, Any]:
        """The view that was opened or updated last."""
        calls = [c for c in self.workspace.workspace.calls if c["method"] in ("views.open", "views.update")]
        view = calls[-1]["arguments"]["view"]
        assert check_view(view) == []
        return dict(view)


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


@pytest.fixture
def waiting() -> Callable[..., Awaitable[Any]]:
    return until


@pytest.fixture
async def make_bench(
    db: Database, workspace: RunningWorkspace, jira: Jira, tmp_path: Path
) -> AsyncIterator[Callable[..., Bench]]:
    slack = SlackClient(SlackConfig(api_url=workspace.api_url, bot_token=SecretStr(workspace.bot_token)))
    await slack.start()
    made: list[Bench] = []

    def make(config: ChangesConfig = QUICK, *, running: bool = True) -> Bench:
        access = Access(AccessConfig(responders=("U0ONCALL", "U0KERNEL")), slack.members_of)
        ctx = Context(db=db, slack=slack, inventory=Inventory(), access=access, store_dir=tmp_path)
        router = Router(db, access)
        desk = ChangeDesk(ctx, jira.client(), config)
        register(router, desk)
        bench = Bench(ctx, router, desk, workspace, jira)
        made.append(bench)
        if running:
            bench.start()
        return bench

    yield make
    for bench in made:
        await bench.stop()
    await slack.close()
