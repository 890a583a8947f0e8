"""A store that lies: what it lost, cut or changed is found, told, and counts no more."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.retention.items import Copy, Inventory, Standing
from commands.retention.policy import RetentionConfig
from commands.retention.scrub import choose
from storage import CopyState
from tests.retention.conftest import Make, Scene

pytestmark = pytest.mark.timeout(120)
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def folder_of(scene: Scene, place: str | None) -> Path:
    return scene.central / (place or "").rsplit("/", 1)[1]


def change(file: Path) -> None:
    body = bytearray(file.read_bytes())
    body[100] ^= 1
    file.write_bytes(body)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (lambda f: (f / "vmcore.part-000002").unlink(), "part 2 of 3 is missing"),
    "truncated": (lambda f: (f / "vmcore.part-000003").write_bytes(b"short"), "part 3 has 5 bytes, 2048 were written"),
    "changed": (lambda f: change(f / "vmcore.part-000001"), "part 1 of 3 has changed"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "its manifest is missing"),
    "another manifest": (lambda f: (f / "manifest.json").write_bytes(b"{}") and None, "its manifest is another one's"),
    "no folder": (lambda f: f.rename(f.with_name("elsewhere")) and None, "part 1 of 3 is missing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
async def test_damage_is_found_told_and_counts_no_more(make_scene: Make, kind: str) -> None:
    scene: Scene = await make_scene(scrub=5)
    await scene.dump()
    await scene.dump()
    first, _ = await scene.copies()
    damage, words = DAMAGE[kind]
    damage(folder_of(scene, first.place))
    run = await scene.sweep()
    first, second = await scene.copies()
    assert (first.state, second.state) == (CopyState.DAMAGED, CopyState.VERIFIED)
    assert words in (first.error or "")
    assert run.result["scrub"]["damaged"] == [first.id]
    (entry,) = await scene.audit("retention.scrub")
    assert entry.outcome == "damaged"
    (told,) = await scene.messages("scrub:")
    assert words in (told.payload or {})["text"]
    (told,) = await scene.messages(f"retention:{run.id}")
    assert told.channel == "C0ADMINS"
    assert (await scene.desk.survey()).goes == []


async def test_a_copy_is_read_back_before_the_dump_on_its_host_goes(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    await scene.dump()
    scene.clock.forward(days=2)
    change(folder_of(scene, (await scene.copies())[0].place) / "vmcore.part-000002")
    await scene.sweep()
    (item,) = await scene.items()
    assert (item.state.value, item.note) == ("kept", "kept: its copy is damaged: part 2 of 3 has changed")
    assert (await scene.copies())[0].state is CopyState.DAMAGED
    await scene.sweep()
    assert scene.host.deletions() == []
    assert scene.host.file((await scene.copies())[0].source_path or "").exists()
    (decision,) = [
        d for d in (await scene.desk.survey()).decisions if d.where == "local" and d.item.panic_id == 1
    ]
    assert decision.why == "no verified copy of it is in central"


async def test_what_reads_back_right_again_counts_again(make_scene: Make) -> None:
    scene: Scene = await make_scene(scrub=5)
    await scene.dump()
    (copy,) = await scene.copies()
    folder = folder_of(scene, copy.place)
    folder.rename(scene.folder / "aside")
    await scene.sweep()
    assert (await scene.copies())[0].state is CopyState.DAMAGED
    (scene.folder / "aside").rename(folder)
    await scene.sweep()
    (copy,) = await scene.copies()
    assert (copy.state, copy.error) == (CopyState.VERIFIED, None)
    assert "reads back as it was sent again" in ((await scene.messages("scrub:"))[-1].payload or {})["text"]


async def test_a_store_that_is_away_says_nothing_about_its_copies(make_scene: Make) -> None:
    scene: Scene = await make_scene(scrub=5)
    await scene.dump()
    scene.central.rename(scene.folder / "away")
    run = await scene.sweep()
    assert (await scene.copies())[0].state is CopyState.VERIFIED
    assert run.result["scrub"]["read"] == 0
    assert "is it mounted?" in run.result["scrub"]["unread"][0][1]
    assert (await scene.care(1)).checked_at is None


async def test_a_whole_copy_is_read_once_in_its_term_without_any_sample(make_scene: Make) -> None:
    scene: Scene = await make_scene(scrub=0)
    await scene.dump()
    run = await scene.sweep()
    assert run.result["scrub"]["read"] == 0
    scene.clock.forward(days=8)
    run = await scene.sweep()
    assert run.result["scrub"] == {"read": 1, "damaged": [], "unread": []}
    assert (await scene.care(1)).checked_at == scene.clock.now
    run = await scene.sweep()
    assert run.result["scrub"]["read"] == 0
    assert await scene.messages("scrub:") == []


async def test_stopping_ends_a_reading_without_a_verdict(make_scene: Make) -> None:
    scene: Scene = await make_scene(scrub=5)
    await scene.dump()
    assert scene.desk.scrubber is not None
    scene.desk.scrubber.stop()
    assert await scene.desk.scrubber.check(1, "U0ADMIN") is None
    assert (await scene.copies())[0].state is CopyState.VERIFIED


def copies(sizes: list[int], days: list[float]) -> tuple[Copy, ...]:
    return tuple(
        Copy(
            i + 1, i + 1, "h", "normal", "s", size, NOW - timedelta(days=age), Standing.VERIFIED, f"{i:064x}"
        )
        for i, (size, age) in enumerate(zip(sizes, days, strict=False))
    )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 50), max_size=8), st.lists(st.floats(0, 29), min_size=8, max_size=8),
    st.integers(0, 4), st.integers(1, 100), st.integers(0, 10**6),
)  # fmt: skip
def test_a_sweep_reads_within_its_bounds_and_at_least_one(
    sizes: list[int], days: list[float], sample: int, most: int, seed: int
) -> None:
    there = copies([size * 1024**2 for size in sizes], days)
    policy = RetentionConfig(scrub=sample, scrub_most=most * 1024**2)
    picked = choose(Inventory(there), policy, {}, NOW, random.Random(seed))
    due = [c for c in there if NOW - c.since >= timedelta(days=7)]
    assert len(picked) == len({c.id for c in picked}) <= len(due) + sample
    assert sum(c.size for c in picked) <= policy.scrub_most or len(picked) == 1
    assert picked or not (due or (sample and there))


def test_each_copy_is_read_in_its_term_when_sweeps_are_daily() -> None:
    """Also where only one fits into a sweep."""
    policy = RetentionConfig(scrub=1, scrub_most=1024**2)
    there = copies([10 * 1024**2] * 6, [i / 24 for i in range(6)])
    checked: dict[int, datetime] = {}
    chance = random.Random(7)
    for day in range(14):
        now = NOW + timedelta(days=day)
        for copy in choose(Inventory(there), policy, checked, now, chance):
            checked[copy.id] = now
    assert set(checked) == {c.id for c in there}
