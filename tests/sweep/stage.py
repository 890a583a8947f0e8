"""The sweep, the intake and the inbox over one database, in front of replayed hosts or of temporary directories."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlmodel import col, select

from bot.demo.hosts import Fleet, HostSpec
from bot.demo.hosts.instance import Instance
from bot.sweeping import CrashHistory
from commands.incident import parent as _parent  # noqa: F401 - registers how an incident is drawn
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.incident.rendering import draw
from commands.intake.config import IntakeConfig
from commands.intake.desk import IntakeDesk
from commands.inventory import HostEntry
from commands.sweep.config import SweepConfig
from commands.sweep.desk import SweepDesk
from commands.sweep.visitor import Visitor
from integrations.ssh import SshClient, SshHost, SshSession
from storage import Panic, Report, SlackMessage, SweepPlace, SweepRun
from storage.inbox import ReportInbox
from tests.hosts.world import World, close_world, make_fleet, make_world, until

_requests = itertools.count(1)
CHANNEL = "C0INCIDENTS"
SPECS = (
    HostSpec("web-17", "null-deref", "prod-2", "Dell PowerEdge R640", "critical", "web"),
    HostSpec("db-3", "oom", "prod-1", "HPE ProLiant", "normal", "databases"),
    HostSpec("edge-1", "no-kdump-pstore", "canary", "Lenovo", "low", "edge"),
)


class Clock:
    """The present, moved on by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def forward(self, **length: float) -> None:
        self.ahead += timedelta(**length)


class CountingClient(SshClient):
    """The real client; knows how many hosts were connected to, and how many at the same time."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.opened: list[str] = []
        self.now = self.most = 0

    async def open(self, host: SshHost, **how: Any) -> SshSession:
        self.opened.append(host.name)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            session = await super().open(host, **how)
        except BaseException:
            self.now -= 1
            raise
        close = session.close

        def closed() -> None:
            self.now -= 1
            close()

        session.close = closed  # type: ignore[method-assign]
        return session


@dataclass
class Stage:
    world: World
    clock: Clock
    config: SweepConfig
    reports: ReportInbox
    intake: IntakeDesk
    ssh: CountingClient
    desk: SweepDesk
    counted: list[tuple[str, ...]] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def fleet(self) -> Fleet:
        assert self.world.fleet is not None
        return self.world.fleet

    def make_desk(self, **config: Any) -> SweepDesk:
        """A desk as a new process would make it."""
        self.config = self.config.model_copy(update=config)
        context = self.world.context
        visitor = Visitor(
            context, self.ssh, self.reports, self.config, CrashHistory(context, timedelta(seconds=120)), resolve=nothing
        )  # fmt: skip
        self.desk = SweepDesk(context, visitor, self.config, channel=CHANNEL, read_within=45)
        self.desk.on_place = lambda kind, outcome: self.counted.append((kind, outcome))
        self.desk.on_dumps = lambda what, count: self.counted.append((what, str(count)))
        return self.desk

    def start(self) -> None:
        self.tasks.append(asyncio.create_task(self.desk.run()))

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    async def crash(self, host: str, case: str | None = None) -> Instance:
        """A panic of which the host tells nobody."""
        await self.fleet.panic(host, case)
        await self.fleet.reported(host)
        return self.fleet.instance(host)

    async def sweep(self, *words: str) -> SweepRun:
        """Asked for, and waited for."""
        if not self.tasks:
            self.start()
        begun = await self.desk.ask(words, "U0ONCALL", f"request-{next(_requests)}", CHANNEL)
        return await self.done(begun.run.id or 0)

    async def done(self, run_id: int) -> SweepRun:
        async def ended() -> SweepRun | None:
            run = await self.world.db.read(lambda s: s.get(SweepRun, run_id))
            return run if run is not None and run.slot is None else None

        for task in self.tasks:
            if task.done():
                task.result()
        found: SweepRun = await until(ended)
        return found

    async def told(self, run_id: int) -> str:
        drawn = await self.world.db.read(lambda s: draw("sweep", s, run_id))
        assert drawn is not None
        return "\n".join(block["text"]["text"] for block in drawn.blocks if block["type"] == "section")

    async def report(self, body: dict[str, Any]) -> None:
        """A host's own report, as the door would store it; read at once."""
        await self.reports.add(host=body["host"], external_id=body["id"], body=body, source=body["source"])
        while await self.intake.drain():
            pass

    async def panics(self) -> list[Panic]:
        return await self.world.db.read(lambda s: list(s.exec(select(Panic).order_by(col(Panic.id)))))

    async def found(self) -> list[Report]:
        query = select(Report).where(Report.source == "sweep").order_by(col(Report.id))
        return await self.world.db.read(lambda s: list(s.exec(query)))

    async def places(self) -> dict[str, SweepPlace]:
        return await self.world.db.read(lambda s: {p.name: p for p in s.exec(select(SweepPlace))})

    async def messages(self) -> list[SlackMessage]:
        query = select(SlackMessage).where(SlackMessage.renderer == "sweep")
        return await self.world.db.read(lambda s: list(s.exec(query)))


async def nothing(_name: str) -> Sequence[str]:
    return ()


@asynccontextmanager
async def stage(
    folder: Path,
    *,
    specs: Sequence[HostSpec] | None = SPECS,
    hosts: tuple[HostEntry, ...] | None = None,
    answer_seconds: float = 0.0,
    **config: Any,
) -> AsyncIterator[Stage]:
    """Everything but Slack and the clock's first sweep. `specs` None: no replayed host at all."""
    fleet = (
        await make_fleet(folder, specs=specs, answer_seconds=answer_seconds) if specs is not None else None
    )
    world = await make_world(folder, fleet, hosts=hosts)
    clock = Clock()
    world.context.clock = clock
    reports = ReportInbox(world.db)
    reports.start()
    intake = IntakeDesk(
        world.context, IntakeConfig(), IncidentConfig(), RoutingConfig(channel=CHANNEL), admin_channel=None
    )
    world.context.read_reports = intake.wake
    ssh = CountingClient(world.visits.ssh.config)
    settings = SweepConfig(**{"enabled": False, **config})
    made = Stage(world, clock, settings, reports, intake, ssh, None)  # type: ignore[arg-type]
    made.make_desk()
    reading = asyncio.create_task(intake.run())
    try:
        yield made
    finally:
        await made.kill()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await reports.close()
        ssh.close()
        await close_world(world)
        if fleet is not None:
            await fleet.stop()
