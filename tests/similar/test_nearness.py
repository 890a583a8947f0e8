"""How near two panics are: a pure measure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from commands.similar.nearness import Nearness, nearest, nearness, telling_frames, why
from storage.similarity import Candidate

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NVME = Candidate(
    1, "web-1", NOON, "null_deref|nvme_irq|nvme", "NULL pointer dereference in nvme_irq", "null_deref", "nvme_irq",
    "nvme", ("nvme_irq", "nvme_poll_cq", "blk_mq_run", "kthread"),
)  # fmt: skip


def other(number: int = 2, **facts: Any) -> Candidate:
    return replace(NVME, id=number, **{"signature_key": f"other|{number}", **facts})


def test_reasons_in_words() -> None:
    found = nearness(
        NVME, other(kind="gpf", function="nvme_poll_cq", frames=("nvme_poll_cq", "blk_mq_run", "x_y"))
    )
    assert found.near
    assert why(found) == ["2 frames in common (nvme_poll_cq, blk_mq_run)", "same module, nvme"]
    same = nearness(NVME, other(frames=NVME.frames))
    assert why(same) == [
        "the same function to blame, nvme_irq",
        "3 frames in common (nvme_irq, nvme_poll_cq, blk_mq_run)",
        "same kind, null_deref",
        "same module, nvme",
    ]
    assert round(same.score, 9) == 1.0


def test_frames_of_every_trace_and_suffixes_do_not_count() -> None:
    assert telling_frames(("kthread", "ret_from_fork", "worker_thread", "do_syscall_64", "kfree")) == ()
    assert telling_frames(("nvme_irq.isra.0", "nvme_irq.cold", "nvme_irq", "")) == ("nvme_irq",)
    callers = ("kthread", "ret_from_fork")
    one = other(kind="a", function="f_a", module=None, frames=("f_a", *callers))
    found = nearness(one, other(3, kind="b", function="f_b", module=None, frames=("f_b", *callers)))
    assert found == Nearness(0.0)
    assert not found.near


def test_kind_alone_one_frame_alone_and_module_alone_are_not_near_and_kind_with_module_is() -> None:
    stranger: dict[str, Any] = {"kind": "gpf", "function": "f_x", "module": None, "frames": ("f_x",)}
    assert not nearness(NVME, other(**{**stranger, "kind": "null_deref"})).near
    assert not nearness(NVME, other(**{**stranger, "module": "nvme"})).near
    assert not nearness(NVME, other(**{**stranger, "frames": ("f_x", "nvme_poll_cq")})).near
    assert nearness(NVME, other(**{**stranger, "kind": "null_deref", "module": "nvme"})).near
    assert nearness(NVME, other(**{**stranger, "frames": ("nvme_poll_cq", "blk_mq_run")})).near


def test_unknown_kinds_and_missing_modules_are_nothing_in_common() -> None:
    blank: dict[str, Any] = {"kind": "unknown", "function": None, "module": None, "frames": ()}
    assert nearness(other(**blank), other(3, **blank)) == Nearness(0.0)


def test_each_signature_once_by_its_nearest_nearest_first_and_never_its_own() -> None:
    far: dict[str, Any] = {"function": "f_x", "frames": ("f_x",)}
    others = [
        other(2, signature_key="a", **far),
        other(3, signature_key="a"),
        other(4, signature_key="b", **far),
        other(5, signature_key=NVME.signature_key),
        NVME,
        other(6, signature_key="a"),
    ]
    assert [n.panic.id for n in nearest(NVME, others)] == [3, 4]
    assert [n.panic.id for n in nearest(NVME, others, limit=1)] == [3]


NAMES = st.sampled_from(
    ["nvme_irq", "nvme_poll_cq", "blk_mq_run", "kthread", "do_syscall_64", "ext4_x", "ext4_y.isra.0", "", " "]
) | st.text(max_size=8)
PANICS = st.builds(
    Candidate,
    id=st.integers(1, 9),
    host=st.just("web-1"),
    occurred_at=st.integers(0, 5).map(lambda n: NOON + timedelta(days=n)),
    signature_key=st.sampled_from(["a", "b", "c"]),
    title=st.just("t"),
    kind=st.sampled_from(["null_deref", "gpf", "unknown", ""]),
    function=st.none() | NAMES,
    module=st.none() | st.sampled_from(["nvme", "ext4", ""]),
    frames=st.lists(NAMES, max_size=40).map(tuple),
)


@given(PANICS, PANICS)
def test_the_measure_has_no_side_and_stays_between_nothing_and_one(one: Candidate, two: Candidate) -> None:
    there, back = nearness(one, two), nearness(two, one)
    assert there.score == back.score
    assert 0.0 <= there.score <= 1.0
    assert (
        set(there.frames)
        == set(back.frames)
        == set(telling_frames(one.frames)) & set(telling_frames(two.frames))
    )
    assert there.near == back.near
    assert there.score > 0 or not there.near
    assert bool(why(there)) == (there.score > 0)


@given(PANICS, PANICS)
def test_nothing_is_nearer_to_a_panic_than_one_just_like_it(one: Candidate, two: Candidate) -> None:
    assert nearness(one, two).score <= nearness(one, one).score + 1e-9


@given(PANICS, PANICS)
def test_another_frame_in_common_never_makes_it_less_near(one: Candidate, two: Candidate) -> None:
    first = nearness(one, two)
    new = "drbd_new_frame"
    more = nearness(
        replace(one, frames=(new, *one.frames[:20])), replace(two, frames=(new, *two.frames[:20]))
    )
    shared = nearness(replace(one, frames=one.frames[:20]), replace(two, frames=two.frames[:20]))
    assert more.score >= shared.score - 1e-9
    assert len(more.frames) == len(shared.frames) + 1
    assert first.kind == more.kind


@given(PANICS, st.lists(PANICS, max_size=12), st.integers(0, 6))
def test_the_nearest_are_in_order_distinct_and_all_near(
    panic: Candidate, others: list[Candidate], limit: int
) -> None:
    found = nearest(panic, others, limit=limit)
    assert len(found) <= limit
    scores = [n.nearness.score for n in found]
    assert scores == sorted(scores, reverse=True)
    keys = [n.panic.signature_key for n in found]
    assert len(keys) == len(set(keys))
    assert panic.signature_key not in keys
    for near in found:
        assert near.nearness.near
        rivals = [o for o in others if o.signature_key == near.panic.signature_key and o.id != panic.id]
        assert near.nearness.score == max(nearness(panic, r).score for r in rivals if nearness(panic, r).near)
