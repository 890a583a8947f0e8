"""No exception on any bytes, linear time, and signatures that survive what does not change a bug."""

from __future__ import annotations

# ruff: noqa: E501
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from integrations.kernel import read_crash, read_stream
from integrations.kernel.reports import candidate_lines
from integrations.kernel.rules import head_rules, needles
from integrations.kernel.summary import summary
from tests.kernel import perturbations, samples

WHOLE = (
    samples.X86_64,
    samples.X86_64_OLD,
    samples.ARM64,
    samples.ARM,
    samples.PPC64LE,
    samples.S390X,
    samples.RISCV64,
)
QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

pieces = st.sampled_from(
    [
        *[line for sample in WHOLE for line in sample.splitlines()],
        *needles(),
        "[", "]", "+0x", "/0x", "<4>", "\x1b[0m", "\r", "\x00", "{", '{"MESSAGE": [1, 2, "x"]}', '{"MESSAGE": "BUG: x"}', "[" * 300,
        "Panic#1 Part1", "6,1,1,-,ncfrag=9/9;", "6,99999999999999999999,1,-;", "Linux version ", "Call Trace:", "a" * 300, "٣.١٢٣٤٥٦",
    ]
)  # fmt: skip
texts = st.lists(st.one_of(pieces, st.text(max_size=40)), max_size=60).map("\n".join)


@QUICK
@given(st.one_of(st.binary(max_size=400), texts, texts.map(lambda text: text.encode("utf-8", "replace"))))
@example(b"\xff\xfeB\x00U\x00G\x00:\x00")
def test_never_raises_and_always_summarises(text: str | bytes) -> None:
    crash = read_crash(text)
    assert summary(crash, "x")["title"] == crash.title
    assert crash.signature.key
    assert not (crash.crash and str(crash.kind) == "unknown")


@QUICK
@given(texts, st.integers(1, 200))
def test_a_stream_reads_as_the_whole(text: str, size: int) -> None:
    chunks = [text[i : i + size] for i in range(0, len(text), size)]
    assert read_stream(chunks) == read_crash(text)


@QUICK
@given(st.sampled_from(WHOLE), perturbations.renumberings)
def test_renumbering_keeps_the_signature(log: str, perturbed: tuple[str, Callable[[str], str]]) -> None:
    assert read_crash(perturbed[1](log)).signature.key == read_crash(log).signature.key


@QUICK
@given(st.sampled_from(WHOLE), perturbations.framings)
def test_framing_keeps_the_signature(log: str, perturbed: tuple[str, Callable[[str], str]]) -> None:
    told, plain = read_crash(perturbed[1](log)), read_crash(log)
    assert told.signature.key == plain.signature.key
    assert told.crash


@QUICK
@given(st.sampled_from(WHOLE), perturbations.losses)
def test_losses_invent_nothing(log: str, perturbed: tuple[str, Callable[[str], str]]) -> None:
    """A line lost may cost the head or the frame; what is named then is still of this report."""
    told = read_crash(perturbed[1](log))
    assert told.function is None or told.function in log
    assert told.module is None or told.module in log


@pytest.mark.parametrize("rule", head_rules(), ids=lambda rule: f"{rule.number}-{rule.kind}")
def test_every_head_is_found_by_the_fast_search(rule: object) -> None:
    """Whatever a rule matches holds one of the needles and the rule's own."""
    rules = [rule]

    @settings(deadline=None, max_examples=8, database=None, suppress_health_check=list(HealthCheck))
    @given(st.from_regex(rules[0].match))  # type: ignore[attr-defined]
    def check(text: str) -> None:
        line = text.replace("\n", " ")
        if rules[0].match.match(line):  # type: ignore[attr-defined]
            assert rules[0].needle in line  # type: ignore[attr-defined]
            assert candidate_lines(line) == [0]

    check()


HOSTILE = {
    "brackets": "[" * 64,
    "hex": "0123456789abcdef" * 8,
    "bug": "BUG: ",
    "kasan": "BUG: KASAN: a a a a a a ",
    "panic": "Kernel panic - not syncing: Fatal exception\n",
    "weak": "------------[ cut here ]------------\n",
    "rip": "RIP: 0010:" + "aaaaaaaa" * 20 + "\n",
    "frame": "[aaaaaaaaaaaaaaaaaaa] [aaaaaaaaaaaaaaaaaaaa] [aaaaaaaaaaaaaaaaaaaaa] +0x\n",
    "oops": "Oops: 0000 [#1]\nCall Trace:\n f+0x1/0x2\n",
    "note": "a[1]: segfault at 0 ip 0\n",
    "stamps": "[    1.000000] " * 6,
    "unhandled": "Unhandled fault: (0x" + "(0x0a" * 20 + "\n",
    "tainted": "CPU: 1 PID: 1 Comm: a Tainted: " + "A " * 60 + "\n",
    "json": '{"MESSAGE": "BUG: x"}\n',
    "netconsole": "6,1,1,-;BUG: x\n",
    "parts": "Panic#1 Part1\nBUG: x\n",
    "version": "Linux version 6\nBUG: soft lockup - CPU#1 stuck for 1s! [a:1]\n",
    "woven": "BUG: kernel NULL pointer dereference, address: 0\ngeneral protection fault: 0000 [#1]\nRIP: 0010:a+0x1/0x2\n"
    "RIP: 0010:" + "b" * 200 + "+0x1/0x2\nCall Trace:\n a+0x1/0x2\nCall Trace:\n b+0x1/0x2\n",
    "modules": "BUG: Bad page state\nModules linked in: " + "a " * 40 + "\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_with_the_size_alone(name: str) -> None:
    """Four times the input may take at most ten times the time (4 if linear, 16 if quadratic)."""
    unit = HOSTILE[name]

    def spent(size: int) -> float:
        text = unit * (size // len(unit))
        best = float("inf")
        for _ in range(2):
            start = time.process_time()
            read_crash(text)
            best = min(best, time.process_time() - start)
        return best

    small, large = spent(48 * 1024), spent(192 * 1024)
    assert large < 10 * small + 0.1


def test_a_long_line_is_no_trap() -> None:
    start = time.process_time()
    read_crash("BUG: " + "[<0123456789abcdef>] " * 50_000)
    assert time.process_time() - start < 2.0
