"""Completeness and VMCOREINFO: made-up headers, the captured dumps, dumps that makedumpfile makes."""

from __future__ import annotations

import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.kernel.completeness import Completeness, Read, plan, verdict
from integrations.kernel.vmcoreinfo import VmcoreInfo, read_vmcoreinfo
from tests.kernel.places import captures, need_tool, needs_captures

INFO = (
    b"OSRELEASE=6.1.0-56-cloud-amd64\nBUILD-ID=3b43fad5034874490492495d552c0af6a5fab235\n"
    b"PAGESIZE=4096\nCRASHTIME=1795411405\n"
)


def judge(data: bytes, name: str = "vmcore") -> Completeness:
    known: dict[Read, bytes] = {}
    for _ in range(5):
        wanted = plan(name, len(data), known)
        if not wanted:
            break
        known |= {read: data[read.offset : read.offset + read.length] for read in wanted}
    else:
        pytest.fail("the plan never ends")
    assert sum(read.length for read in known) < 256 * 1024
    return verdict(name, len(data), known)


def judge_file(path: Path, size: int | None = None) -> Completeness:
    size = path.stat().st_size if size is None else size
    known: dict[Read, bytes] = {}
    with path.open("rb") as file:
        while wanted := plan(path.name, size, known):
            for read in wanted:
                file.seek(read.offset)
                known[read] = file.read(min(read.length, size - read.offset))
    return verdict(path.name, size, known)


def kdump(pages: int = 3, *, status: int = 1) -> bytes:
    """A KDUMP file as makedumpfile lays it out: header, sub header, bitmaps, descriptors, pages."""
    block, sub, bitmap = 4096, 1, 2
    head = bytearray(block * (1 + sub + bitmap))
    head[:8] = b"KDUMP   "
    head[142:148] = b"6.1.0\x00"
    struct.pack_into("<IIII", head, 424, status, block, sub, bitmap)
    head[block + 200 : block + 200 + len(INFO) + 1] = b"\n" + INFO
    start = len(head)
    table = b"".join(
        struct.pack("<qIIQ", start + 24 * pages + 100 * number, 100, 1, 0) for number in range(pages)
    )
    return bytes(head) + table + b"p" * 100 * pages


def elf(segments: int = 2, *, flags: int = 0) -> bytes:
    head = bytearray(64 + 56 * segments)
    head[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<QQIHHH", head, 32, 64, 0, flags, 64, 56, segments)
    for number in range(segments):
        struct.pack_into("<QQQQ", head, 64 + 56 * number + 8, len(head) + 1000 * number, 0, 0, 1000)
    return bytes(head) + b"s" * 1000 * segments


def flattened(payload: bytes = INFO) -> bytes:
    head = b"makedumpfile\x00\x00\x00\x00" + struct.pack(">qq", 1, 1)
    body = struct.pack(">qq", 0, len(payload)) + payload
    return head.ljust(4096, b"\x00") + body + b"\x00" * 64 + b"\xff" * 16


@pytest.mark.parametrize(("data", "form"), [(kdump(), "kdump"), (elf(), "elf"), (flattened(), "flattened")])
def test_whole_and_cut(data: bytes, form: str) -> None:
    assert judge(data).state == "complete"
    assert judge(data).format == form
    for cut in (1, 16, 100, len(data) // 2, len(data) - 500, len(data) - 20):
        told = judge(data[: len(data) - cut])
        assert told.state == "incomplete", (cut, told)
    assert judge(b"").state == "empty"


def test_incomplete_by_its_own_word() -> None:
    assert judge(kdump(status=9)).reason.startswith("the header's status")
    assert judge(elf(flags=1)).state == "incomplete"
    assert judge(b"\x00" * 9000).state == "incomplete"


def test_unknown_is_unverified() -> None:
    assert judge(b"frob" * 5000).state == "unverified"
    assert verdict("vmcore", 100, {}).state == "unverified"
    assert judge(b"frob" * 5000, "vmcore-incomplete").state == "incomplete"


@pytest.mark.parametrize("tool", ["gzip", "xz", "bzip2", "lz4", "zstd"])
def test_compressed(tool: str, tmp_path: Path) -> None:
    need_tool(tool, {"xz": "xz-utils"}.get(tool, tool))
    data = subprocess.run([tool, "-c"], input=flattened() * 40, capture_output=True, check=True).stdout
    told = judge(data, f"dump.202611230537.{tool}")
    assert (told.state, told.format) == ("unverified", tool)
    if tool not in ("gzip", "zstd"):
        assert judge(data[:-30]).state == "incomplete"


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from([kdump(), elf(), flattened(), b"\xfd7zXZ\x00", b"BZh9", b""]),
    st.binary(max_size=200),
    st.integers(0, 20_000),
)
def test_any_bytes(data: bytes, noise: bytes, at: int) -> None:
    bent = bytearray(data)
    bent[at : at + len(noise)] = noise
    assert judge(bytes(bent)).state in ("complete", "incomplete", "empty", "unverified")
    assert isinstance(read_vmcoreinfo(bytes(bent)), VmcoreInfo)


def test_vmcoreinfo() -> None:
    wanted = VmcoreInfo(
        "6.1.0-56-cloud-amd64",
        "3b43fad5034874490492495d552c0af6a5fab235",
        datetime(2026, 11, 23, 5, 23, 25, tzinfo=UTC),
        4096,
    )
    assert read_vmcoreinfo(b"\x00\x01" + b"\n" + INFO) == wanted
    assert read_vmcoreinfo(flattened()).crash_time == wanted.crash_time
    assert read_vmcoreinfo(kdump()) == wanted
    assert read_vmcoreinfo(b"") == VmcoreInfo()
    assert read_vmcoreinfo(kdump().replace(b"OSRELEASE", b"XXRELEASE")).release == "6.1.0"


@needs_captures
@pytest.mark.parametrize("case", ["sysrq-c", "oom"])
def test_captured_dumps(case: str) -> None:
    (path,) = (captures() / case / "crash").glob("*/dump.*")
    size = path.stat().st_size
    assert judge_file(path) == Completeness("complete", "flattened", "the end mark stands at the end")
    assert {judge_file(path, size - cut).state for cut in (1, 4096, size // 2, size - 10)} == {"incomplete"}
    with path.open("rb") as file:
        info = read_vmcoreinfo(file.read(64 * 1024))
    assert info.release == "6.1.0-56-cloud-amd64"
    assert info.crash_time is not None
    assert info.crash_time.date().isoformat() == "2026-11-23"


@needs_captures
def test_the_dump_that_a_full_disk_left() -> None:
    (path,) = (captures() / "dump-fails-disk-full" / "crash").glob("*/dump.*")
    assert judge_file(path).state == "empty"


@needs_captures
def test_what_makedumpfile_makes(tmp_path: Path) -> None:
    need_tool("makedumpfile", "makedumpfile")
    (source,) = (captures() / "oom" / "crash").glob("*/dump.*")
    plain = tmp_path / "vmcore"
    with source.open("rb") as file:
        subprocess.run(["makedumpfile", "-R", str(plain)], stdin=file, capture_output=True, check=True)
    again = {"zlib": ["-c"], "lzo": ["-l"]}
    made = [plain]
    for name, option in again.items():
        target = tmp_path / name
        run = subprocess.run(
            ["makedumpfile", *option, "-d", "31", str(plain), str(target)], capture_output=True, check=False
        )
        if run.returncode == 0:
            made.append(target)
    assert len(made) > 1
    for path in made:
        size = path.stat().st_size
        assert judge_file(path).state == "complete", path.name
        for cut in (1, 4096, size // 3, size - 700):
            assert judge_file(path, size - cut).state == "incomplete", (path.name, cut)
        with path.open("rb") as file:
            assert read_vmcoreinfo(file.read(64 * 1024)).release == "6.1.0-56-cloud-amd64"
