"""What stands out, in what order, and with which words."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from commands.changes.fleet import Fleet, Place
from commands.changes.trace import Trace, read_trace
from commands.changes.weighing import THRESHOLD, Picture, Struck, Weighed, weigh
from integrations.changes import Change, Scope

FIRST = datetime(2026, 11, 23, 9, 14, tzinfo=UTC)
R640, DL380 = "dell poweredge r640", "hpe proliant dl380"
FLEET = Fleet(
    [
        Place(f"{ring}-{number}", ring, R640 if number % 4 else DL380, "web" if number % 2 else "db")
        for ring, count in (("canary", 10), ("prod-1", 80), ("prod-2", 80), ("prod-3", 80))
        for number in range(count)
    ]
)


def change(key: str, minutes: float, **said: Any) -> Change:
    """A change that began so many minutes before the first panic."""
    facts: dict[str, Any] = {"summary": key, "kind": "", "scope": Scope(), "ended": None, "text": ""}
    facts.update(said)
    return Change(
        key=key, status="", assignee=None, started=FIRST - timedelta(minutes=minutes), updated=None, url="",
        source=facts.pop("source", "deploys"), **facts,
    )  # fmt: skip


def picture(hosts: list[str], *, booted: float | None = None, considered: int = 40, **trace: Any) -> Picture:
    """The hosts panicked one a minute, the first at FIRST; `booted`: minutes before that."""
    boot = FIRST - timedelta(minutes=booted) if booted is not None else None
    struck = tuple(Struck(h, FIRST + timedelta(minutes=n), boot) for n, h in enumerate(hosts))
    facts: dict[str, Any] = {"kernels": ["6.1.0-31-amd64"], "modules": [], **trace}
    return Picture(FLEET, struck, read_trace(**facts), considered)


def keys(found: list[Weighed]) -> list[str]:
    return [w.change.key for w in found]


PROD_2 = [f"prod-2-{n}" for n in range(20)]

NOISE = [
    change("web-deploy", 20, kind="deployment", summary="deploy web build 7", scope=Scope(services=("web",))),
    change("dns", 50, kind="configuration", summary="change dns", scope=Scope(everywhere=True)),
    change("switches", 240, kind="network", scope=Scope(rings=("prod-2",))),
]


# -- scenarios ----------------------------------------------------------------------------------------


def test_a_kernel_rollout_by_ring_is_told_from_the_rings_that_are_calm_with_it() -> None:
    def rollout(ring: str, days: float) -> Change:
        return change(
            f"rollout-{ring}", days * 1440, kind="kernel", summary=f"rollout of 6.1.0-31 to ring {ring}",
            scope=Scope(rings=(ring,)), ended=FIRST - timedelta(days=days) + timedelta(hours=2),
        )  # fmt: skip

    there = [rollout("canary", 6), rollout("prod-1", 3), rollout("prod-2", 0.05), *NOISE]
    found = weigh(there, picture(PROD_2, booted=14))
    assert found[0].change.key == "rollout-prod-2"
    assert found[0].reasons == (
        "started 72 min before and was still under way",
        "covers 20 of 20 panicking hosts and 60 of 230 calm ones",
        "names kernel 6.1.0-31",
        "booted since, 14 min before",
    )
    assert "rollout-canary" not in keys(found), "it covers none of those who panicked"


def test_a_driver_update_on_one_model_is_told_from_the_ring_it_was_made_in() -> None:
    struck = [f"{ring}-{n}" for ring in ("prod-1", "prod-2", "prod-3") for n in (0, 4, 8)]  # the DL380s
    there = [
        change("nvme-dl380", 14, kind="driver", summary="nvme driver 2.1 on all DL380", scope=Scope(hardware=(DL380,))),
        change("nvme-r640", 14, kind="driver", summary="nvme driver 2.1 on all R640", scope=Scope(hardware=(R640,))),
        *NOISE,
    ]  # fmt: skip
    found = weigh(there, picture(struck, booted=90000, modules=["nvme"]))
    assert keys(found)[0] == "nvme-dl380"
    assert "nvme-r640" not in keys(found)
    assert found[0].reasons == (
        "started 14 min before",
        "covers 9 of 9 panicking hosts and 54 of 241 calm ones",
        "names nvme",
    )


def test_firmware_is_suspected_of_a_machine_check() -> None:
    struck = ["prod-3-0", "prod-3-4"]
    there = [
        change("bios", 200, kind="firmware", summary="BIOS 2.21", scope=Scope(rings=("prod-3",), hardware=(DL380,))),
        *NOISE,
    ]  # fmt: skip
    (best,) = weigh(there, picture(struck, booted=25, kinds=["mce"]))
    assert best.change.key == "bios"
    assert "such a panic points at the machine" in best.reasons
    assert "booted since, 25 min before" in best.reasons


def test_a_shift_of_the_workload_without_a_ticket_is_no_change() -> None:
    struck = [f"{ring}-{n}" for ring in ("prod-1", "prod-2") for n in (1, 3, 5)]  # hosts of the service web
    routine = [
        change("log-level", 300, kind="configuration", summary="log level", scope=Scope(rings=("prod-1",))),
        change("api", 100, kind="deployment", summary="deploy web build 9", scope=Scope(services=("web",))),
        *NOISE,
    ]
    assert weigh(routine, picture(struck, booted=90000, considered=300, functions=["tcp_v4_rcv"])) == []


def test_a_kernel_that_nobody_has_booted_is_not_suspected() -> None:
    new = change("rollout", 30, kind="kernel", summary="install 6.1.0-31", scope=Scope(rings=("prod-2",)))
    assert keys(weigh([new], picture(PROD_2, booted=10))) == ["rollout"]
    assert weigh([new], picture(PROD_2[:1], booted=50000)) == []
    live = replace(new, text="as a livepatch")
    assert keys(weigh([live], picture(PROD_2, booted=50000))) == ["rollout"]


def test_another_kernel_than_the_one_that_died_is_not_suspected() -> None:
    other = change("r", 30, kind="kernel", summary="rollout of 6.1.0-32", scope=Scope(hosts=("prod-2-0",)))
    same = replace(other, summary="rollout of 6.1.0-31")
    one = picture(["prod-2-0"], booted=10)
    assert weigh([same], one)[0].bits - 8 > (weigh([other], one) or [Weighed(other, (), 0.0)])[0].bits


def test_what_is_everywhere_says_nothing_and_what_names_nothing_is_not_guessed() -> None:
    everywhere = change("ntp", 5, kind="configuration", scope=Scope(everywhere=True))
    assert weigh([everywhere], picture(PROD_2)) == []
    unsaid = change("note", 600, summary="maintenance")
    assert weigh([unsaid], picture(PROD_2)) == []


def test_in_a_crowd_the_same_change_must_be_better() -> None:
    alone = change("x", 300, kind="driver", summary="some driver", scope=Scope(rings=("prod-2",)))
    assert weigh([alone], picture(["prod-2-1"], considered=2))
    assert not weigh([alone], picture(["prod-2-1"], considered=5000))


def test_nothing_to_explain_is_no_error() -> None:
    assert weigh([change("x", 1)], Picture(FLEET, ())) == []


# -- properties ---------------------------------------------------------------------------------------

NAMES = st.sampled_from(["canary", "prod-1", "prod-2", "prod-3"])
SCOPES = st.builds(
    Scope,
    hosts=st.lists(st.sampled_from(["prod-2-1", "prod-*", "web-?", "canary-1.a.org", "[", "x"]), max_size=2).map(tuple),
    rings=st.lists(NAMES, max_size=2).map(tuple),
    hardware=st.lists(st.sampled_from([R640, DL380]), max_size=1).map(tuple),
    services=st.lists(st.sampled_from(["web", "db"]), max_size=1).map(tuple),
    everywhere=st.booleans(),
)  # fmt: skip
MINUTES = st.integers(-3000, 20000)
WORDS = st.text(max_size=30) | st.sampled_from(
    ["rollout of 6.1.0-31", "nvme driver", "6.1.0-30 kernel", "livepatch"]
)
KINDS = st.sampled_from(["", "kernel", "driver", "firmware", "configuration", "deployment", "Change", "boot"])
CHANGES = st.lists(
    st.builds(
        lambda key, source, minutes, last, scope, kind, summary, text: change(
            key, minutes, scope=scope, kind=kind, summary=summary, text=text, source=source,
            ended=None if last is None else FIRST - timedelta(minutes=minutes - last),
        ),
        st.sampled_from(["a", "b", "c", "d", "e", "f"]), st.sampled_from(["deploys", "jira", "host:prod-2-1"]),
        MINUTES, st.none() | st.integers(0, 30000), SCOPES, KINDS, WORDS, WORDS,
    ),
    max_size=12,
)  # fmt: skip
PICTURES = st.builds(
    picture,
    st.lists(st.sampled_from([f"prod-2-{n}" for n in range(9)] + ["canary-1"]), min_size=1, max_size=8, unique=True),
    booted=st.none() | st.integers(0, 100000),
    considered=st.integers(0, 3000),
    modules=st.lists(st.sampled_from(["nvme", "ixgbe"]), max_size=1),
    kinds=st.lists(st.sampled_from(["mce", "null_deref"]), max_size=1),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(CHANGES, PICTURES, st.integers(0, 2**32))
def test_the_order_told_plays_no_part(changes: list[Change], there: Picture, seed: int) -> None:
    shuffled = list(changes)
    random.Random(seed).shuffle(shuffled)
    assert weigh(changes, there) == weigh(shuffled, there)


@settings(max_examples=40, deadline=None)
@given(CHANGES, PICTURES)
def test_what_began_after_the_first_panic_is_never_among_them(changes: list[Change], there: Picture) -> None:
    found = weigh(changes, there)
    assert all(w.change.started is not None and w.change.started <= there.first_at for w in found)


@settings(max_examples=40, deadline=None)
@given(CHANGES, PICTURES)
def test_each_stands_above_the_threshold_has_its_reasons_in_words_and_comes_once(
    changes: list[Change], there: Picture
) -> None:
    found = weigh(changes, there)
    assert all(w.bits >= THRESHOLD for w in found)
    assert [w.bits for w in found] == sorted((w.bits for w in found), reverse=True)
    assert len({(w.change.source, w.change.key) for w in found}) == len(found)
    for w in found:
        assert w.reasons[0].startswith("started ")
        assert not any(str(round(w.bits, 2)) in reason for reason in w.reasons)


@settings(max_examples=40, deadline=None)
@given(PICTURES, st.integers(1, 5000))
def test_of_two_alike_the_nearer_one_weighs_more(there: Picture, minutes: int) -> None:
    there = replace(there, considered=0, trace=Trace())
    scope = Scope(hosts=tuple(s.host for s in there.struck))
    near = change("near", minutes, scope=scope, kind="driver")
    far = change("far", minutes + 60, scope=scope, kind="driver")
    found = keys(weigh([near, far], there))
    assert found[:1] in ([], ["near"])


@settings(max_examples=60, deadline=None)
@given(PICTURES)
def test_the_same_scope_over_fewer_calm_hosts_weighs_more(there: Picture) -> None:
    there = replace(there, considered=0)
    hosts = tuple(s.host for s in there.struck)
    narrow = change("narrow", 10, scope=Scope(hosts=hosts), kind="driver")
    wide = change("wide", 10, scope=Scope(hosts=hosts, rings=("prod-1", "prod-3")), kind="driver")
    assert keys(weigh([wide, narrow], there))[0] == "narrow"
