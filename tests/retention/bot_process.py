"""A sweep as a process of its own, to be killed: `python bot_process.py FOLDER HOLD`.

FOLDER holds bot.db, known_hosts, client_key and host.json. HOLD is "claimed" (before anything is deleted) or "deleted"
(after it, before its row): there it prints the word and waits to be killed. Without it, it carries the sweep out.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path

from commands.inventory import HostEntry
from commands.retention import runs
from commands.retention.desk import RetentionDesk
from commands.retention.ledger import Place
from commands.retention.policy import RetentionConfig
from commands.retention.remover import Remover
from integrations.ssh import SshConfig
from integrations.stores import CentralStore
from tests.copies.conftest import no_sftp
from tests.hosts.world import close_world, make_world


class Holding(Remover):
    """Stops where it is told to, and says so: whoever started it kills it there."""

    where = ""

    def _remove(self, folder: str) -> int:
        self._hold("claimed")
        freed = super()._remove(folder)
        self._hold("deleted")
        return freed

    def _hold(self, where: str) -> None:
        if where == self.where:
            print(where, flush=True)
            time.sleep(600)


async def main(folder: Path, hold: str) -> None:
    told = json.loads((folder / "host.json").read_text())
    ssh = SshConfig.model_validate(told["ssh"])
    world = await make_world(folder, None, hosts=(HostEntry.model_validate(told["host"]),), ssh=ssh)
    url = (folder / "central").as_uri()
    store = CentralStore(url, sftp=no_sftp)
    desk = RetentionDesk(
        world.context, world.visits, store, RetentionConfig(scrub=0), Place(url, None), channel="C0ADMINS",
        chance=random.Random(1), tick=0.05,
    )  # fmt: skip
    holding = Holding(world.context, world.visits, store, desk._threads)
    holding.where, holding.read_back = hold, desk.remover.read_back
    desk.remover = holding
    active = await world.db.read(runs.active)
    run = active or (await desk.begin("U0ADMIN"))[0]
    await desk.work(run.id or 0)
    print("done", flush=True)
    await desk.close()
    await close_world(world)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
