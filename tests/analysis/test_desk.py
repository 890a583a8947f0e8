"""The analysis as a durable workflow, on copies in a real store, with programs that stand in for crash."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from bot.workflows import Workflows
from commands.analysis.analyst import Analyst
from commands.analysis.config import AnalysisConfig
from commands.analysis.desk import AnalysisDesk
from commands.errors import Impossible
from commands.hosts.runs import AlreadyRunning
from commands.incident.rendering import draw
from integrations.crashtool import Bounds, Tools
from integrations.stores import CentralStore, LocalStore
from storage import Artefact, CopyState, DumpCopy, DumpState, Report, RunbookRun, RunState, SlackMessage
from tests.debuginfo.elves import elf
from tests.hosts.world import World, until

ID = "3b43fad5034874490492495d552c0af6a5fab235"
RELEASE = "6.1.0-31-amd64"
INFO = f"OSRELEASE={RELEASE}\nBUILD-ID={ID}\nPAGESIZE=4096\nCRASHTIME=1795411405\n".encode()
VMCORE = b"makedumpfile\x00" + bytes(83) + b"\n" + INFO + bytes(range(256)) * 300
REPORT = "\n".join(f"#{n} frame_{n} password=geheimnis-{n} 10.1.2.3" for n in range(12))
names = (f"analysis-{n}" for n in itertools.count())


def no_sftp(_address: object) -> Any:
    raise AssertionError("no SFTP here")


class Lab:
    """A central store, a directory of debug information, and a program called crash."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.central = CentralStore(f"file://{world.folder}/central", sftp=no_sftp)
        self.debug = world.folder / "debug"
        self.debug.mkdir()
        (world.folder / "central").mkdir()
        self.script = world.folder / "crash"
        self.crash(f"cat <<'EOF'\n{REPORT}\nEOF")

    def crash(self, body: str) -> None:
        self.script.write_text(f"#!/bin/sh\n{body}\n")
        self.script.chmod(0o755)

    def desk(self, *, central: bool = True, find: Callable[[str], str | None] | None = None) -> AnalysisDesk:
        config = AnalysisConfig(debuginfo_dirs=(self.debug,), tool="crash")
        programs = {"crash": str(self.script)}
        tools = Tools(Bounds(memory=1024**3, wall=30), prefer="crash", find=find or programs.get)
        analyst = Analyst(config, self.world.context.store_dir, tools)
        store = LocalStore(self.world.context.store_dir)
        made = AnalysisDesk(
            self.world.context, analyst, store, self.central if central else None, name=next(names)
        )
        self.world.workflows.start()
        return made

    def vmlinux(self, build_id: str = ID) -> None:
        (self.debug / f"vmlinux-{RELEASE}").write_bytes(elf(build_id))

    async def copy(self, panic_id: int, data: bytes = VMCORE, **columns: Any) -> int:
        folder = f"P-{panic_id}-x"
        parts = [data[i : i + 50_000] for i in range(0, len(data), 50_000)]
        with self.central.open(folder) as shelf:
            shelf.make()
            for number, part in enumerate(parts, 1):
                writer = shelf.part(number)
                writer.write(part)
                writer.finish()
            place = shelf.url

        def write(session: Any) -> int:
            values: dict[str, Any] = {
                "panic_id": panic_id, "workflow_id": f"copy:{panic_id}:{next(names)}", "host": "web-17",
                "asked_by": "U0ONCALL", "state": CopyState.VERIFIED, "verified_at": datetime.now(UTC),
                "size": len(data), "place": place, "sha256": hashlib.sha256(data).hexdigest(),
                "dump_state": DumpState.COMPLETE,
            }  # fmt: skip
            row = DumpCopy(**{**values, **columns})
            session.add(row)
            session.flush()
            return row.id or 0

        return await self.world.db.write(write)


@pytest.fixture
def lab(world: World) -> Lab:
    return Lab(world)


async def message(world: World, key: str) -> SlackMessage | None:
    return await world.db.read(lambda s: s.exec(select(SlackMessage).where(SlackMessage.key == key)).first())


async def test_the_report_comes_into_the_thread(world: World, lab: Lab) -> None:
    lab.vmlinux()
    desk = lab.desk()
    panic_id, incident_id = await world.panic(kernel=RELEASE)
    await lab.copy(panic_id)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    steps = await world.steps(run.id or 0)
    assert ended.state is RunState.DONE, {n: s.summary for n, s in steps.items()}
    told = steps["dump"].summary
    for words in (f"kernel {RELEASE}", f"build id {ID}", "2026-11-23 05:23:25 UTC", "pages of 4096 bytes"):
        assert words in told
    assert "read by crash" in steps["reading"].summary

    said = await message(world, f"analysis-file:{run.id}")
    assert said is not None
    assert said.incident_id == incident_id
    assert said.file_name == f"P-{panic_id}-analysis.txt"
    store = world.context.store_dir
    cleaned = (store / (said.file_path or "")).read_text()
    assert "frame_11" in cleaned
    assert "geheimnis" not in cleaned
    assert "10.1.2.3" not in cleaned
    kept = await world.db.read(lambda s: s.exec(select(Artefact).where(Artefact.kind == "analysis")).one())
    whole = (store / kept.path).read_text()
    assert "password=geheimnis-11 10.1.2.3" in whole
    await until_cleared(store)
    drawn = await world.db.read(lambda s: draw("analysis_run", s, run.id or 0))
    assert drawn is not None
    assert "Analyze again" in str(drawn.blocks)
    # the same request finds its own run
    assert (await desk.begin(panic_id, "U0ONCALL", "request")).id == run.id


async def test_a_dump_that_tells_no_kernel_is_read_by_the_reported_one(world: World, lab: Lab) -> None:
    silent = VMCORE.replace(b"OSRELEASE=", b"OSRELEASX=").replace(b"BUILD-ID=", b"BUILD-IX=")
    lab.vmlinux()
    desk = lab.desk()
    known, _ = await world.panic(kernel=RELEASE)
    await lab.copy(known, silent)
    run = await desk.begin(known, "U0ONCALL", "known")
    assert (await world.ended(run.id or 0)).state is RunState.DONE
    told = (await world.steps(run.id or 0))["vmlinux"].summary
    assert f"by the release that was reported, {RELEASE}" in told

    unknown, _ = await world.panic("web-18", kernel=None)
    await lab.copy(unknown, silent)
    run = await desk.begin(unknown, "U0ONCALL", "unknown")
    ended = await world.ended(run.id or 0)
    assert (ended.state, ended.note) == (RunState.FAILED, "not looked for: the dump tells of no kernel")


async def test_without_debug_information_it_says_which_package_has_it(world: World, lab: Lab) -> None:
    desk = lab.desk()
    panic_id, _ = await world.panic(kernel=RELEASE, kind="null_deref")
    await lab.copy(panic_id)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    steps = await world.steps(run.id or 0)
    assert ended.state is RunState.FAILED
    assert f"linux-image-{RELEASE}-dbg has it: apt-get install linux-image-{RELEASE}-dbg" in ended.note
    assert steps["dump"].state == "ok"
    assert steps["reading"].state == "skipped"


async def test_a_vmlinux_of_another_build_is_refused(world: World, lab: Lab) -> None:
    lab.vmlinux("11" * 20)
    desk = lab.desk()
    panic_id, _ = await world.panic(kernel=RELEASE, kind="null_deref")
    await lab.copy(panic_id)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.FAILED
    assert f"has build id {'11' * 20}, not {ID}" in ended.note


async def test_no_tool_is_there(world: World, lab: Lab) -> None:
    lab.vmlinux()
    desk = lab.desk(find=lambda _name: None)
    panic_id, _ = await world.panic(kernel=RELEASE, kind="null_deref")
    await lab.copy(panic_id)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    assert "Install it where the bot runs" in ended.note


async def test_without_a_verified_copy_there_is_nothing_to_analyse(world: World, lab: Lab) -> None:
    desk = lab.desk()
    panic_id, _ = await world.panic()
    await lab.copy(panic_id, state=CopyState.COPYING, verified_at=None)
    with pytest.raises(Impossible, match="no verified copy"):
        await desk.begin(panic_id, "U0ONCALL", "request")
    assert await world.db.read(lambda s: s.exec(select(RunbookRun)).all()) == []


async def until_cleared(store: Path) -> None:
    """The outcome is told first; what was put together to be read is removed after it."""
    folder = store / "analysis"

    async def cleared() -> bool:
        return list(folder.iterdir()) == []

    await until(cleared)


async def test_a_copy_that_was_changed_in_the_store_is_not_read(world: World, lab: Lab) -> None:
    lab.vmlinux()
    desk = lab.desk()
    panic_id, _ = await world.panic(kernel=RELEASE)
    await lab.copy(panic_id, sha256="00" * 32)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.FAILED
    assert "has not the sha256" in ended.note
    await until_cleared(world.context.store_dir)


async def test_what_is_no_dump_is_told(world: World, lab: Lab) -> None:
    desk = lab.desk()
    panic_id, _ = await world.panic()
    await lab.copy(panic_id, b"garbage" * 10_000)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.FAILED
    assert "no dump" in ended.note


async def test_it_is_cancelled_and_its_program_ends(world: World, lab: Lab) -> None:
    lab.vmlinux()
    lab.crash(f"echo $$ > {world.folder}/pid; exec sleep 600")
    desk = lab.desk()
    desk.analyst.tools.bounds = Bounds(memory=1024**3, wall=60, file_size=1000)
    panic_id, _ = await world.panic(kernel=RELEASE)
    await lab.copy(panic_id)
    run = await desk.begin(panic_id, "U0ONCALL", "request")

    async def started() -> str:
        path = world.folder / "pid"
        return path.read_text().strip() if path.is_file() else ""

    pid = await until(started)
    with pytest.raises(AlreadyRunning):
        await desk.begin(panic_id, "U0ONCALL", "another")
    await desk.cancel(panic_id, "U0ONCALL")

    async def gone() -> bool:
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    await until(gone)
    assert (await world.run(run.id or 0)).state is RunState.CANCELLED
    assert await message(world, f"analysis-file:{run.id}") is None


async def test_a_panic_without_text_gets_the_dumps_log_even_without_a_vmlinux(world: World, lab: Lab) -> None:
    makedumpfile = world.folder / "makedumpfile"
    makedumpfile.write_text(
        '#!/bin/sh\ncase "$1" in -R) cat > "$2" ;;\n'
        '--dump-dmesg) echo "[ 1.0] Kernel panic - not syncing: x" > "$3" ;; esac\n'
    )
    makedumpfile.chmod(0o755)
    desk = lab.desk(find={"makedumpfile": str(makedumpfile), "crash": str(lab.script)}.get)
    panic_id, _ = await world.panic(kind="unknown")
    await lab.copy(panic_id)
    run = await desk.begin(panic_id, "U0ONCALL", "request")
    await world.ended(run.id or 0)
    steps = await world.steps(run.id or 0)
    assert "taken as the panic's text" in steps["reading"].summary
    report = await world.db.read(lambda s: s.exec(select(Report).where(Report.panic_id == panic_id)).one())
    assert report.body["text"] == "[ 1.0] Kernel panic - not syncing: x\n"


async def test_it_goes_on_after_a_restart(world: World, lab: Lab) -> None:
    """The bot ends while the program reads; the next one takes the run up, and one report comes."""
    lab.vmlinux()
    lab.crash(f"echo $$ > {world.folder}/pid; exec sleep 600")
    desk = lab.desk()
    desk.analyst.tools.bounds = Bounds(memory=1024**3, wall=60, file_size=1000)
    panic_id, _ = await world.panic(kernel=RELEASE)
    await lab.copy(panic_id)
    run = await desk.begin(panic_id, "U0ONCALL", "request")

    async def started() -> bool:
        return (world.folder / "pid").is_file()

    await until(started)
    await world.workflows.stop()
    assert (await world.run(run.id or 0)).state is RunState.RUNNING

    lab.crash(f"cat <<'EOF'\n{REPORT}\nEOF")
    world.workflows = Workflows(world.db.url)
    second = AnalysisDesk(world.context, desk.analyst, desk.store, lab.central, name=desk.config_name)
    world.workflows.start()
    await second.resume()
    ended = await world.ended(run.id or 0)
    assert ended.state is RunState.DONE, ended.note
    assert await message(world, f"analysis-file:{run.id}") is not None
    kept = await world.db.read(lambda s: s.exec(select(Artefact).where(Artefact.kind == "analysis")).all())
    assert len(kept) == 1
