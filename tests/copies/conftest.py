from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from commands.copies import rows
from commands.copies.blocks import draw_copy
from commands.copies.config import CentralConfig
from commands.copies.desk import CopyDesk
from commands.hosts.patience import Patience
from integrations.stores import CentralStore, Part, SftpAddress, SftpLink
from storage import DumpCopy, Panic
from tests.copies.dumphost import DumpHost, dump_bytes, occurred_at
from tests.hosts.world import World, close_world, make_world, until

MIB = 1024 * 1024
PATIENCE = Patience(first=0.05, longest=0.2, give_up_after=60)
SIZE = 3 * MIB + 12345


def no_sftp(_address: SftpAddress) -> SftpLink:
    raise AssertionError("this store is no SFTP server")


@dataclass
class Scene:
    """A host with a dump, its panic, and a desk with a store in a directory."""

    folder: Path
    host: DumpHost
    world: World
    desk: CopyDesk
    panic_id: int
    incident_id: int

    @property
    def central(self) -> Path:
        return self.folder / "central"

    async def copy(self) -> DumpCopy | None:
        return await self.world.db.read(lambda s: rows.latest(s, self.panic_id))

    async def ended(self) -> DumpCopy:
        async def look() -> DumpCopy | None:
            copy = await self.copy()
            return copy if copy is not None and copy.state in rows.ENDED else None

        found: DumpCopy = await until(look)
        return found

    async def when(self, condition: Callable[[DumpCopy], Any]) -> DumpCopy:
        async def look() -> DumpCopy | None:
            copy = await self.copy()
            return copy if copy is not None and condition(copy) else None

        found: DumpCopy = await until(look)
        return found

    async def parts(self) -> list[Part]:
        copy = await self.copy()
        assert copy is not None
        return await self.world.db.read(lambda s: rows.parts_of(s, copy.id or 0))

    async def shown(self) -> str:
        copy = await self.copy()
        assert copy is not None
        drawn = await self.world.db.read(lambda s: draw_copy(s, copy.id or 0))
        assert drawn is not None
        return drawn.text

    def stored(self) -> bytes:
        """The parts put together as the page on the store says."""
        (folder,) = [p for p in self.central.iterdir() if p.is_dir()]
        return b"".join(p.read_bytes() for p in sorted(folder.glob("vmcore.part-*")))


Make = Callable[..., Any]
names = itertools.count()  # a bot that another test made may have left a desk of the usual name


def make_desk(wanted: bool, *arguments: Any, **options: Any) -> Any:
    """None where the desk is in another process: a desk is one of DBOS's instances from its making on."""
    return CopyDesk(*arguments, name=f"copies-{next(names)}", **options) if wanted else None


@pytest.fixture
async def make_scene(tmp_path: Path) -> AsyncIterator[Make]:
    """`await make_scene(old=False, config={…}, …)`; started workflows, everything closed at the end."""
    made: list[Scene] = []

    async def make(
        *,
        old: bool = False,
        content: bytes | None = None,
        config: dict[str, Any] | None = None,
        criticality: str = "normal",
        store: CentralStore | None = None,
        collect: Any = None,
        start: bool = True,
        panic: dict[str, Any] | None = None,
    ) -> Scene:
        folder = tmp_path
        host = DumpHost(folder, old=old)
        host.dump.write_bytes(dump_bytes(SIZE) if content is None else content)
        await host.start()
        world = await make_world(folder, None, hosts=(host.entry(criticality),), ssh=host.ssh())
        (folder / "central").mkdir(mode=0o700, exist_ok=True)
        values = {"part_size": MIB, "keep_free": 0, "patience": PATIENCE, **(config or {})}
        desk = make_desk(
            start,
            world.context,
            world.visits,
            store or CentralStore((folder / "central").as_uri(), sftp=no_sftp),
            CentralConfig(url=(folder / "central").as_uri(), **values),
            collect=collect,
            settle=0.01,
            tell_every=0.05,
        )
        columns = {"occurred_at": occurred_at(host), "criticality": criticality, **(panic or {})}
        panic_id, incident_id = await world.panic(host.name, **columns)
        if start:
            world.workflows.start()
        scene = Scene(folder, host, world, desk, panic_id, incident_id)
        made.append(scene)
        return scene

    yield make
    for scene in made:
        await scene.world.workflows.stop()
        if scene.desk is not None:
            await scene.desk.close()
        await close_world(scene.world)
        scene.host.go.set()
        await scene.host.stop()


async def panic_of(scene: Scene) -> Panic:
    return await scene.world.db.read(lambda s: s.get_one(Panic, scene.panic_id))
