"""Which hosts a scope covers, what a text names, and what a trace has in common with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.changes.fleet import Fleet, Place
from commands.changes.trace import kind_of, named, part_of, read_trace
from integrations.changes import Scope

FLEET = Fleet(
    [
        Place("web-1", "prod-2", "dell poweredge r640", "web"),
        Place("web-17", "prod-2", "hpe dl380", "web"),
        Place("db-1.example.com", "prod-1", "dell poweredge r640", "db"),
        Place("lonely"),
    ]
)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (Scope(hosts=("web-1",)), {"web-1"}),
        (Scope(hosts=("web-*",)), {"web-1", "web-17"}),
        (Scope(hosts=("db-1",)), {"db-1.example.com"}),
        (Scope(hosts=("web-1.example.com",)), {"web-1"}),
        (Scope(rings=("prod-2",)), {"web-1", "web-17"}),
        (Scope(rings=("prod-2",), hardware=("dell poweredge r640",)), {"web-1"}),
        (Scope(hosts=("lonely",), services=("db",)), {"lonely", "db-1.example.com"}),
        (Scope(everywhere=True), {"web-1", "web-17", "db-1.example.com", "lonely"}),
        (Scope(rings=("nowhere",)), set()),
        (Scope(), set()),
    ],
)
def test_what_a_scope_covers(scope: Scope, covered: set[str]) -> None:
    assert FLEET.covered(scope) == covered
    assert FLEET.covered(scope) == covered, "from memory, too"


def test_a_text_names_whole_names_alone() -> None:
    said = FLEET.mentioned("Roll to prod-2 (Dell PowerEdge R640): web-17.example.com, db-1; not web-1-old")
    assert said.hosts == ("db-1", "web-17")
    assert said.rings == ("prod-2",)
    assert said.hardware == ("dell poweredge r640",)
    assert FLEET.mentioned("prod-22 web-170 myweb-1") == Scope()


@given(st.text(max_size=200), st.lists(st.text(max_size=12), max_size=3).map(tuple))
def test_any_text_and_any_name_is_taken(text: str, names: tuple[str, ...]) -> None:
    FLEET.mentioned(text)
    assert FLEET.covered(Scope(hosts=names, rings=names)) <= FLEET.names


@pytest.mark.parametrize(
    ("text", "kernel", "others"),
    [
        ("rollout of 6.1.0-31 to prod-2", "6.1.0-31", ()),
        ("linux-image-6.1.0-31-amd64", "6.1.0-31-amd64", ()),
        ("from 6.1.0-30 to 6.1.0-31", "6.1.0-31", ()),
        ("rollout of 6.1.0-3", None, ("6.1.0-3",)),
        ("linux 6.1.128-1 everywhere", "6.1.128-1", ()),
        ("kernel 6.1.0 of Debian", None, ()),
        ("address 10.6.1.0 and 2.4", None, ()),
    ],
)
def test_kernels_are_told_apart(text: str, kernel: str | None, others: tuple[str, ...]) -> None:
    trace = read_trace(kernels=["6.1.0-31-amd64"], builds=["#1 SMP Debian 6.1.128-1 (2025-02-07)"])
    said = named(trace, text)
    assert (said.kernel, tuple(o for o in said.others if o == "6.1.0-3")) == (kernel, others)


def test_modules_and_parts_are_named_as_words() -> None:
    trace = read_trace(
        kernels=[], modules=["nvme", "mlx5_core"], functions=["nf_conntrack_in", "do_syscall_64"]
    )
    assert named(trace, "new nvme-tcp settings").module == "nvme"
    assert named(trace, "MLX5-core 24.10").module == "mlx5_core"
    assert named(trace, "nvmetcp").module is None
    assert named(trace, "net.netfilter.conntrack_max raised").part == "conntrack"
    assert part_of("do_syscall_64") is None


@pytest.mark.parametrize(
    ("said", "summary", "kind"),
    [
        ("Kernel", "anything", "kernel"),
        ("Change", "roll kernel 6.1.0-56 to ring prod-2", "kernel"),
        ("Change", "BIOS 2.21 on every R640", "firmware"),
        ("Task", "ixgbe driver with the new kernel", "driver"),
        ("", "sysctl kernel.pid_max", "configuration"),
        ("Change", "team dinner", ""),
    ],
)
def test_the_sort_of_a_change(said: str, summary: str, kind: str) -> None:
    assert kind_of(said, summary) == kind


@given(st.text(max_size=300))
def test_any_text_of_a_change_is_read(text: str) -> None:
    named(read_trace(kernels=["6.1.0-31-amd64"], modules=["nvme"]), text)
    kind_of(text, text)
