"""An erasure as a process of its own, to be killed: `python bot_process.py FOLDER HOLD`.

HOLD is "central" (a copy was removed, its row does not say so yet), "rows" (the tables have forgotten, the rest not) or
"pages" (the name is gone, the database's files still hold it): there it prints the word and waits to be killed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from commands.forget import blocks as _blocks  # noqa: F401 - registers the messages' renderers
from commands.forget.desk import ErasureDesk
from commands.forget.hands import Hands
from commands.incident import parent as _parent  # noqa: F401
from integrations.stores import CentralStore
from storage import Erasure, ErasureItem, ItemOutcome
from tests.copies.conftest import no_sftp
from tests.hosts.world import close_world, make_world


async def main(folder: Path, hold: str) -> None:
    world = await make_world(folder, None)

    def stop(where: str) -> None:
        if where == hold:
            print(where, flush=True)
            time.sleep(600)

    class Holding(Hands):
        async def do(self, item: ErasureItem) -> tuple[ItemOutcome, str]:
            done = await super().do(item)
            if item.kind == "central":
                stop("central")
            return done

    class Desk(ErasureDesk):
        async def _replace(self, row: Erasure) -> None:
            stop("rows")
            await super()._replace(row)

    async def forget(_ids: Sequence[str]) -> None:
        return None

    store = CentralStore((folder / "central").as_uri(), sftp=no_sftp)
    desk = Desk(
        world.context,
        Holding(world.context, store, forget),
        channel="C0",
        compact_more=lambda: stop("pages"),
        soon=0.02,
    )
    while (await world.db.read(lambda s: s.get_one(Erasure, 1))).finished_at is None:
        await desk.work(1)
    await close_world(world)
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
