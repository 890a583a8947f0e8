"""A dump is told of at most once, and at last once, over any sequence of crashes, sweeps, reports and restarts."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.demo.hosts.captures import load
from bot.demo.hosts.instance import Instance
from commands.inventory import HostEntry
from commands.sweep.config import CentralDirectory
from tests.sweep.stage import CHANNEL, stage
from tests.sweep.test_central import saved

NAMES = ("web-17", "web-18")
HOSTS = tuple(HostEntry(name=name, address=f"10.0.0.{n}") for n, name in enumerate(NAMES, start=5))
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("crash"), st.sampled_from(NAMES), st.booleans()),
        st.tuples(st.just("report"), st.sampled_from(NAMES), st.booleans()),
        st.tuples(st.just("sweep"), st.just(""), st.booleans()),
        st.tuples(st.just("break off"), st.just(""), st.booleans()),
    ),
    min_size=1,
    max_size=7,
)


def own_report(host: str, died: datetime, *, names_dump: Path | None) -> dict[str, Any]:
    """What the host tells of that crash itself; it may or may not know where the dump is."""
    text = Instance(host, load("oom"), died.timestamp(), died.timestamp() + 60).crash_text()
    body = {"id": f"{host}:{died.timestamp()}", "host": host, "source": "report", "text": text}
    body |= {"occurred_at": died.isoformat()}
    return body | ({"crash_dir": str(names_dump)} if names_dump is not None else {})


async def live(folder: Path, steps: list[tuple[str, str, bool]]) -> None:
    root = folder / "kdump"
    root.mkdir()
    first = datetime.now(UTC).replace(microsecond=0) - timedelta(days=9)  # some are history, some are not
    crashes: list[tuple[str, datetime, Path]] = []
    directories = (CentralDirectory(path=root),)
    async with stage(folder / "bot", specs=None, hosts=HOSTS, directories=directories) as here:
        for number, (what, host, flag) in enumerate(steps):
            if what == "crash":
                died = first + timedelta(days=len(crashes))
                address = next(e.address for e in HOSTS if e.name == host)
                name = f"{address if flag else host}-{died + timedelta(seconds=40):%Y-%m-%d-%H:%M:%S}"
                crashes.append((host, died, saved(root, name, died=died)))
            elif what == "report":
                for its, died, path in crashes[-1:]:
                    await here.report(own_report(its, died, names_dump=path if flag else None))
            elif what == "sweep":
                await here.sweep("directories")
            else:
                await here.desk.ask(("directories",), "U0ONCALL", f"break-{number}", CHANNEL)
                if not here.tasks:
                    here.start()
                for _ in range(30 * flag):  # broken off early, or in the middle of it
                    await asyncio.sleep(0)
                await here.kill()
                here.make_desk()
                here.start()
        await here.sweep("directories")
        known = await here.sweep("directories")
        while await here.intake.drain():
            pass
        panics = await here.panics()
        assert Counter(p.host for p in panics) == Counter(host for host, _, _ in crashes)
        assert sorted(p.occurred_at for p in panics) == [died for _, died, _ in crashes]
        reported = [(r.host, r.body["crash_dir"]) for r in await here.found()]
        assert len(reported) == len(set(reported))
        assert known.result["found"] == []
        assert known.result["known"] == len(crashes)


@settings(max_examples=int(os.environ.get("PANICROOM_EXAMPLES", "5")))
@given(steps=_STEPS)
def test_a_dump_is_told_of_once(steps: list[tuple[str, str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder), steps))
