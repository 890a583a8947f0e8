"""A printer in a process of its own, to be killed: `python -m tests.incident.printer_process FOLDER API_URL TOKEN`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.incident.floor import Floor


async def main(folder: str, api_url: str, token: str) -> None:
    floor = Floor(Path(folder), api_url=api_url, token=token, timeout=60)
    await floor.slack.start()
    await floor.printer.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
