"""The copies' workflows as a process of their own, to be killed: `python bot_process.py FOLDER [PANIC REQUEST]`.

FOLDER holds bot.db, known_hosts, client_key and host.json. Prints "ready" and lives until its standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from commands.copies.config import CentralConfig
from commands.copies.desk import CopyDesk
from commands.inventory import HostEntry
from integrations.ssh import SshConfig
from integrations.stores import CentralStore
from tests.copies.conftest import MIB, PATIENCE, no_sftp
from tests.hosts.world import close_world, make_world


async def main(folder: Path, panic_id: int | None, request: str) -> None:
    told = json.loads((folder / "host.json").read_text())
    ssh = SshConfig.model_validate(told["ssh"])
    world = await make_world(folder, None, hosts=(HostEntry.model_validate(told["host"]),), ssh=ssh)
    url = (folder / "central").as_uri()
    config = CentralConfig(url=url, part_size=MIB, keep_free=0, patience=PATIENCE)
    desk = CopyDesk(
        world.context, world.visits, CentralStore(url, sftp=no_sftp), config, settle=0.01, tell_every=0.05
    )
    world.workflows.start()
    await desk.resume()
    print("ready", flush=True)
    if panic_id is not None:
        await desk.begin(panic_id, "U0ONCALL", request)
    await asyncio.to_thread(sys.stdin.read)
    await world.workflows.stop()
    await desk.close()
    await close_world(world)


if __name__ == "__main__":
    words = sys.argv[1:]
    asked = (int(words[1]), words[2]) if len(words) > 2 else (None, "")
    asyncio.run(main(Path(words[0]), *asked))
