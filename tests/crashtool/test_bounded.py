"""Programs that behave badly, in processes with limits."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from integrations.crashtool import Bounds, run_bounded

PYTHON = sys.executable
LIMITS = Bounds(memory=512 * 1024**2, cpu=20, wall=20, output=100_000, file_size=10_000)


def program(code: str) -> list[str]:
    return [PYTHON, "-I", "-c", code]


def alive(pid: int) -> bool:
    """Whether a process runs; one that was killed and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 45
    while alive(pid):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_what_it_says_and_how_it_ends(tmp_path: Path) -> None:
    code = "import sys; print(sys.stdin.read().upper()); print('why', file=sys.stderr); sys.exit(3)"
    done = await run_bounded(program(code), LIMITS, cwd=tmp_path, stdin=b"read me")
    assert (done.status, done.out, done.last_words) == (3, b"READ ME\n", "why")
    assert not done.timed_out
    assert not done.truncated


async def test_it_takes_no_secret_of_the_bots_environment_along(tmp_path: Path) -> None:
    assert "HOME" in os.environ or "PATH" in os.environ
    done = await run_bounded(program("import os; print(sorted(os.environ))"), LIMITS, cwd=tmp_path)
    assert set(eval(done.out)) <= {"PATH", "LANG", "TERM", "LC_CTYPE"}


async def test_more_memory_than_it_may_have(tmp_path: Path) -> None:
    done = await run_bounded(program("x = bytearray(2 * 1024**3)"), LIMITS, cwd=tmp_path)
    assert done.status == 1
    assert done.out_of_memory


async def test_more_cpu_time_than_it_may_have(tmp_path: Path) -> None:
    bounds = Bounds(memory=LIMITS.memory, cpu=1, wall=60)
    done = await run_bounded(program("while True: pass"), bounds, cwd=tmp_path)
    assert done.out_of_cpu
    assert not done.timed_out


async def test_its_time_is_over_and_what_it_said_is_kept(tmp_path: Path) -> None:
    bounds = Bounds(memory=LIMITS.memory, wall=1.0)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    done = await run_bounded(program(code), bounds, cwd=tmp_path)
    assert done.timed_out
    await until_gone(int(done.out))


async def test_all_that_it_began_ends_with_it(tmp_path: Path) -> None:
    """A child that ignores its parent's end, and holds its pipe open."""
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(p.pid, flush=True)"
    )
    done = await run_bounded(program(code), LIMITS, cwd=tmp_path)
    assert done.status == 0
    assert done.seconds < LIMITS.wall
    await until_gone(int(done.out))


async def test_a_flood_is_cut_and_does_not_hold_it_up(tmp_path: Path) -> None:
    code = "import sys\nfor _ in range(300): sys.stdout.write('x' * 65536)\nprint('end', file=sys.stderr)"
    done = await run_bounded(program(code), LIMITS, cwd=tmp_path)
    assert done.truncated
    assert len(done.out) == LIMITS.output
    assert (done.status, done.last_words) == (0, "end")


async def test_it_can_be_stopped(tmp_path: Path) -> None:
    stop = asyncio.Event()
    code = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    running = asyncio.create_task(run_bounded(program(code), LIMITS, cwd=tmp_path, stop=stop))
    deadline = time.monotonic() + 45
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    stop.set()
    done = await running
    assert done.status < 0
    assert not done.timed_out
    await until_gone(int((tmp_path / "pid").read_text()))


async def test_a_file_larger_than_allowed_is_not_written(tmp_path: Path) -> None:
    bounds = Bounds(memory=LIMITS.memory, file_size=1000)
    done = await run_bounded(
        program("f = open('big', 'wb'); f.write(bytes(5000)); f.close()"), bounds, cwd=tmp_path
    )
    assert done.status != 0
    assert (tmp_path / "big").stat().st_size <= 1000


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    done = await run_bounded(["/nonexistent/drgn"], LIMITS, cwd=tmp_path)
    assert done.status == 127
    assert "No such file" in done.last_words


@pytest.mark.parametrize("name", ["a b", "$(touch x)", "-rf", "a\nb", "'; touch x; '"])
async def test_no_name_is_read_by_a_shell(tmp_path: Path, name: str) -> None:
    done = await run_bounded([*program("import sys; print(repr(sys.argv[1:]))"), name], LIMITS, cwd=tmp_path)
    assert done.out.decode().strip() == repr([name])
    assert list(tmp_path.iterdir()) == []
