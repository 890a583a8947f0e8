"""Long inputs: bounded memory, nothing missed."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator

import pytest

from integrations.kernel import read_crash, read_stream
from tests.kernel import perturbations, samples

CALM = "".join(
    f"[{i / 10:12.6f}] usb 1-{i % 7}: new high-speed USB device number {i} using xhci_hcd\n"
    for i in range(12_000)
)


def test_a_crash_after_tens_of_mib() -> None:
    boot = (
        "[    0.000000] Linux version 6.1.0-56-cloud-amd64 (b@h) (gcc) #1 SMP Debian 6.1.192-2\n"
        "[    0.000000] Command line: ro quiet\n"
    )
    text = boot + CALM * 24 + samples.X86_64 + CALM
    crash = read_crash(text)
    assert crash.signature.key == "null_deref|labcrash_read_cookie|labcrash"
    assert crash.command_line == "ro quiet"
    assert crash.lines == tuple(samples.X86_64.splitlines()[1:])


def test_chunks_may_cut_anywhere() -> None:
    text = (CALM + samples.ARM64 + CALM).encode()
    rng = random.Random(1)

    def chunks() -> Iterator[bytes]:
        at = 0
        while at < len(text):
            size = rng.randrange(1, 90_000)
            yield text[at : at + size]
            at += size

    assert read_stream(chunks()).signature == read_crash(samples.ARM64).signature


def test_many_warnings_do_not_hide_the_crash_at_the_end() -> None:
    warning = samples.NAMED_BUT_NO_CRASH["warning"] + "\n" + CALM[:300_000]
    crash = read_crash(warning * 40 + samples.X86_64)
    assert crash.signature.key == "null_deref|labcrash_read_cookie|labcrash"


def test_memory_is_bounded() -> None:
    block = (CALM + samples.X86_64 + samples.HARD_LOCKUP * 50).encode()

    def chunks() -> Iterator[bytes]:
        for _ in range(48):
            yield block

    tracemalloc.start()
    crash = read_stream(chunks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert crash.crash
    assert len(crash.others) <= 32
    assert peak < 96 * 1024 * 1024


@pytest.mark.parametrize("framing", ["journal json", "netconsole", "syslog", "serial", "dmesg -T"])
def test_long_logs_of_any_framing(framing: str) -> None:
    log = CALM * 6 + samples.X86_64 + CALM
    text = perturbations.FRAMINGS[framing](log, random.Random(1))
    assert len(text) > 5 * 1024 * 1024
    crash = read_crash(text)
    assert crash.signature.key == "null_deref|labcrash_read_cookie|labcrash"
    assert read_stream(text[i : i + 65536] for i in range(0, len(text), 65536)).signature == crash.signature


@pytest.mark.parametrize("shift", range(0, 400, 23))
def test_a_head_at_a_block_border_is_seen_once(shift: int) -> None:
    """Blocks of 512 KiB are scanned; the report is moved across such a border."""
    calm = (CALM * 3)[: 2 * 512 * 1024 - shift]
    crash = read_crash(calm[: calm.rfind("\n") + 1] + samples.X86_64 + CALM * 4)
    assert crash.signature.key == "null_deref|labcrash_read_cookie|labcrash"
    assert crash.others == ()
    assert crash.lines == tuple(samples.X86_64.splitlines()[1:])
