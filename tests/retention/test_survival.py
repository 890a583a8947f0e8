"""kill -9 in the middle of a sweep: the next process finishes it, deletes nothing twice and loses no row."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import Session

from commands.retention import ledger
from storage import CopyState
from tests.forks import Script, run_file
from tests.retention.conftest import Make, Scene

SCRIPT = Path(__file__).with_name("bot_process.py")
pytestmark = pytest.mark.timeout(150)


async def said(process: Script, word: str) -> None:
    while True:
        line = await process.line()
        assert line, "the process ended"
        if line.strip() == word:
            return


async def prepare(scene: Scene) -> None:
    told = {
        "ssh": scene.host.ssh().model_dump(mode="json"),
        "host": scene.host.entry().model_dump(mode="json"),
    }
    (scene.folder / "host.json").write_text(json.dumps(told))
    await scene.stamped()


async def killed(process: Script) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("where", ["claimed", "deleted"])
async def test_killed_over_a_copy(make_scene: Make, where: str) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    await prepare(scene)

    def old(session: Session) -> None:
        care = ledger.care_of(session, 1)
        care.term_from, care.verified = scene.clock.now - timedelta(days=40), True

    await scene.world.db.write(old)
    first = run_file(SCRIPT, str(scene.folder), where)
    second = None
    try:
        await asyncio.wait_for(said(first, where), 60)
        await killed(first)
        assert (scene.folders() == []) == (where == "deleted")
        assert (await scene.copies())[0].state is CopyState.REMOVED
        assert [s for *_, s in await scene.states()] == ["working"]
        assert await scene.audit("retention.central") == []

        second = run_file(SCRIPT, str(scene.folder))
        await asyncio.wait_for(said(second, "done"), 60)
        assert scene.folders() == []
        assert [s for *_, s in await scene.states()] == ["gone" if where == "deleted" else "removed"]
        assert len(await scene.audit("retention.central")) == 1
        assert (await scene.care(1)).removed_at is not None
    finally:
        for process in (first, second):
            if process is not None:
                await killed(process)


async def test_killed_between_the_deletion_on_the_host_and_its_row(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    await scene.dump()
    await prepare(scene)
    scene.host.hold_answer = True
    first = run_file(SCRIPT, str(scene.folder))
    second = None
    try:
        await asyncio.wait_for(scene.host.deleted.wait(), 60)
        await killed(first)
        scene.host.hold_answer = False
        scene.host.go.set()
        assert [s for *_, s in await scene.states()] == ["working"]
        assert (await scene.care(1)).local_gone_at is None
        second = run_file(SCRIPT, str(scene.folder))
        await asyncio.wait_for(said(second, "done"), 60)
        assert [s for *_, s in await scene.states()] == ["gone"]
        assert (await scene.care(1)).local_gone_at is not None
        assert scene.host.file((await scene.copies())[1].source_path or "").exists()
        assert len(await scene.audit("retention.local")) == 1
    finally:
        for process in (first, second):
            if process is not None:
                await killed(process)
