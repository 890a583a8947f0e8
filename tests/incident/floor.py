"""The bot's first floor at a real workspace: database, printer, intake, router, front desk; no SSH, no tracker."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import aiohttp
import structlog
from aiohttp import web
from pydantic import SecretStr
from slack_sdk.signature import SignatureVerifier
from sqlmodel import Session, SQLModel, select

from bot.demo.workspace.testing import RunningWorkspace
from bot.metrics import Metrics
from bot.slack_app import make_bolt
from bot.slack_front import FrontDesk
from bot.slack_http import SlackRoute
from bot.slack_socket import SocketDoor
from commands.access import Access, AccessConfig
from commands.context import Context
from commands.incident import parent as _parent  # noqa: F401 - registers how an incident is drawn
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.incident.pace import Pace
from commands.incident.printer import Printer
from commands.incident.slack import IncidentDesk
from commands.incident.slack import register as register_incident
from commands.incident.watch import Watch
from commands.intake.config import IntakeConfig
from commands.intake.desk import IntakeDesk
from commands.intake.slack import register as register_intake
from commands.inventory import HostEntry, Inventory
from commands.router import Ask, Router
from integrations.slack.client import SlackClient, SlackConfig
from storage import AuditEntry, Database, Incident, Panic, Report, ReportState, SlackMessage, SlackRequest
from storage.inbox import RequestInbox

# Drawing a traceback with all its locals takes seconds.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

T = TypeVar("T")
_ids = itertools.count(1)
CHANNEL = "C0INCIDENTS"
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


class Clock:
    """The present, moved on by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def forward(self, **length: float) -> None:
        self.ahead += timedelta(**length)


async def until(condition: Callable[[], Awaitable[T]], seconds: float = 45) -> T:
    """Awaits a condition with a deadline; returns what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.02)


async def nobody(_group: str) -> list[str]:
    return []


def open_database(folder: Path) -> Database:
    db = Database(f"sqlite:///{folder}/panicroom.db")
    SQLModel.metadata.create_all(db.engine)
    return db


@dataclass
class Pager:
    """Keeps what it was told, and fails while `broken`."""

    broken: bool = False
    told: list[tuple[str, str, str]] = field(default_factory=list)

    async def trigger(
        self,
        dedup_key: str,
        summary: str,
        *,
        source: str,
        severity: str,
        details: dict[str, str],
        link: str | None,
    ) -> None:
        if self.broken:
            raise ConnectionError("no route to the pager")
        self.told.append(("trigger", dedup_key, details["why"]))

    async def resolve(self, dedup_key: str) -> None:
        if self.broken:
            raise ConnectionError("no route to the pager")
        self.told.append(("resolve", dedup_key, ""))


class Floor:
    """Build it with `floor(...)`; everything is running inside the block except the clock's watch."""

    def __init__(
        self,
        folder: Path,
        *,
        api_url: str = "http://127.0.0.1:9/api/",
        token: str = "xoxb-none",
        app_token: str = "",
        secret: str = SECRET,
        hosts: tuple[HostEntry, ...] = (),
        closed: bool = False,
        access: AccessConfig | None = None,
        incidents: IncidentConfig | None = None,
        routing: RoutingConfig | None = None,
        intake: IntakeConfig | None = None,
        pager: Pager | None = None,
        pace: Pace | None = None,
        look_again: float = 0.4,
        double_checks: tuple[float, ...] = (0.3, 0.3),
        queue: int = 2000,
        timeout: float = 5.0,
    ) -> None:
        self.folder = folder
        self.clock = Clock()
        self.db = open_database(folder)
        self.config = SlackConfig(
            api_url=api_url,
            bot_token=SecretStr(token),
            app_token=SecretStr(app_token),
            signing_secret=SecretStr(secret),
            timeout=timeout,
        )
        self.slack = SlackClient(self.config)
        self.incidents = incidents or IncidentConfig()
        self.routing = routing or RoutingConfig(channel=CHANNEL)
        self.access = Access(access or AccessConfig(everyone="admin"), self.slack.members_of)
        self.context = Context(
            db=self.db,
            slack=self.slack,
            inventory=Inventory(hosts, closed=closed),
            access=self.access,
            store_dir=folder / "store",
            clock=self.clock,
        )
        self.printer = Printer(
            self.db,
            self.slack,
            store_dir=folder / "store",
            clock=self.clock,
            pace=pace or Pace(per_second=500, burst=100),
            look_again=timedelta(seconds=look_again),
            double_checks=[timedelta(seconds=s) for s in double_checks],
        )
        self.context.wake = self.printer.wake
        self.pager = pager or Pager()
        self.watch = Watch(self.context, self.incidents, self.routing, self.printer, self.pager)
        self.intake = IntakeDesk(
            self.context,
            intake or IntakeConfig(),
            self.incidents,
            self.routing,
            admin_channel="C0ADMINS",
            redact=lambda text: text.replace("hunter2", "[redacted]"),
        )
        self.router = Router(self.db, self.access)
        register_incident(self.router, IncidentDesk(self.context, self.incidents, self.routing))
        register_intake(self.router, self.intake)
        self.requests = RequestInbox(self.db)
        self.homes: list[str] = []
        self.bolt = make_bolt(self.router, self.slack, on_home=self._home)
        self.front = FrontDesk(self.db, self.requests, self.router, self.bolt, self.slack, queue=queue)
        self.events_url = ""

    async def _home(self, user: str) -> None:
        self.homes.append(user)

    # -- a host tells ---------------------------------------------------------------------------------

    async def report(
        self, host: str = "web-17", text: str = "", *, state: ReportState = ReportState.NEW, **body: Any
    ) -> Panic:
        """Stores a report as the HTTP door does, reads it, and returns its panic as it is then."""
        number = await self.store(host, text, state=state, **body)
        while await self.intake.drain():
            pass
        found = await self.row(Report, number)
        assert found.panic_id is not None, found.error
        return await self.row(Panic, found.panic_id)

    async def store(
        self, host: str, text: str = "", *, state: ReportState = ReportState.NEW, **body: Any
    ) -> int:
        for name, value in body.items():
            if isinstance(value, datetime):
                body[name] = value.isoformat()
        row = Report(
            host=host,
            external_id=f"r{next(_ids)}",
            body={"host": host, "text": text, **body},
            state=state,
            received_at=self.clock(),
            next_at=self.clock(),
        )

        def write(session: Session) -> int:
            session.add(row)
            session.flush()
            return row.id or 0

        return await self.db.write(write)

    # -- a person asks, without Slack -------------------------------------------------------------------

    async def say(self, text: str, user: str = "U0ONCALL", **more: Any) -> str:
        """`/panic TEXT` through the router; returns what was answered."""
        answers: list[str] = []

        async def respond(text: str, blocks: Any = None, *, replace: bool = False, in_channel: bool = False):  # type: ignore[no-untyped-def]
            answers.append(text)

        ask = Ask(request_id=f"test:{next(_ids)}", user=user, channel=CHANNEL, text=text, respond=respond)
        for name, value in more.items():
            object.__setattr__(ask, name, value)
        await self.router.command_line(ask)
        return "\n".join(answers)

    # -- what there is --------------------------------------------------------------------------------

    async def row(self, table: type[T], ident: int) -> T:
        return await self.db.read(lambda s: s.get_one(table, ident))

    async def rows(self, table: type[T]) -> list[T]:
        return list(await self.db.read(lambda s: s.exec(select(table).order_by(table.id)).all()))  # type: ignore[attr-defined]

    async def incident(self, ident: int) -> Incident:
        return await self.row(Incident, ident)

    async def who_is_where(self) -> dict[int, int | None]:
        return {p.id or 0: p.incident_id for p in await self.rows(Panic)}

    async def sayings(self, part: str = "") -> list[SlackMessage]:
        """Messages whose key or fixed text contains `part`."""
        return [
            m
            for m in await self.rows(SlackMessage)
            if part in m.key or part in str((m.payload or {}).get("text", ""))
        ]

    async def audits(self) -> list[tuple[str, str, str, str]]:
        return [(a.actor, a.verb, a.subject, a.outcome) for a in await self.rows(AuditEntry)]

    async def requests_stored(self) -> list[SlackRequest]:
        return await self.rows(SlackRequest)

    async def printed(self, key: str) -> SlackMessage:
        """The message once it stands in Slack as it is wanted."""

        async def done() -> SlackMessage | None:
            found = [m for m in await self.rows(SlackMessage) if m.key == key]
            return found[0] if found and found[0].ts and found[0].sent == found[0].wanted else None

        message = await until(done)
        assert message is not None
        return message

    # -- Slack knocks ---------------------------------------------------------------------------------

    async def post(
        self,
        body: str,
        *,
        kind: str = "application/x-www-form-urlencoded",
        secret: str = SECRET,
        at: str | None = None,
        signature: str | None = None,
    ) -> tuple[int, str]:
        """A request signed as Slack signs it: (status, body)."""
        stamp = at if at is not None else str(int(time.time()))
        digest = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": kind,
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": signature if signature is not None else f"v0={digest}",
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.events_url, data=body.encode(), headers=headers) as answer,
        ):
            return answer.status, await answer.text()

    async def command(
        self, text: str, *, trigger: str | None = None, user: str = "U0ONCALL"
    ) -> tuple[int, str]:
        return await self.post(urlencode(command_payload(text, trigger=trigger, user=user)))

    async def interaction(self, payload: dict[str, Any]) -> tuple[int, str]:
        return await self.post(urlencode({"payload": json.dumps(payload)}))


def command_payload(text: str, *, trigger: str | None = None, user: str = "U0ONCALL") -> dict[str, str]:
    return {
        "command": "/panic",
        "text": text,
        "user_id": user,
        "channel_id": CHANNEL,
        "team_id": "T0PANICROOM",
        "trigger_id": trigger or f"t.{next(_ids)}",
        "response_url": "http://127.0.0.1:9/none",
    }


@asynccontextmanager
async def floor(
    folder: Path,
    ws: RunningWorkspace | None = None,
    *,
    doors: str = "",
    printing: bool = True,
    **options: Any,
) -> AsyncIterator[Floor]:
    """`doors`: "http" or "socket" opens the front desk to the workspace; "" leaves it shut."""
    if ws is not None:
        options = {
            "api_url": ws.api_url,
            "token": ws.bot_token,
            "app_token": ws.app_token,
            "secret": ws.signing_secret,
            **options,
        }
    floor = Floor(folder, **options)
    floor.requests.start()
    await floor.slack.start()
    tasks = [asyncio.create_task(floor.printer.run())] if printing and ws is not None else []
    runner = socket = None
    if doors:
        floor.slack.bot_user_id = "U0PANICROOM"
        await floor.front.start()
    if doors == "http":
        app = web.Application()
        route = SlackRoute(floor.front, SignatureVerifier(options.get("secret", SECRET)), Metrics())
        app.router.add_post("/slack/events", route.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        floor.events_url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
        if ws is not None:
            ws.request_url = floor.events_url
    elif doors == "socket":
        assert ws is not None
        socket = SocketDoor(floor.front, floor.config)
        await socket.start()
        await ws.until_connected()
    try:
        yield floor
    finally:
        if socket is not None:
            await socket.stop()
        if runner is not None:
            await runner.cleanup()
        await floor.front.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await floor.requests.close()
        await floor.slack.close()
        floor.db.close()
