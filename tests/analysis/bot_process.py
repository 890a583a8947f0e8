"""The analysis' workflows as a process of their own, to be killed: `python bot_process.py FOLDER [PANIC REQUEST]`.

FOLDER holds bot.db, central, debug and a program called crash. Prints "ready" and lives until its standard input
closes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from commands.analysis.analyst import Analyst
from commands.analysis.config import AnalysisConfig
from commands.analysis.desk import AnalysisDesk
from integrations.crashtool import Bounds, Tools
from integrations.stores import CentralStore, LocalStore
from tests.hosts.world import close_world, make_world


def no_sftp(_address: object) -> Any:
    raise AssertionError("no SFTP here")


async def main(folder: Path, panic_id: int | None, request: str) -> None:
    world = await make_world(folder, None)
    config = AnalysisConfig(debuginfo_dirs=(folder / "debug",), tool="crash")
    programs = {"crash": str(folder / "crash")}
    tools = Tools(Bounds(memory=1024**3, wall=300), prefer="crash", find=programs.get)
    analyst = Analyst(config, world.context.store_dir, tools)
    central = CentralStore((folder / "central").as_uri(), sftp=no_sftp)
    desk = AnalysisDesk(world.context, analyst, LocalStore(world.context.store_dir), central)
    world.workflows.start()
    await desk.resume()
    print("ready", flush=True)
    if panic_id is not None:
        await desk.begin(panic_id, "U0ONCALL", request)
    await asyncio.to_thread(sys.stdin.read)
    await close_world(world)


if __name__ == "__main__":
    words = sys.argv[1:]
    asked = (int(words[1]), words[2]) if len(words) > 2 else (None, "")
    asyncio.run(main(Path(words[0]), *asked))
