"""kill -9 in the middle of an analysis: what reads the dump ends with the bot, the next bot runs it again, once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlmodel import select

from commands.analysis.scratch import clear_left, folder_by_hand
from storage import Artefact, RunbookRun, RunState, SlackMessage
from tests.analysis.test_desk import RELEASE, REPORT, VMCORE, Lab
from tests.cli.test_cli import LEAST
from tests.forks import Forked, Script, run_file, start
from tests.hosts.world import World, until

SCRIPT = Path(__file__).with_name("bot_process.py")
# It works in a process of its own as well, which knows nothing of the bot and holds none of its pipes. It may write no
# file, so it tells of its processes by the name of a directory.
ENDLESS = """sleep 600 < /dev/null > /dev/null 2>&1 &
mkdir {folder}/began-$$-$!
wait $!"""


async def start_bot(folder: Path, *more: str) -> Script:
    process = run_file(SCRIPT, str(folder), *more)
    while True:
        line = await process.line()
        assert line, "the bot's process ended"
        if line.strip() == "ready":
            return process


async def reading(folder: Path, but: Sequence[int] = ()) -> list[int]:
    """The processes of the program that reads the dump, once it has begun."""

    async def look() -> list[int]:
        told = [[int(pid) for pid in made.name.split("-")[1:]] for made in folder.glob("began-*")]
        return next((pids for pids in told if pids != but), [])

    found: list[int] = await until(look, 60)
    return found


async def until_gone(pids: list[int]) -> None:
    async def gone() -> bool:
        return not any(alive(pid) for pid in pids)

    await until(gone, 30)


def alive(pid: int) -> bool:
    """Whether a process runs; one that was killed and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.timeout(240)
async def test_a_killed_analysis_is_run_again_once(world: World) -> None:
    lab = Lab(world)
    lab.vmlinux()
    lab.crash(ENDLESS.format(folder=world.folder))
    panic_id, _ = await world.panic(kernel=RELEASE)
    await lab.copy(panic_id)
    work = world.context.store_dir / "analysis"
    first = await start_bot(world.folder, str(panic_id), "one-request")
    second = None
    try:
        pids = await reading(world.folder)
        assert (work / "run-1" / "vmcore").read_bytes() == VMCORE
        first.kill()
        await first.wait()
        await until_gone(pids)
        assert (await world.run(1)).state is RunState.RUNNING, "it was killed too late to show anything"
        assert (work / "run-1").is_dir(), "who is killed clears nothing away"
        for other in ("run-77", "by-hand-killed"):
            (work / other).mkdir()
            (work / other / "vmcore").write_bytes(VMCORE)

        lab.crash(f"mkdir {world.folder}/began-$$-0; cat <<'EOF'\n{REPORT}\nEOF")
        second = await start_bot(world.folder)
        ended = await world.ended(1, 120)
        assert ended.state is RunState.DONE, ended.note

        async def cleared() -> bool:
            return list(work.iterdir()) == []

        await until(cleared)
        assert len(list(world.folder.glob("began-*"))) == 2, "it was run twice: killed, and once more"
        runs, kept, told = await world.db.read(
            lambda s: (
                s.exec(select(RunbookRun)).all(),
                s.exec(select(Artefact).where(Artefact.kind == "analysis")).all(),
                [m for m in s.exec(select(SlackMessage)) if m.key.startswith("analysis-file:")],
            )
        )
        assert (len(runs), len(kept), [m.key for m in told]) == (1, 1, ["analysis-file:1"])
        assert REPORT in (world.context.store_dir / kept[0].path).read_text()
    finally:
        for process in (first, second):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()


@pytest.mark.timeout(240)
async def test_an_analysis_by_hand_that_was_killed_is_cleared_away_by_the_next(world: World) -> None:
    lab = Lab(world)
    lab.vmlinux()
    lab.crash(ENDLESS.format(folder=world.folder))
    (world.folder / "panicroom.toml").write_text(
        f'{LEAST}\n[analysis]\ndebuginfo_dirs = ["{lab.debug}"]\ntool = "crash"\nmemory_limit = "1GiB"\n'
    )
    (world.folder / "dump").write_bytes(VMCORE)
    work = world.folder / "store" / "analysis"
    path = f"{world.folder}:/usr/bin:/bin"

    def analyze() -> Forked:
        return start("analyze", "--vmcore", "dump", cwd=world.folder, PATH=path)

    killed = analyze()
    try:
        pids = await reading(world.folder)
        (left,) = work.iterdir()
        running = analyze()
        try:
            others = await reading(world.folder, pids)
            assert len(list(work.iterdir())) == 2, "what is in use stays"
            killed.kill()
            await until_gone(pids)
            lab.crash(f"cat <<'EOF'\n{REPORT}\nEOF")
            done = analyze()
            out, errors = await _ended(done)
            assert (done.returncode, "frame_11" in out) == (0, True), errors
            assert "1 working directories of killed analyses removed" in errors
            assert not left.exists()
            assert len(list(work.iterdir())) == 1, "the one that runs still has its own"
        finally:
            running.kill()
            await until_gone(others)
            await _ended(running)
    finally:
        killed.kill()
        await _ended(killed)
    assert clear_left(work) == 1
    assert list(work.iterdir()) == []


async def _ended(process: Forked) -> tuple[str, str]:

    return await asyncio.to_thread(process.communicate)


def test_a_folder_in_use_is_not_cleared_away(tmp_path: Path) -> None:
    base = tmp_path / "work"
    assert clear_left(base) == 0
    with folder_by_hand(base) as folder:
        (folder / "vmcore").write_bytes(b"x")
        (base / "by-hand-left").mkdir()
        (base / "by-hand-link").symlink_to(tmp_path)
        (base / "run-7").mkdir()
        assert clear_left(base) == 1
        assert sorted(p.name for p in base.iterdir()) == sorted([folder.name, "by-hand-link", "run-7"])
    assert not folder.exists()
    assert tmp_path.is_dir()
