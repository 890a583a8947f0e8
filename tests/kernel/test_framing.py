"""Prefixes, JSON and parts taken off."""

from __future__ import annotations

import pytest

from integrations.kernel import read_crash
from integrations.kernel.framing import from_json_lines, looks_like_json, split_stamps, undress
from integrations.kernel.pstore import join_parts
from tests.kernel import samples


@pytest.mark.parametrize(
    ("raw", "text", "stamp", "context"),
    [
        ("[   12.345678] words", "words", 12.345678, None),
        ("<4>[   12.345678][ T123] words", "words", 12.345678, "T123"),
        ("[   12.345678] [    C1] words", "words", 12.345678, "C1"),
        ("Feb 11 18:58:28 node-4 kernel: [   12.345678] words", "words", 12.345678, None),
        ("Feb 04 00:07:12 node-4 kernel:  f+0x1/0x2", " f+0x1/0x2", None, None),
        ("2026-11-23T05:32:11.123456+00:00 node-4 kernel: words", "words", None, None),
        ("[Wed Jan  1 12:00:00 2025]  f+0x1/0x2", " f+0x1/0x2", None, None),
        ("kern  :warn  : [   12.345678] words", "words", 12.345678, None),
        ("kern  :warn  : 2025-01-21T04:41:44,285060+00:00 words", "words", None, None),
        ("web-17 login: [   12.345678] words\r", "words", 12.345678, None),
        ("\x1b[0;31m[   12.345678] words\x1b[0m", "words", 12.345678, None),
        ("2024-05-06T07:08:09.123456  [   12.345678] words", "words", 12.345678, None),
        ("<0>words", "words", None, None),
        ("<4>1 2026-11-23T05:32:11.1Z node-4 kernel - - - words", "words", None, None),
        ("<4>Feb 11 18:58:28 node-4 kernel: words", "words", None, None),
        ("   12.5] words", "   12.5] words", None, None),
    ],
)
def test_undress(raw: str, text: str, stamp: float | None, context: str | None) -> None:
    line = undress(raw)
    assert (line.text, line.stamp, line.context, line.foreign) == (text, stamp, context, False)


@pytest.mark.parametrize(
    "raw", ["Feb 11 18:58:28 node-4 sshd[12]: words", "[   12.345678] systemd-journald[196]: words"]
)
def test_programs_are_told_from_the_kernel(raw: str) -> None:
    assert undress(raw).foreign


def test_two_cpus_on_one_line() -> None:
    assert split_stamps("[    1.000000] general prot[    1.000001] audit: x") == [
        "[    1.000000] general prot",
        "[    1.000001] audit: x",
    ]


def test_json_lines() -> None:
    text = (
        '{"MESSAGE":"BUG: x","_SOURCE_MONOTONIC_TIMESTAMP":"1500000","_TRANSPORT":"kernel"}\n'
        '{"MESSAGE":[66,85,71],"SYSLOG_IDENTIFIER":"sshd"}\nnot json\n{"MESSAGE": 3}\n'
    )
    assert looks_like_json(text)
    assert from_json_lines(text) == "[    1.500000] BUG: x\nsshd[0]: BUG\nnot json"


def test_parts_newest_first() -> None:
    lines = samples.X86_64.splitlines(keepends=True)
    newest_first = "Panic#1 Part1\n" + "".join(lines[14:]) + "Panic#1 Part2\n" + "".join(lines[:14])
    assert join_parts(newest_first) == samples.X86_64
    archived = (
        "dmesg-erst-77:\nPanic#1 Part2\n"
        + "".join(lines[:14])
        + "dmesg-erst-76:\nPanic#1 Part1\n"
        + "".join(lines[14:])
    )
    assert join_parts(archived) == samples.X86_64
    assert read_crash(newest_first).signature == read_crash(samples.X86_64).signature
