"""Two CPUs that write at once without caller ids: both crashes told, each with its own program counter."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.kernel import Crash, Kind, read_crash
from integrations.kernel.interleaving import part
from integrations.kernel.reading import plain_text
from integrations.kernel.reports import find_heads
from tests.kernel import samples
from tests.kernel.interleavings import (
    ARM64,
    PAIRS,
    X86_64,
    Written,
    alone,
    by_turns,
    from_log,
    interleavings,
    merged,
    outcome,
    with_times,
)
from tests.kernel.places import captures, labelled, needs_captures, needs_corpus

CAPTURED = "null-deref/crash/202611230532/dmesg.202611230532"


def kinds_and_functions(crash: Crash) -> list[tuple[str, str | None]]:
    return [(str(c.kind), c.function) for c in (crash, *crash.others)]


def head_of(report: Written) -> str:
    return next(line for line in report.lines if "cut here" not in line)


@pytest.mark.parametrize("report", [*X86_64.values(), *ARM64.values()], ids=lambda report: report.kind)
def test_alone(report: Written) -> None:
    text = alone(report)
    assert kinds_and_functions(read_crash(text)) == [(report.kind, report.function)]
    assert part(text, find_heads(text)) is None


@pytest.mark.parametrize("size", [1, 2, 3])
def test_strict_turns(size: int) -> None:
    """Of every pair both are told, each with its own function, in the order of the heads, deaths first."""
    for first, second in PAIRS:
        text = by_turns(first, second, size)
        told = read_crash(text)
        by_heads = sorted((first, second), key=lambda r: (r.kind == "warning", text.index(head_of(r))))
        assert kinds_and_functions(told) == [(r.kind, r.function) for r in by_heads]
        assert any("two CPUs wrote at once" in why for why in told.explain)


def test_random_turns_of_one_to_six_lines() -> None:
    """A line that both could have printed is a guess; the share of right readings is held, the bench tells it."""
    outcomes = [
        outcome(merged(a, b, random.Random(seed)), a, b) for a, b in PAIRS for seed in (101, 102, 103)
    ]
    assert sum(o.kinds for o in outcomes) / len(outcomes) >= 0.98
    assert sum(o.function for o in outcomes) / len(outcomes) >= 0.80


@given(interleavings())
def test_whatever_the_turns(case: tuple[Written, Written, str]) -> None:
    """The kind named is of one of the two and so is the function; no line is lost, invented or told twice."""
    first, second, text = case
    told = read_crash(text)
    assert {str(c.kind) for c in (told, *told.others)} <= {first.kind, second.kind}
    for crash in (told, *told.others):
        assert crash.function is None or crash.function in text
    raws = [raw for crash in (told, *told.others) for raw in crash.lines if raw]
    assert len(raws) == len(set(raws))
    parted = part(text, find_heads(text))
    assert parted is None or sorted(parted.text.split("\n")) == sorted(text.split("\n"))


any_line = st.sampled_from([line for report in X86_64.values() for line in report.lines])


@given(st.lists(any_line, max_size=120))
def test_lines_in_no_order_at_all(chosen: list[str]) -> None:
    text = with_times(chosen)
    told = read_crash(text)
    assert told.signature.key
    parted = part(text, find_heads(text))
    assert parted is None or sorted(parted.text.split("\n")) == sorted(text.split("\n"))


def test_one_after_the_other_is_not_touched() -> None:
    for first, second in PAIRS:
        text = with_times([*first.lines, *second.lines])
        assert part(text, find_heads(text)) is None


def test_reports_of_one_cpu_are_not_parted() -> None:
    """A CPU cannot write two reports at once: two heads with the same CPU line are one report's."""
    null, bug = X86_64["null"], X86_64["gpf"]
    same = Written(
        bug.kind,
        bug.function,
        tuple(line.replace("CPU: 1 PID: 373", "CPU: 0 PID: 366") for line in bug.lines),
    )
    text = by_turns(null, same, 2)
    assert part(text, find_heads(text)) is None


def test_the_address_in_cr2_sets_registers_right() -> None:
    """The merge is such that turns mislead at the program counter; CR2 names its owner."""
    null, fault = X86_64["null"], X86_64["page fault"]
    a, b = list(null.lines), list(fault.lines)
    text = with_times([*a[:7], *b[:7], *b[7:9], *a[7:9], *a[9:18], *b[9:18], *a[18:], *b[18:]])
    assert kinds_and_functions(read_crash(text)) == [
        ("null_deref", null.function),
        ("page_fault", fault.function),
    ]


def test_a_panic_belongs_to_the_report_it_ends() -> None:
    warning, gpf = X86_64["warning"], X86_64["gpf"]
    text = by_turns(warning, gpf, 2) + "[  153.000000] Kernel panic - not syncing: Fatal exception\n"
    told = read_crash(text)
    assert (told.kind, told.crash) == (Kind.GPF, True)
    assert [(c.kind, c.crash) for c in told.others] == [(Kind.WARNING, False)]
    text = text.replace("Fatal exception", "panic_on_warn set ...")
    told = read_crash(text)
    assert (told.kind, told.crash) == (Kind.WARNING, True)


def test_frames_in_doubt_are_said_and_the_program_counter_stands() -> None:
    lockup, gpf = X86_64["lockup"], X86_64["gpf"]
    told = read_crash(by_turns(lockup, gpf, 3))
    assert (told.kind, told.function) == (Kind.SOFT_LOCKUP, "quux_spin")
    assert any("could be the other's" in why for why in told.explain)
    assert any("no way outwards" in why for why in told.explain)


def test_a_stall_with_other_cpus_backtraces_beside_a_death() -> None:
    stall = Written(
        "rcu_stall",
        "frob_poll",
        (
            "rcu: INFO: rcu_sched self-detected stall on CPU",
            "NMI backtrace for cpu 9",
            "CPU: 9 PID: 99 Comm: frobd Not tainted 6.1.0-56-cloud-amd64 #1",
            "Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2-debian-1.16.2-1 04/01/2014",
            "Call Trace:",
            " <IRQ>",
            " nmi_cpu_backtrace+0x99/0xb0",
            " </IRQ>",
            " frob_poll+0x11/0x40 [frob]",
            " __x64_sys_poll+0x11/0x40",
            " do_syscall_64+0x5d/0x90",
            " entry_SYSCALL_64_after_hwframe+0x6e/0xd8",
        ),
    )
    for first, second in ((stall, X86_64["gpf"]), (X86_64["gpf"], stall)):
        assert outcome(by_turns(first, second, 2), first, second).kinds


@needs_captures
def test_with_a_captured_report() -> None:
    log = (captures() / CAPTURED).read_text(encoding="utf-8", errors="replace")
    captured = from_log(log, "null_deref", "labcrash_read_cookie", "BUG: kernel NULL", "CR2: ")
    for other in ("gpf", "bug", "page fault", "lockup", "warning"):
        for size in (1, 2, 3):
            told = outcome(by_turns(captured, X86_64[other], size), captured, X86_64[other])
            assert (told.kinds, told.both_functions) == (True, True), (other, size)


@pytest.mark.parametrize(
    "name", ["X86_64", "X86_64_OLD", "ARM64", "ARM", "PPC64LE", "S390X", "RISCV64", "HARD_LOCKUP"]
)
def test_samples_are_read_as_before(name: str) -> None:
    text = getattr(samples, name)
    assert part(text * 2, find_heads(text * 2)) is None


@needs_corpus
def test_logs_are_left_alone_unless_reports_overlap() -> None:
    """Of the corpus only logs in which another process's report stands in the first are parted; none loses a line."""
    parted = []
    for row in labelled():
        text = plain_text(row["log"])
        if found := part(text, find_heads(text)):
            parted.append(row["name"])
            assert sorted(found.text.split("\n")) == sorted(text.split("\n")), row["name"]
            assert len(found.unsure) >= 2
    assert len(parted) <= 5
