from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import shlex
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from sqlmodel import Session, col, select

from bot.demo.workspace.blockkit.checks import check_message
from commands.access import Access, AccessConfig
from commands.retention.desk import RetentionDesk
from commands.retention.ledger import Place
from commands.retention.policy import RetentionConfig
from commands.retention.slack import register
from commands.router import Router
from integrations.stores import CentralStore, Part
from integrations.stores.central import part_name
from storage import (
    AuditEntry,
    CopyCare,
    CopyState,
    DumpCopy,
    DumpPart,
    DumpState,
    Incident,
    IncidentState,
    RetentionItem,
    RetentionRun,
    SlackMessage,
)
from tests.copies.conftest import no_sftp
from tests.copies.dumphost import DumpHost
from tests.host_side.support import DASH, DEPLOY
from tests.hosts.world import World, close_world, make_world, nobody

KIB = 1024
CHANNEL = "C0ADMINS"
HELPERS = ("panicroom-host", "panicroom-host-delete")


class RealHost(DumpHost):
    """Runs the scripts of deploy/host word for word, but for the path of kdump's configuration."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self.crash.rmdir()
        self.kdump = folder / "kdump-tools"
        self.kdump.write_text(f"KDUMP_COREDIR={folder / 'crash'}\nKDUMP_NUM_DUMPS=0\n")
        self.may_delete = True
        self.before_delete: Callable[[], None] = lambda: None
        self.hold_answer = False  # of a deletion that was done
        self.deleted = asyncio.Event()
        for name in HELPERS:
            text = (DEPLOY / name).read_text().replace("/etc/default/kdump-tools", str(self.kdump))
            (folder / name).write_text(text)

    def add(self, number: int, size: int = 8 * KIB) -> tuple[str, bytes]:
        """A dump in a crash directory of its own: (path in there, content)."""
        stamp = f"2026112305{number:02}"
        directory = self.folder / "crash" / stamp
        directory.mkdir()
        content = random.Random(number).randbytes(size)
        (directory / f"dump.{stamp}").write_bytes(content)
        (directory / f"dmesg.{stamp}").write_text("[    0.0] Linux version\n")
        os.utime(directory / f"dump.{stamp}", (1_795_412_000 + number,) * 2)
        return f"{stamp}/dump.{stamp}", content

    def file(self, path: str) -> Path:
        return self.folder / "crash" / path

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        argv = shlex.split(process.command or "")
        self.calls.append(tuple(argv))
        if argv[0] == "cat":
            process.stdout.write(self.kdump.read_bytes())
            process.exit(1)  # SUSE's file is not there
            return
        name = Path(argv[2]).name
        assert argv[:2] == ["sudo", "-n"]
        assert name in HELPERS
        if name == HELPERS[1]:
            if not self.may_delete:
                process.stderr.write(b"sudo: a password is required\n")
                process.exit(1)
                return
            self.before_delete()
        ran = await asyncio.create_subprocess_exec(
            DASH or "sh", self.folder / name, *argv[3:], stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, cwd="/",
        )  # fmt: skip
        out, err = await ran.communicate()
        if name == HELPERS[1] and self.hold_answer:
            self.deleted.set()
            await self.go.wait()
        process.stdout.write(out)
        process.stderr.write(err)
        process.exit(ran.returncode or 0)

    def deletions(self) -> list[tuple[str, ...]]:
        return [c[3:] for c in self.calls if c[2:3] and c[2].endswith("-delete")]


class Clock:
    """The bot's clock, and the seconds that its process counts: both set by hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.counted = 0.0

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **length: float) -> None:
        step = timedelta(**length)
        self.now += step
        self.counted += step.total_seconds()

    def set_by(self, **length: float) -> None:
        """As somebody sets it: no time has passed."""
        self.now += timedelta(**length)


@dataclass
class Scene:
    """A host with dumps, a store in a directory with their copies, and a desk."""

    folder: Path
    host: RealHost
    world: World
    clock: Clock
    desk: RetentionDesk
    router: Router
    store: CentralStore
    desks: list[RetentionDesk] = field(default_factory=list)
    numbers: int = 0

    @property
    def central(self) -> Path:
        return self.folder / "central"

    def another_desk(self, *, policy: RetentionConfig | None = None, **options: Any) -> RetentionDesk:
        """As another process, or the next one, would make it."""
        made = RetentionDesk(
            self.world.context,
            self.world.visits,
            self.store,
            policy or self.desk.policy,
            options.pop("place", self.desk.place),
            channel=CHANNEL,
            counted=lambda: self.clock.counted,
            tick=0.05,
            **options,
        )
        self.desks.append(made)
        return made

    async def dump(
        self, *, copied: bool = True, state: CopyState = CopyState.VERIFIED, resolved: bool = True, size: int = 8 * KIB,
        signature: str = "null_deref|f", stamp: str | None = None, **columns: Any,
    ) -> int:  # fmt: skip
        """A panic of the host with its dump there, and (`copied`) a copy in central. Returns the panic's id."""
        self.numbers += 1
        path, content = self.host.add(self.numbers, size)
        at = self.clock.now - timedelta(hours=2) + timedelta(minutes=self.numbers)
        values = {
            "occurred_at": at, "dump_path": path, "dump_size": size, "dump_state": DumpState.COMPLETE,
            "signature_key": signature,
        }  # fmt: skip
        panic_id, incident_id = await self.world.panic(self.host.name, **{**values, **columns})
        if resolved:
            await self.resolve(incident_id)
        if copied:
            await self.copy(panic_id, path, content, state=state, stamp=stamp)
        return panic_id

    async def copy(
        self, panic_id: int, path: str, content: bytes, *, state: CopyState = CopyState.VERIFIED,
        stamp: str | None = None, part: int = 3 * KIB,
    ) -> int:  # fmt: skip
        """A copy as the copy desk leaves it. Returns its id."""
        folder = f"P-{panic_id}-{self.host.name}-{hashlib.sha256(content).hexdigest()[:8]}{random.randrange(10**6)}"
        parts: list[Part] = []
        with self.store.open(folder) as shelf:
            shelf.make()
            for start in range(0, len(content), part):
                writer = shelf.part(len(parts) + 1)
                writer.write(content[start : start + part])
                parts.append(writer.finish())
            sha256 = hashlib.sha256(content).hexdigest()
            names = [part_name(p.number) for p in parts]
            shelf.write_manifest(json.dumps({"sha256": sha256, "parts": names}).encode())
            place = shelf.url
        found = self.host.file(path).stat()
        row = DumpCopy(
            panic_id=panic_id, workflow_id=f"copy:{folder}", host=self.host.name, asked_by="U0ONCALL", state=state,
            source_path=path, source_stamp=stamp or f"{int(found.st_mtime)}/{found.st_ino}", size=len(content),
            part_size=part, place=place, sha256=sha256, asked_at=self.clock.now, finished_at=self.clock.now,
            verified_at=self.clock.now if state is not CopyState.FAILED else None,
        )  # fmt: skip

        def write(session: Session) -> int:
            session.add(row)
            session.flush()
            assert row.id is not None
            for p in parts:
                session.add(DumpPart(copy_id=row.id, number=p.number, size=p.size, sha256=p.sha256))
            return row.id

        return await self.world.db.write(write)

    async def resolve(self, incident_id: int, state: IncidentState = IncidentState.RESOLVED) -> None:
        def write(session: Session) -> None:
            session.get_one(Incident, incident_id).state = state

        await self.world.db.write(write)

    async def stamped(self) -> None:
        """Slack has stamped a message now, by a clock that is right."""
        ts = f"{self.clock.now.timestamp():.6f}"
        message = SlackMessage(key=f"m{ts}{random.random()}", channel=CHANNEL, ts=ts)
        await self.world.db.write(lambda s: s.add(message))

    async def sweep(self, asked_by: str = "U0ADMIN", **options: Any) -> RetentionRun:
        """Begun and carried out."""
        await self.stamped()
        run, _ = await self.desk.begin(asked_by, **options)
        assert await self.desk.work(run.id or 0)
        return await self.world.db.read(lambda s: s.get_one(RetentionRun, run.id))

    async def items(self) -> list[RetentionItem]:
        return await self.world.db.read(
            lambda s: list(s.exec(select(RetentionItem).order_by(col(RetentionItem.id))))
        )

    async def states(self) -> list[tuple[str, int, str]]:
        return [(i.place, i.panic_id, i.state.value) for i in await self.items()]

    async def copies(self) -> list[DumpCopy]:
        return await self.world.db.read(lambda s: list(s.exec(select(DumpCopy).order_by(col(DumpCopy.id)))))

    async def care(self, copy_id: int) -> CopyCare:
        return await self.world.db.read(lambda s: s.get_one(CopyCare, copy_id))

    async def audit(self, verb: str) -> list[AuditEntry]:
        return await self.world.audit(verb)

    async def messages(self, start: str) -> list[SlackMessage]:
        found = (
            select(SlackMessage).where(col(SlackMessage.key).startswith(start)).order_by(col(SlackMessage.id))
        )
        return await self.world.db.read(lambda s: list(s.exec(found)))

    def folders(self) -> list[str]:
        return sorted(p.name for p in self.central.iterdir())

    async def say(self, text: str, user: str = "U0ADMIN", **values: Any) -> str:
        """What is answered to `/panic TEXT`; its blocks are ones that Slack takes."""
        before = len(self.world.replies)
        await self.router.command_line(self.world.ask(text=text, user=user, **values))
        return self._answered(before)

    async def click(self, action: str, value: str, user: str = "U0ADMIN") -> str:
        before = len(self.world.replies)
        await self.router.click(action, self.world.ask(value=value, user=user))
        return self._answered(before)

    def _answered(self, before: int) -> str:
        (answer,) = self.world.replies[before:]
        text, blocks = answer
        assert check_message({"text": text, "blocks": blocks}) == []
        return "\n".join([text, json.dumps(blocks, ensure_ascii=False)]) if blocks else text


Make = Callable[..., Any]


@pytest.fixture
async def make_scene(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Scene] = []

    async def make(*, budget: int | None = None, **policy: Any) -> Scene:
        host = RealHost(tmp_path)
        await host.start()
        world = await make_world(tmp_path, None, hosts=(host.entry(),), ssh=host.ssh())
        clock = Clock()
        world.context.clock = clock
        world.context.access = Access(AccessConfig(everyone="responder", admins=("U0ADMIN",)), nobody)
        (tmp_path / "central").mkdir()
        url = (tmp_path / "central").as_uri()
        store = CentralStore(url, sftp=no_sftp)
        scene = Scene(tmp_path, host, world, clock, None, None, store)  # type: ignore[arg-type]
        config = RetentionConfig(**{"scrub": 0, **policy})
        scene.desk = RetentionDesk(
            world.context, world.visits, store, config, Place(url, budget), channel=CHANNEL,
            chance=random.Random(1), counted=lambda: clock.counted, tick=0.05,
        )  # fmt: skip
        scene.router = Router(world.db, world.context.access)
        register(scene.router, scene.desk)
        made.append(scene)
        return scene

    yield make
    for scene in made:
        for desk in (scene.desk, *scene.desks):
            await desk.close()
        await close_world(scene.world)
        scene.host.go.set()
        await scene.host.stop()
