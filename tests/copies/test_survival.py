"""kill -9 in the middle of a copy: the next process goes on at the part, and parts that stand are not sent again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from storage import CopyState
from tests.copies.conftest import MIB, SIZE, Make, Scene
from tests.forks import Script, run_file
from tests.hosts.world import until

SCRIPT = Path(__file__).with_name("bot_process.py")


async def start_bot(folder: Path, *more: str) -> Script:
    process = run_file(SCRIPT, str(folder), *more)
    while True:
        line = await process.line()
        assert line, "the bot's process ended"
        if line.strip() == "ready":
            return process


@pytest.mark.timeout(240)
async def test_a_killed_copy_goes_on_at_the_part(make_scene: Make) -> None:
    scene: Scene = await make_scene(start=False)
    told = {
        "ssh": scene.host.ssh().model_dump(mode="json"),
        "host": scene.host.entry().model_dump(mode="json"),
    }
    (scene.folder / "host.json").write_text(json.dumps(told))
    scene.host.hold_at = 2 * MIB + MIB // 2
    first = await start_bot(scene.folder, str(scene.panic_id), "one-request")
    second = None
    try:
        await asyncio.wait_for(scene.host.held.wait(), 60)

        async def in_the_third_part() -> bool:
            recorded = await scene.copy() is not None and len(await scene.parts()) == 2
            return recorded and bool(list(scene.central.rglob(".unfinished-*")))

        await until(in_the_third_part)
        first.kill()
        await first.wait()
        copy = await scene.copy()
        assert copy is not None
        assert copy.state is CopyState.COPYING
        assert list(scene.central.rglob(".unfinished-*")), "it was killed too late to show anything"
        scene.host.hold_at = None
        scene.host.go.set()

        second = await start_bot(scene.folder)
        copy = await scene.ended()
        assert copy.state is CopyState.VERIFIED, copy.error
        assert scene.host.streams() == [(0, SIZE), (2 * MIB, SIZE - 2 * MIB)]
        assert scene.stored() == scene.host.dump.read_bytes()
        assert not list(scene.central.rglob(".unfinished-*")), "what the killed process left is removed"
    finally:
        for process in (first, second):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
