"""The demo's replayed hosts give their dumps, too, also where the capture kept nothing of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.copies import rows
from commands.copies.config import CentralConfig
from commands.copies.desk import CopyDesk
from integrations.stores import CentralStore
from storage import CopyState, DumpState
from tests.copies.conftest import PATIENCE, no_sftp
from tests.hosts.world import close_world, make_fleet, make_world, until


@pytest.mark.parametrize("case", ["oom", "null-deref"])
async def test_a_replayed_dump_is_copied(tmp_path: Path, case: str) -> None:
    fleet = await make_fleet(tmp_path)
    world = await make_world(tmp_path, fleet)
    (tmp_path / "central").mkdir()
    url = (tmp_path / "central").as_uri()
    config = CentralConfig(url=url, keep_free=0, patience=PATIENCE)
    desk = CopyDesk(
        world.context,
        world.visits,
        CentralStore(url, sftp=no_sftp),
        config,
        settle=0.01,
        name=f"copies-demo-{case}",
    )
    world.workflows.start()
    try:
        panic_id, _ = await world.crash("db-3" if case == "oom" else "web-17", case)
        await desk.begin(panic_id, "U0ONCALL", "r")

        async def ended() -> bool:
            copy = await world.db.read(lambda s: rows.latest(s, panic_id))
            return copy is not None and copy.state in rows.ENDED

        await until(ended)
        copy = await world.db.read(lambda s: rows.latest(s, panic_id))
        assert copy is not None
        assert copy.state is CopyState.VERIFIED, copy.error
        assert copy.dump_state is DumpState.COMPLETE
        assert (copy.size or 0) > 10_000_000
    finally:
        await world.workflows.stop()
        await desk.close()
        await close_world(world)
        await fleet.stop()
