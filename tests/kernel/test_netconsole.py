"""Datagrams back into text."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.kernel import read_crash
from integrations.kernel.netconsole import Reassembly, by_time, looks_like_netconsole, reassemble
from tests.kernel import samples
from tests.kernel.places import captures, needs_captures


def test_order_duplicates_and_loss() -> None:
    reassembly = Reassembly()
    for datagram in ("4,12,3000001,-;third\n", b"4,10,1000001,-;first\n", "4,12,3000001,-;third\n"):
        reassembly.add(datagram)
    assert reassembly.text().splitlines() == [
        "[    1.000001] first",
        "** 1 netconsole messages lost **",
        "[    3.000001] third",
    ]
    assert (reassembly.lost, reassembly.duplicates) == (1, 1)


def test_fragments_in_any_order() -> None:
    parts = ["6,416,1758426,-,ncfrag=8/12;CDEF", "6,416,1758426,-,ncfrag=0/12;01234567"]
    assert reassemble(parts) == "[    1.758426] 01234567CDEF"
    assert reassemble(parts[:1]) == "[    1.758426] <fragment lost>CDEF"
    assert reassemble(parts[1:]) == "[    1.758426] 01234567<fragment lost>"


def test_release_prefix_dictionary_and_caller() -> None:
    text = reassemble(["6.9.0-rc1,4,7,2000000,-,caller=T42;usb 1-1: gone\n SUBSYSTEM=usb\n DEVICE=c189:1\n"])
    assert text == "[    2.000000][   T42] usb 1-1: gone"


def test_basic_datagrams_pass_through() -> None:
    assert reassemble(["[    1.0] a\n", "[    2.0] b\n"]) == "[    1.0] a\n[    2.0] b"
    assert not looks_like_netconsole("[    1.0] a\n6 of 7, then\n")
    assert looks_like_netconsole("noise\n6,1,2,-;text\n")


def test_memory_is_bounded() -> None:
    reassembly = Reassembly()
    for seq in range(0, 450_000, 2):
        reassembly.add(f"6,{seq},1,-;x")
    assert len(reassembly.text().splitlines()) <= 400_000


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=60),
            st.binary(max_size=60),
            st.from_regex(r"\d,\d{1,3},\d{1,4},-,ncfrag=\d{1,3}/\d{1,3};.*"),
        ),
        max_size=30,
    )
)
def test_any_datagrams(datagrams: list[str | bytes]) -> None:
    assert isinstance(reassemble(datagrams), str)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_shuffled_basic_lines_are_ordered_by_time(seed: int) -> None:
    rng = random.Random(seed)
    lines = samples.X86_64.splitlines()
    lines = [*(f"[  {100 + i / 10:10.6f}] usb {i}" for i in range(60)), *lines]
    order = sorted(range(len(lines)), key=lambda i: i + rng.uniform(0, 9))
    shuffled = [lines[i] for i in order] + [lines[order[-1]]]
    assert by_time("\n".join(shuffled)).split("\n") == lines
    assert by_time("\n".join(lines)) == "\n".join(lines)


@needs_captures
@pytest.mark.parametrize("label", ["basic", "extended"])
@pytest.mark.parametrize(
    ("case", "key"),
    [("null-deref", "null_deref|labcrash_read_cookie|labcrash"), ("oom", "oom_panic|out_of_memory")],
)
def test_real_datagrams_shuffled(case: str, key: str, label: str) -> None:
    records = [json.loads(line) for line in (captures() / case / "netconsole.jsonl").open(encoding="utf-8")]
    data = [record["data"] for record in records if record["label"] == label]
    assert read_crash(reassemble(data)).signature.key == key
    if label == "extended":
        random.Random(5).shuffle(data)
        assert read_crash(reassemble(data)).signature.key == key
