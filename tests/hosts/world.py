"""A bot without Slack in front of a replayed fleet: database, workflows, SSH client, desks."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlmodel import Session, SQLModel, select

from bot.demo.hosts import Fleet, client_key
from bot.workflows import Workflows
from commands.access import Access, AccessConfig
from commands.context import Context
from commands.hosts.visits import Visits
from commands.incident import thread
from commands.inventory import HostEntry, Inventory
from commands.router import Ask
from integrations.slack.client import SlackClient, SlackConfig
from integrations.ssh import SshClient, SshConfig
from storage import AuditEntry, Database, Incident, Panic, RunbookRun, SlackMessage, StepResult

_names = itertools.count()


async def nobody(_group: str) -> list[str]:
    return []


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 45) -> Any:
    """Awaits a condition with a deadline; returns what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.02)


@dataclass
class World:
    folder: Path
    db: Database
    context: Context
    visits: Visits
    workflows: Workflows
    fleet: Fleet | None = None
    woken: int = 0
    replies: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)

    async def panic(self, host: str = "web-17", **columns: Any) -> tuple[int, int]:
        """A panic in an incident of its own with a parent message that stands in Slack: (panic id, incident id)."""

        def write(session: Session) -> tuple[int, int]:
            incident = Incident(signature_key="null_deref|f", title="t", channel="C0INCIDENTS")
            session.add(incident)
            session.flush()
            values: dict[str, Any] = {
                "host": host,
                "occurred_at": datetime.now(UTC),
                "title": "NULL pointer dereference in f",
                "signature_key": "null_deref|f",
                "kernel": "6.1.0-56-cloud-amd64",
                "incident_id": incident.id,
            }
            made = Panic(**{**values, **columns})
            session.add(made)
            session.flush()
            assert incident.id is not None
            session.add(
                SlackMessage(
                    key=thread.parent_key(incident.id),
                    incident_id=incident.id,
                    channel="C0INCIDENTS",
                    renderer="incident",
                    ts="1.000001",
                )
            )
            assert made.id is not None
            return made.id, incident.id

        return await self.db.write(write)

    async def crash(self, host: str, case: str | None = None, **columns: Any) -> tuple[int, int]:
        """Let a replayed host panic and come back; the panic is in the database as its report would put it there."""
        assert self.fleet is not None
        told = await self.fleet.panic(host, case)
        await self.fleet.reported(host)
        at = datetime.fromisoformat(told["crashed_at"])
        return await self.panic(host, occurred_at=at, reported_at=at + timedelta(seconds=5), **columns)

    async def run(self, run_id: int) -> RunbookRun:
        return await self.db.read(lambda s: s.get_one(RunbookRun, run_id))

    async def ended(self, run_id: int, seconds: float = 60) -> RunbookRun:
        async def look() -> RunbookRun | None:
            run = await self.run(run_id)
            return run if run.finished_at is not None else None

        found: RunbookRun = await until(look, seconds)
        return found

    async def steps(self, run_id: int) -> dict[str, StepResult]:
        rows = await self.db.read(
            lambda s: list(s.exec(select(StepResult).where(StepResult.run_id == run_id)))
        )
        return {r.name: r for r in rows}

    async def audit(self, verb: str = "host.command") -> list[AuditEntry]:
        return await self.db.read(lambda s: list(s.exec(select(AuditEntry).where(AuditEntry.verb == verb))))

    def ask(self, **values: Any) -> Ask:
        async def respond(
            text: str, blocks: Any = None, *, replace: bool = False, in_channel: bool = False
        ) -> None:
            self.replies.append((text, blocks or []))

        base: dict[str, Any] = {
            "request_id": f"r{next(_names)}",
            "user": "U0ONCALL",
            "channel": "C0INCIDENTS",
            "respond": respond,
        }
        return Ask(**{**base, **values})


async def make_world(
    folder: Path,
    fleet: Fleet | None,
    *,
    hosts: tuple[HostEntry, ...] | None = None,
    ssh: SshConfig | None = None,
) -> World:
    """The caller makes its desks, then calls `world.workflows.start()`."""
    folder.mkdir(parents=True, exist_ok=True)
    db = Database(f"sqlite:///{folder}/bot.db")
    SQLModel.metadata.create_all(db.engine)
    if fleet is not None:
        known = folder / "known_hosts"
        known.write_text(fleet.known_hosts())
        ssh = ssh or SshConfig(
            user="triage", key_file=folder / "client_key", known_hosts=known, connect_timeout=5
        )
        keys = ("name", "address", "port", "ring", "hardware", "criticality", "owner")
        hosts = hosts or tuple(HostEntry(**{k: e[k] for k in keys}) for e in fleet.inventory())
    world: World
    context = Context(
        db=db,
        slack=SlackClient(SlackConfig(api_url="http://127.0.0.1:9/api/")),
        inventory=Inventory(hosts or ()),
        access=Access(AccessConfig(everyone="responder"), nobody),
        store_dir=folder / "store",
        wake=lambda: setattr(world, "woken", world.woken + 1),
    )
    visits = Visits(context, SshClient(ssh or SshConfig()))
    world = World(folder, db, context, visits, Workflows(db.url), fleet)
    return world


async def close_world(world: World) -> None:
    await world.workflows.stop()
    await world.visits.close()
    world.db.close()


async def make_fleet(folder: Path, **options: Any) -> Fleet:
    folder.mkdir(parents=True, exist_ok=True)
    options.setdefault("reboot_seconds", 0.05)
    fleet = Fleet(folder / "fleet", client_key=client_key(folder / "client_key"), **options)
    await fleet.start()
    return fleet
