"""What is kept of a long log: nothing of the crash is lost, nothing is invented, and what is left out is counted."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.demo.hosts.captures import CASES, load
from commands.hosts.cutting import LINES_BEFORE, cut_dmesg, cut_journal, sort_of
from integrations.kernel import read_crash

LEFT_OUT = re.compile(rb"\[panicroom: (\d+) lines, (\d+) bytes left out\]\n")
KIB = 1024
OOPS = [
    "BUG: kernel NULL pointer dereference, address: 0000000000000010",
    "#PF: supervisor read access in kernel mode",
    "Oops: 0000 [#1] PREEMPT SMP NOPTI",
    "CPU: 1 PID: 741 Comm: bash Kdump: loaded Tainted: G           OE      6.1.0-56-cloud-amd64 #1",
    "RIP: 0010:labcrash_read_cookie+0x1e/0x40 [labcrash]",
    "Call Trace:",
    " <TASK>",
    " proc_reg_write+0x58/0xa0",
    " vfs_write+0xc8/0x3d0",
    " </TASK>",
    "---[ end trace 0000000000000000 ]---",
    "Kernel panic - not syncing: Fatal exception",
]


def stamped(texts: list[str], since: float) -> bytes:
    return b"".join(b"[%12.6f] %s\n" % (since + n / 1000, text.encode()) for n, text in enumerate(texts))


def chatter(lines: int, since: float, length: int = 40) -> bytes:
    return stamped([f"eth0: link is up, flow control {n} {'x' * length}" for n in range(lines)], since)


def check(whole: bytes, kept: bytes) -> None:
    """Each kept line is one of the whole's, in its order; the lines in between count what is left out there."""
    at = 0
    for piece in re.split(rb"(?<=\n)(?=\[panicroom: )|(?<=left out\]\n)", kept):
        found = LEFT_OUT.fullmatch(piece)
        if found is not None:
            at += int(found[2])
        else:
            assert whole[at : at + len(piece)] == piece
            at += len(piece)
    assert at == len(whole)


@settings(max_examples=60, deadline=None)
@given(
    before=st.integers(0, 4000),
    after=st.integers(0, 4000),
    length=st.integers(0, 120),
    again=st.booleans(),
    most=st.sampled_from([64 * KIB, 256 * KIB]),
)
def test_the_crash_and_what_led_to_it_are_kept_wherever_it_stands(
    before: int, after: int, length: int, again: bool, most: int
) -> None:
    crash = stamped(OOPS, 5000.0)
    boot = stamped(["Linux version 6.1.0-56-cloud-amd64 (gcc) #1 SMP", "Command line: root=/dev/vda rw"], 0.0)
    whole = boot + chatter(before, 10.0, length) + crash + chatter(after, 6000.0, length)
    if again:
        whole += stamped([line.replace("741", "99") for line in OOPS], 9000.0)
    kept = cut_dmesg(whole, most)
    assert len(kept.data) <= most
    if len(whole) <= most:
        assert (kept.data, kept.told) == (whole, None)
        return
    assert kept.told is not None
    check(whole, kept.data)
    assert crash in kept.data
    context = whole[: whole.index(crash)].splitlines(keepends=True)[-LINES_BEFORE:]
    assert b"".join(context[-min(len(context), 60) :]) + crash in kept.data
    assert b"Linux version 6.1.0" in kept.data
    here, there = read_crash(kept.data), read_crash(whole)
    assert here.signature == there.signature
    assert (here.kernel, here.command_line, here.process) == (there.kernel, there.command_line, there.process)
    assert here.lines == there.lines


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from([b"\n", b"BUG: ", b"Oops: 0000 [#1] SMP\n", b"\xff\xfe", b"[    1.0] Kernel panic - \n"]),
            st.just(stamped(OOPS, 1.0)),
            st.just(b"x" * 5000),
        ),
        max_size=60,
    ),
    st.integers(512, 4096),
)  # fmt: skip
def test_whatever_a_host_sends_is_cut_within_its_limit(pieces: list[bytes], most: int) -> None:
    whole = b"".join(pieces)
    for cut in (cut_dmesg, cut_journal):
        kept = cut(whole, most)
        assert len(kept.data) <= most
        assert (kept.told is None) == (len(whole) <= most)
        if kept.told is None:
            assert kept.data == whole


@given(
    st.lists(st.text(st.characters(exclude_characters="\n"), max_size=80), max_size=200),
    st.integers(256, 4096),
)
def test_a_journals_end_is_kept_from_a_lines_beginning(lines: list[str], most: int) -> None:
    whole = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    kept = cut_journal(whole, most)
    if kept.told is None:
        return
    found = LEFT_OUT.match(kept.data)
    assert found is not None
    rest = kept.data[found.end() :]
    assert whole.endswith(rest)
    assert int(found[2]) == len(whole) - len(rest)
    assert whole[len(whole) - len(rest) - 1 :].startswith(b"\n") or len(rest) == most - 64
    assert int(found[1]) == whole[: len(whole) - len(rest)].count(b"\n")


def test_of_a_log_without_a_crash_the_end_is_kept() -> None:
    whole = chatter(20_000, 1.0)
    kept = cut_dmesg(whole, 64 * KIB)
    assert whole.endswith(LEFT_OUT.sub(b"", kept.data))
    assert kept.told is not None
    assert kept.told.startswith("there is no crash in it: its last ")


@pytest.mark.parametrize("case", sorted(CASES))
def test_captured_crashes_read_the_same_when_cut(case: str) -> None:
    capture = load(case)
    told = [text for name, text in sorted(capture.crash_files.items()) if "dmesg" in name and text]
    crash = told[0] if told else capture.pstore
    assert crash
    whole = chatter(30_000, 0.0) + crash.encode()
    kept = cut_dmesg(whole, 256 * KIB)
    check(whole, kept.data)
    assert read_crash(kept.data).signature == read_crash(whole).signature


@pytest.mark.parametrize(
    ("argv", "sort"),
    [
        (("dmesg",), "dmesg"),
        (("/usr/bin/dmesg", "-T"), "dmesg"),
        (("sudo", "-n", "/usr/bin/journalctl", "-b"), "journal"),
        (("cat", "dmesg"), None),
        (("lsmod",), None),
    ],
)
def test_which_commands_print_a_log(argv: tuple[str, ...], sort: str | None) -> None:
    assert sort_of(argv) == sort
