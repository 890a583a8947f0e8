"""drgn, crash and makedumpfile: missing, slow, hungry, handed garbage; and a real dump where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from integrations.crashtool import (
    Bounds,
    OutOfMemory,
    OutOfTime,
    ToolFailed,
    ToolMissing,
    Tools,
    UnreadableDump,
    WrongVmlinux,
)
from tests.debuginfo.elves import elf

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
QUICK = Bounds(memory=2 * 1024**3, cpu=20, wall=30, output=200_000)


def stand_in(tmp_path: Path, name: str, script: str) -> Callable[[str], str | None]:
    """A program of that name and no other."""
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return lambda wanted: str(path) if wanted == name else None


def crash_of(tmp_path: Path, script: str, bounds: Bounds = QUICK) -> Tools:
    return Tools(bounds, prefer="crash", find=stand_in(tmp_path, "crash", script), has_drgn=lambda: False)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.mark.parametrize(
    ("prefer", "drgn", "crash", "chosen"),
    [
        ("auto", True, True, "drgn"),
        ("auto", False, True, "crash"),
        ("crash", True, True, "crash"),
        ("drgn", True, False, "drgn"),
    ],
)
def test_the_tool_is_chosen(prefer: str, drgn: bool, crash: bool, chosen: str) -> None:
    tools = Tools(QUICK, prefer=prefer, find=lambda _n: "/x/crash" if crash else None, has_drgn=lambda: drgn)
    assert tools.chosen() == chosen


@pytest.mark.parametrize(
    ("prefer", "drgn", "crash"), [("auto", False, False), ("drgn", False, True), ("crash", True, False)]
)
def test_a_tool_that_is_missing_is_told(prefer: str, drgn: bool, crash: bool) -> None:
    tools = Tools(QUICK, prefer=prefer, find=lambda _n: "/x/crash" if crash else None, has_drgn=lambda: drgn)
    with pytest.raises(ToolMissing, match=r"is (?:not )?there\. Install it where the bot runs"):
        tools.chosen()


async def test_makedumpfile_is_missing(tmp_path: Path, work: Path) -> None:
    with pytest.raises(ToolMissing, match="makedumpfile"):
        await Tools(QUICK, find=lambda _n: None).dmesg(tmp_path / "vmcore", work=work)


@pytest.mark.parametrize(
    "content", [b"", b"garbage" * 1000, b"KDUMP   " + bytes(8000), b"makedumpfile" + bytes(5000)]
)
async def test_drgn_is_handed_garbage(tmp_path: Path, work: Path, content: bytes) -> None:
    pytest.importorskip("drgn")
    (tmp_path / "vmcore").write_bytes(content)
    (tmp_path / "vmlinux").write_bytes(elf("ab" * 20))
    with pytest.raises(UnreadableDump, match="drgn cannot read the dump"):
        await Tools(QUICK, prefer="drgn").analyse(tmp_path / "vmcore", tmp_path / "vmlinux", work=work)


async def test_a_core_of_a_program_is_no_dump_of_a_kernel(tmp_path: Path, work: Path) -> None:
    pytest.importorskip("drgn")
    import struct

    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    core = head + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    core += struct.pack("<IIQQQQQQ", 1, 4, 120, 0x1000, 0, 8, 8, 8) + b"12345678"
    (tmp_path / "vmcore").write_bytes(core)
    (tmp_path / "vmlinux").write_bytes(elf("ab" * 20))
    with pytest.raises(UnreadableDump):
        await Tools(QUICK, prefer="drgn").analyse(tmp_path / "vmcore", tmp_path / "vmlinux", work=work)


async def test_crash_runs_the_commands_and_what_it_says_is_the_report(tmp_path: Path, work: Path) -> None:
    tools = crash_of(tmp_path, 'echo "with $*"; cat')
    done = await tools.analyse(tmp_path / "vm core", tmp_path / "vmlinux", work=work)
    assert done.tool == "crash"
    assert f"{tmp_path}/vmlinux {tmp_path}/vm core" in done.report
    for command in ("bt -a", "foreach UN bt", "kmem -i"):
        assert f"\n{command}\n" in done.report


async def test_it_takes_too_long(tmp_path: Path, work: Path) -> None:
    tools = crash_of(tmp_path, "sleep 600", Bounds(memory=QUICK.memory, wall=0.5))
    with pytest.raises(OutOfTime, match=r"time_limit"):
        await tools.analyse(tmp_path / "vmcore", tmp_path / "vmlinux", work=work)


async def test_what_it_said_before_its_time_was_over_is_kept(tmp_path: Path, work: Path) -> None:
    script = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $n; done; sleep 600"
    tools = crash_of(tmp_path, script, Bounds(memory=QUICK.memory, wall=1.0))
    done = await tools.analyse(tmp_path / "vmcore", tmp_path / "vmlinux", work=work)
    assert "line 12" in done.report
    assert "took more than 1 s" in done.cut


async def test_it_takes_too_much_memory(tmp_path: Path, work: Path) -> None:
    import sys

    script = f'exec {sys.executable} -I -c "x = bytearray(1024**3)"'
    tools = crash_of(tmp_path, script, Bounds(memory=256 * 1024**2, wall=30))
    with pytest.raises(OutOfMemory, match="memory_limit"):
        await tools.analyse(tmp_path / "vmcore", tmp_path / "vmlinux", work=work)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("echo 'crash: vmlinux and vmcore do not match!' >&2; exit 1", WrongVmlinux),
        ("echo 'crash: vmcore: not a supported file format' >&2; exit 1", UnreadableDump),
        ("echo boom >&2; exit 9", ToolFailed),
        ("kill -SEGV $$", ToolFailed),
    ],
)
async def test_how_crash_ends_is_understood(
    tmp_path: Path, work: Path, script: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as told:
        await crash_of(tmp_path, script).analyse(tmp_path / "vmcore", tmp_path / "vmlinux", work=work)
    assert str(told.value).startswith("crash")


def captured_dump(case: str) -> Path:
    found = sorted((CAPTURES / case / "crash").glob("*/dump.*"))
    if not found:
        pytest.skip("the captured dumps are not beside the project")
    return found[0]


@pytest.mark.parametrize("case", ["sysrq-c", "oom"])
async def test_the_log_of_a_real_dump_without_a_vmlinux(work: Path, case: str) -> None:
    if shutil.which("makedumpfile") is None:
        pytest.skip("needs makedumpfile: apt-get install makedumpfile")
    dump = captured_dump(case)
    text = await Tools(QUICK).dmesg(dump, work=work)
    saved = next(dump.parent.glob("dmesg.*")).read_text()
    assert text.strip().splitlines()[-5:] == saved.strip().splitlines()[-5:]
    assert list(work.iterdir()) == []


async def test_a_real_dump_with_the_vmlinux_of_another_kernel(tmp_path: Path, work: Path) -> None:
    pytest.importorskip("drgn")
    (tmp_path / "vmlinux").write_bytes(elf("ab" * 20))
    with pytest.raises(WrongVmlinux):
        await Tools(QUICK, prefer="drgn").analyse(captured_dump("oom"), tmp_path / "vmlinux", work=work)
