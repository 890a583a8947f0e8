"""What stays and what goes, and why: the rules one by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from commands.retention.clock import Anchor, judge
from commands.retention.items import Clock, Copy, Decision, Guard, Inventory, LocalDump, Reason, Standing
from commands.retention.plan import admits, plan
from commands.retention.policy import RetentionConfig, Terms

NOW = datetime(2026, 11, 23, 3, 30, tzinfo=UTC)
POLICY = RetentionConfig()
GB = 10**9


def copy(number: int = 1, *, days: float = 1, **values: Any) -> Copy:
    base: dict[str, Any] = {
        "panic_id": number, "host": "web-17", "criticality": "normal", "signature": f"s{number}", "size": GB,
        "sha256": f"{number:064x}",
    }  # fmt: skip
    return Copy(id=number, since=NOW - timedelta(days=days), **{**base, **values})


def local(number: int = 1, *, days: float = 1, **values: Any) -> LocalDump:
    base: dict[str, Any] = {
        "host": "web-17", "criticality": "normal", "path": f"2026112305{number:02}/dump.x", "size": GB,
        "recorded": True, "copy_id": number,
    }  # fmt: skip
    return LocalDump(panic_id=number, occurred_at=NOW - timedelta(days=days), **{**base, **values})


def only(*items: Copy | LocalDump, policy: RetentionConfig = POLICY, **values: Any) -> list[Decision]:
    copies = tuple(i for i in items if isinstance(i, Copy))
    dumps = tuple(i for i in items if isinstance(i, LocalDump))
    return plan(Inventory(copies, dumps, **values), policy, NOW)


def gone(decisions: list[Decision]) -> list[tuple[str, int]]:
    return [d.key for d in decisions if d.remove]


@pytest.mark.parametrize(("criticality", "days"), [("low", 7), ("normal", 14), ("critical", 30), ("?", 14)])
def test_a_copy_goes_after_its_term(criticality: str, days: int) -> None:
    newer = copy(9, signature="s")
    before = copy(1, days=days - 0.01, signature="s", criticality=criticality)
    after = replace(before, since=NOW - timedelta(days=days))
    assert gone(only(before, newer)) == []
    assert gone(only(after, newer)) == [("central", 1)]


def test_the_newest_of_a_signature_stays_to_the_hard_end() -> None:
    (kept,) = only(copy(1, days=29.9))
    assert (kept.remove, kept.reason) == (False, Reason.NEWEST)
    assert "the newest of its signature, kept until 2026-11-23 05:54 UTC" in kept.why
    (goes,) = only(copy(1, days=30))
    assert goes.remove
    assert "30 d old: the hard end of 30 d" in goes.why


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        (Guard(held=True), "legal hold"),
        (Guard(pinned=True), "pinned"),
        (Guard(pinned=True, pinned_until=NOW + timedelta(days=2)), "pinned until 2026-11-25 03:30 UTC"),
        (Guard(incident="I-7"), "I-7 is open"),
        (Guard(busy="an analysis"), "in use: an analysis"),
    ],
)
def test_what_outlives_every_term(guard: Guard, words: str) -> None:
    dumps = [local(1, guard=guard), local(2, days=0, copy_id=None)]
    decisions = only(copy(1, days=400, guard=guard), *dumps, policy=RetentionConfig(host_budget=GB), budget=1)
    assert gone(decisions) == []
    assert [d.why for d in decisions[:2]] == [words, words]


def test_a_pin_that_is_over_keeps_nothing() -> None:
    assert gone(only(copy(1, days=40, guard=Guard(pinned=True, pinned_until=NOW)))) == [("central", 1)]


def test_nothing_goes_by_age_while_the_clock_is_not_certain() -> None:
    doubt = Clock(False, "it says 2036")
    pin = Guard(pinned=True, pinned_until=NOW - timedelta(days=1))
    decisions = only(copy(1, days=400), copy(2, days=400, guard=pin), clock=doubt)
    assert gone(decisions) == []
    assert "the clock is not certain: it says 2036" in decisions[0].why
    assert decisions[1].why.startswith("pinned until")


def test_over_budget_goes_what_has_a_stand_in_and_nothing_else() -> None:
    twin = copy(2, days=1, sha256=f"{1:064x}", signature="s1")
    decisions = only(copy(1, days=2), twin, copy(3), budget=GB)
    assert gone(decisions) == [("central", 1)]
    assert decisions[0].rests_on == 2
    assert "the store is over its budget; another verified copy of the same dump stays" in decisions[0].why


def test_of_two_copies_the_one_that_would_stay_longer_is_not_let_go() -> None:
    """The newer one's host is of low criticality: it goes first, and must not be the last."""
    newer = copy(2, days=1, criticality="low", sha256=f"{1:064x}", signature="s1")
    older = copy(1, days=2, criticality="critical")
    assert gone(only(older, newer, copy(3, days=0, signature="s1"), budget=1)) == [("central", 2)]


def test_parts_of_a_failed_copy_go_first_over_budget_and_by_their_term() -> None:
    parts = copy(2, standing=Standing.PARTIAL, sha256=None)
    assert gone(only(copy(1), parts, budget=GB)) == [("central", 2)]
    assert gone(only(copy(1), parts)) == []
    assert gone(only(replace(parts, since=NOW - timedelta(days=14)))) == [("central", 2)]
    assert gone(only(replace(parts, panic_id=1), copy(1))) == [("central", 2)], "a verified one stands"


def test_a_damaged_copy_goes_for_a_verified_one_and_is_no_stand_in() -> None:
    damaged = copy(1, days=3, standing=Standing.DAMAGED)
    assert gone(only(damaged, budget=1)) == []
    assert gone(only(damaged, copy(2, sha256=f"{1:064x}", panic_id=1))) == [("central", 1)]
    assert gone(only(damaged, local(1, days=5), local(2, copy_id=None))) == []


def test_a_removal_that_was_begun_is_finished_whatever_keeps_it() -> None:
    begun = copy(1, days=0, standing=Standing.LEAVING, guard=Guard(held=True))
    assert gone(only(begun)) == [("central", 1)]


def test_a_copy_in_another_store_is_told_not_touched() -> None:
    (decision,) = only(copy(1, days=99, reachable=False))
    assert not decision.remove
    assert "another store" in decision.why


def test_the_latest_of_a_host_stays_and_older_ones_go_once_verified() -> None:
    dumps = [local(1, days=3), local(2, days=2), local(3, days=1)]
    decisions = only(copy(1), copy(2, standing=Standing.PARTIAL, sha256=None), copy(3), *dumps)
    assert gone(decisions) == [("local", 1)]
    assert [d.why for d in decisions[3:]] == [
        "2 dumps of its host newer; a verified copy is in central",
        "no verified copy of it is in central",
        "the latest of its host",
    ]
    assert gone(only(copy(1), copy(2), copy(3), *dumps, policy=RetentionConfig(normal=Terms(local=2)))) == [
        ("local", 1)
    ]


def test_a_dump_without_a_record_of_its_file_stays() -> None:
    decisions = only(copy(1), local(1, days=3, recorded=False), local(2, copy_id=None))
    assert decisions[1].reason is Reason.UNRECORDED
    assert gone(decisions) == []


def test_a_host_over_its_budget_gives_even_the_latest_where_it_is_verified() -> None:
    tight = RetentionConfig(host_budget=GB)
    dumps = [local(1, days=1, size=2 * GB)]
    assert gone(only(copy(1), *dumps, policy=tight)) == [("local", 1)]
    assert gone(only(*dumps, policy=tight)) == []
    (decision,) = only(*dumps, policy=tight)
    assert decision.reason is Reason.UNVERIFIED


def test_both_go_when_the_term_of_the_copy_is_over_but_the_latest_on_the_host_stays() -> None:
    dumps = [local(1, days=41), local(2, days=40)]
    assert gone(only(copy(1, days=40), copy(2, days=40), *dumps)) == [
        ("central", 1), ("central", 2), ("local", 1),
    ]  # fmt: skip
    assert gone(only(*(replace(d, copy_id=None, parted=True) for d in dumps))) == [("local", 1)]


def test_a_new_copy_is_admitted_refused_or_waits_for_a_sweep() -> None:
    full = Inventory((copy(1),), budget=2 * GB)
    assert admits(full, POLICY, NOW, GB).room
    refused = admits(full, POLICY, NOW, GB + 1)
    assert not refused.room
    assert refused.why.endswith("its budget is 2.0 GB, and nothing in it may go")
    old = replace(full, copies=(copy(1), copy(2, days=90)))
    assert admits(old, POLICY, NOW, GB).first
    assert admits(Inventory((copy(1),)), POLICY, NOW, 10**18).room
    assert not admits(replace(full, incoming=GB), POLICY, NOW, 1).room


@pytest.mark.parametrize(
    "values",
    [
        {"most": "31d"}, {"most": "6d"}, {"most": "20d"}, {"normal": {"central": "6d"}}, {"at": "3:30"},
        {"at": "24:00"}, {"normal": {"local": 0}}, {"unknown": 1},
    ],
)  # fmt: skip
def test_settings_that_would_break_the_promise_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RetentionConfig(**values)


def test_settings_as_they_are_written() -> None:
    read = RetentionConfig(at="23:05", host_budget="10GB", normal={"central": "7d", "local": 3})  # type: ignore[arg-type]
    assert (read.at, read.host_budget, read.normal.local) == (time(23, 5), 10 * GB, 3)
    assert (POLICY.low.central.days, POLICY.normal.central.days, POLICY.critical.central.days) == (7, 14, 30)


def test_the_clock_is_believed_by_slacks_stamp_then_by_counted_seconds() -> None:
    day = timedelta(days=1)
    assert not judge(NOW, 0, None, None).trusted
    assert judge(NOW, 0, NOW - day, None).trusted
    assert not judge(NOW, 0, NOW - 2 * day, None).trusted
    anchor = Anchor(NOW - 9 * day, 1000)
    assert judge(NOW, 1000 + 9 * 86400, NOW - 9 * day, anchor).trusted
    assert not judge(NOW + day, 1000 + 9 * 86400, NOW - 9 * day, anchor).trusted
    assert not judge(NOW - day, 1000 + 9 * 86400, None, anchor).trusted
    assert judge(NOW + day, 1000 + 9 * 86400, NOW + day, anchor).trusted, "Slack knows better"
