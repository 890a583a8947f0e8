"""The bot's workflows as a process of their own, to be killed: `python bot_process.py FOLDER KIND [PANIC REQUEST]`.

FOLDER holds bot.db, known_hosts, client_key and hosts.json. Prints "ready", then "run N", and lives until it is told to
end by its standard input closing, or killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from commands.evidence.contents import EvidenceConfig
from commands.evidence.workflow import EvidenceDesk
from commands.hosts.desk import HostDesk
from commands.hosts.patience import Patience
from commands.inventory import HostEntry
from commands.triage.runbook import TriageConfig
from commands.triage.workflow import TriageDesk
from integrations.ssh import SshConfig
from integrations.stores import LocalStore
from tests.hosts.world import close_world, make_world

PATIENCE = Patience(first=0.1, longest=0.2, give_up_after=60)


async def main(folder: Path, kind: str, panic_id: int | None, request: str) -> None:
    hosts = tuple(HostEntry(**h) for h in json.loads((folder / "hosts.json").read_text()))
    ssh = SshConfig(user="triage", key_file=folder / "client_key", known_hosts=folder / "known_hosts")
    world = await make_world(folder, None, hosts=hosts, ssh=ssh)
    desk: HostDesk
    if kind == "triage":
        desk = TriageDesk(world.context, world.visits, TriageConfig(patience=PATIENCE))
    else:
        store = LocalStore(folder / "store")
        desk = EvidenceDesk(world.context, world.visits, store, EvidenceConfig(patience=PATIENCE))
    world.workflows.start()
    await world.workflows.begin_anew()
    await desk.resume()
    print("ready", flush=True)
    if panic_id is not None:
        run = await desk.begin(panic_id, "U0ONCALL", request)
        print(f"run {run.id}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await close_world(world)


if __name__ == "__main__":
    words = sys.argv[1:]
    asked = (int(words[2]), words[3]) if len(words) > 3 else (None, "")
    asyncio.run(main(Path(words[0]), words[1], *asked))
