from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sqlmodel import Session, select

from bot.dumps import DumpRoute
from commands.access import Access, AccessConfig
from commands.fetch.config import FetchConfig
from commands.fetch.desk import PATH, FetchDesk
from commands.fetch.slack import register
from commands.router import Router
from integrations.stores import CentralStore, Part
from storage import AuditEntry, CopyState, DumpCopy, DumpFetch, DumpLink, DumpPart, TimelineEntry, utc_now
from tests.copies.conftest import no_sftp
from tests.hosts.world import World, close_world, make_world, nobody

KIB = 1024
PART = 100 * KIB
_names = itertools.count()


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@dataclass
class Scene:
    """A panic with a copy in a store, the desk, and its route on a port."""

    folder: Path
    world: World
    clock: Clock
    desk: FetchDesk
    router: Router
    store: CentralStore
    http: aiohttp.ClientSession
    url: str
    panic_id: int = 0
    copy_id: int = 0
    content: bytes = b""
    name: str = ""

    async def copy(self, *, state: CopyState = CopyState.VERIFIED, size: int = 3 * PART + 77) -> None:
        """A copy as the copy desk leaves it."""
        self.panic_id, _ = await self.world.panic()
        self.content = random.Random(1).randbytes(size)
        self.name = f"P-{self.panic_id}-web-17-{next(_names):012x}"
        parts: list[Part] = []
        with self.store.open(self.name) as shelf:
            shelf.make()
            for start in range(0, size, PART):
                writer = shelf.part(len(parts) + 1)
                writer.write(self.content[start : start + PART])
                parts.append(writer.finish())
            place = shelf.url

        def write(session: Session) -> int:
            row = DumpCopy(
                panic_id=self.panic_id, workflow_id=self.name, host="web-17", asked_by="U0ONCALL", state=state,
                size=size, place=place, sha256=hashlib.sha256(self.content).hexdigest(), error="its term was over",
            )  # fmt: skip
            session.add(row)
            session.flush()
            for part in parts:
                session.add(
                    DumpPart(copy_id=row.id or 0, number=part.number, size=part.size, sha256=part.sha256)
                )
            return row.id or 0

        self.copy_id = await self.world.db.write(write)

    async def say(self, text: str, user: str = "U0ADMIN", **more: Any) -> str:
        before = len(self.world.replies)
        await self.router.command_line(self.world.ask(text=text, user=user, **more))
        return "\n".join(f"{text}\n{blocks or ''}" for text, blocks in self.world.replies[before:])

    async def link(self, user: str = "U0ADMIN") -> str:
        """The address that a person is given, at the port of this test."""
        said = await self.say(f"fetch P-{self.panic_id}", user)
        assert PATH in said, said
        token = said.split(PATH, 1)[1].split("'", 1)[0]
        return f"{self.url}{PATH}{token}"

    async def get(self, url: str, **headers: str) -> tuple[int, bytes, Any]:
        async with self.http.get(url, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers

    async def refused(self, url: str, **headers: str) -> tuple[int, str]:
        async with self.http.get(url, headers=headers) as answer:
            return answer.status, (await answer.json())["error"]

    async def state(self, state: CopyState) -> None:
        def write(session: Session) -> None:
            row = session.get_one(DumpCopy, self.copy_id)
            row.state = state
            session.add(row)

        await self.world.db.write(write)

    async def audits(self) -> list[tuple[str, str, str, str, str]]:
        rows = await self.world.db.read(lambda s: list(s.exec(select(AuditEntry).order_by(AuditEntry.id))))  # type: ignore[arg-type]
        return [(a.actor, a.verb, a.subject, a.outcome, a.detail) for a in rows if a.verb.startswith("dump.")]

    async def told(self) -> list[str]:
        rows = await self.world.db.read(
            lambda s: list(s.exec(select(TimelineEntry).order_by(TimelineEntry.id)))
        )  # type: ignore[arg-type]
        return [t.text for t in rows]

    async def fetches(self) -> list[DumpFetch]:
        return await self.world.db.read(lambda s: list(s.exec(select(DumpFetch).order_by(DumpFetch.id))))  # type: ignore[arg-type]

    async def links(self) -> list[DumpLink]:
        return await self.world.db.read(lambda s: list(s.exec(select(DumpLink).order_by(DumpLink.id))))  # type: ignore[arg-type]


Make = Callable[..., Any]


@pytest.fixture
async def make_scene(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[tuple[Scene, web.AppRunner]] = []

    async def make(
        *,
        public_url: str | None = "https://panicroom.example",
        store: CentralStore | None = None,
        **config: Any,
    ) -> Scene:
        world = await make_world(tmp_path, None)
        clock = Clock()
        world.context.clock = clock
        world.context.access = Access(
            AccessConfig(everyone="responder", admins=("U0ADMIN",), dump_readers=("U0READER",)), nobody
        )
        (tmp_path / "central").mkdir(exist_ok=True)
        store = store or CentralStore((tmp_path / "central").as_uri(), sftp=no_sftp)
        desk = FetchDesk(world.context, store, FetchConfig(**config), public_url=public_url)
        router = Router(world.db, world.context.access)
        register(router, desk)
        app = web.Application()
        DumpRoute(desk).add_to(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        scene = Scene(tmp_path, world, clock, desk, router, store, aiohttp.ClientSession(), url)
        made.append((scene, runner))
        return scene

    yield make
    for scene, runner in made:
        await scene.http.close()
        await runner.cleanup()
        await scene.desk.close()
        await close_world(scene.world)
