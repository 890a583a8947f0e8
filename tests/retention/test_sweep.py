"""Sweeps as they are carried out: in a store, over SSH by the real helper, in rows and in the audit."""

from __future__ import annotations

import asyncio
import os
import shutil
from datetime import timedelta

import pytest
from sqlmodel import Session

from commands.incident.rendering import draw
from commands.retention import ledger, runs
from commands.retention.desk import RetentionDesk
from commands.retention.policy import RetentionConfig
from storage import CopyState, DumpCopy, ItemState, Panic, RetentionItem, RetentionRun
from tests.hosts.world import until
from tests.retention.conftest import KIB, Make, Scene

pytestmark = pytest.mark.timeout(120)
SIZE = 8 * KIB


async def test_the_term_of_a_copy_ends_with_the_folder_and_the_row_stays(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    old = await scene.dump(copied=True)
    await scene.desk.note()
    await scene.stamped()
    await scene.desk.note()
    scene.clock.forward(days=15)
    newer = await scene.dump(copied=True)
    run = await scene.sweep()
    assert [s for s in await scene.states() if s[0] == "central"] == [("central", old, "removed")]
    first, second = await scene.copies()
    assert (first.state, second.state) == (CopyState.REMOVED, CopyState.VERIFIED)
    assert first.sha256
    assert scene.folders() == [(second.place or "").rsplit("/", 1)[1]]
    care = await scene.care(first.id or 0)
    assert (care.freed, care.begun_for) == (SIZE, "age")
    assert care.removed_at is not None
    (entry,) = await scene.audit("retention.central")
    assert (entry.actor, entry.outcome) == ("U0ADMIN", "removed")
    assert entry.detail.startswith(f"{SIZE} bytes freed; 15 d old: its term of 14 d is over")
    assert run.result["freed"] == {"central": SIZE, "local": SIZE}
    assert newer


async def test_local_dumps_go_but_the_latest_by_the_very_file_that_was_recorded(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    panics = [await scene.dump() for _ in range(3)]
    await scene.sweep()
    assert await scene.states() == [("local", panics[0], "removed"), ("local", panics[1], "removed")]
    first, second = scene.host.deletions()
    copy = (await scene.copies())[0]
    mtime, inode = (copy.source_stamp or "").split("/")
    assert first == (copy.source_path, str(SIZE), mtime, inode)
    assert second[0] == (await scene.copies())[1].source_path
    assert not scene.host.file(copy.source_path or "").exists()
    assert scene.host.file((copy.source_path or "").replace("dump", "dmesg")).exists(), "its dmesg stays"
    assert scene.host.file((await scene.copies())[2].source_path or "").exists()
    entries = await scene.audit("retention.local")
    assert [e.outcome for e in entries] == ["removed", "removed"]
    assert "bytes freed; 2 dumps of its host newer; a verified copy is in central" in entries[0].detail
    commands = [e.subject for e in await scene.audit("host.command")]
    assert any("panicroom-host-delete" in c and copy.source_path in c for c in commands)
    panic = await scene.world.db.read(lambda s: s.get_one(Panic, panics[0]))
    assert "removed from the host by retention" in (panic.dump_note or "")
    assert (await scene.desk.survey()).goes == []
    assert len((await scene.desk.survey()).inventory.locals) == 1


@pytest.mark.parametrize("fault", ["changed", "replaced", "link", "elsewhere"])
async def test_another_file_than_was_recorded_stays(make_scene: Make, fault: str) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    await scene.dump()
    file = scene.host.file((await scene.copies())[0].source_path or "")
    if fault == "changed":
        os.utime(file, (1, 1))
    elif fault == "replaced":
        stat = file.stat()
        file.rename(file.with_name("dump.old"))
        file.write_bytes(b"x" * SIZE)
        os.utime(file, (stat.st_mtime, stat.st_mtime))
    elif fault == "link":
        file.rename(scene.folder / "moved")
        file.symlink_to(scene.folder / "moved")
    else:
        (scene.folder / "secret").write_bytes(b"x" * SIZE)

        def aside(session: Session) -> None:
            session.get_one(DumpCopy, 1).source_path = "../secret"

        await scene.world.db.write(aside)
    await scene.sweep()
    (item,) = await scene.items()
    assert item.state is ItemState.REFUSED
    if fault == "link":
        assert "a link is not deleted" in item.note
        assert (scene.folder / "moved").exists()
    else:
        assert scene.host.deletions() == []
    assert file.exists()
    assert (await scene.copies())[0].state is CopyState.VERIFIED


async def test_one_that_changes_after_the_look_is_refused_by_the_host_itself(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    await scene.dump()
    file = scene.host.file((await scene.copies())[0].source_path or "")
    scene.host.before_delete = lambda: os.utime(file, (1, 1))
    await scene.sweep()
    (item,) = await scene.items()
    assert item.state is ItemState.REFUSED
    assert "another file than was asked for" in item.note
    assert file.exists()


async def test_a_host_that_lets_nothing_be_deleted_is_told(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    await scene.dump()
    scene.host.may_delete = False
    run = await scene.sweep()
    (item,) = await scene.items()
    assert item.state is ItemState.REFUSED
    assert "a password is required" in item.note
    drawn = await scene.world.db.read(lambda s: draw("retention", s, run.id or 0))
    assert drawn is not None
    assert "a password is required" in str(drawn.blocks)


async def test_a_host_that_is_down_keeps_its_dumps_until_the_next_sweep(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    await scene.dump()
    await scene.host.stop()
    await scene.sweep()
    assert [state for *_, state in await scene.states()] == ["failed"]
    await scene.host.start()
    await scene.sweep()
    assert [state for *_, state in await scene.states()] == ["failed", "removed"]


async def test_gone_already_is_no_error(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    await scene.dump()
    scene.host.file((await scene.copies())[0].source_path or "").unlink()
    await scene.sweep()
    assert [state for *_, state in await scene.states()] == ["gone"]
    assert (await scene.desk.survey()).goes == []


async def test_a_dump_that_nobody_copied_stays_whatever_the_budget(make_scene: Make) -> None:
    scene: Scene = await make_scene(host_budget=1024**2)
    for _ in range(3):
        await scene.dump(copied=False, size=512 * KIB)
    await scene.sweep()
    assert await scene.states() == []
    whys = {d.why for d in (await scene.desk.survey()).decisions}
    assert whys == {"no verified copy of it is in central"}


async def test_the_copy_must_be_whole_in_the_store_before_the_host_is_asked(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    await scene.dump()
    folder = scene.central / (await scene.copies())[0].place.rsplit("/", 1)[1]  # type: ignore[union-attr]
    (folder / "vmcore.part-000002").unlink()
    await scene.sweep()
    (item,) = await scene.items()
    assert item.state is ItemState.KEPT
    assert "part 2 is not there" in item.note
    assert scene.host.deletions() == []


async def test_what_is_pinned_after_the_plan_stays(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    panic_id = await scene.dump()
    await scene.dump()
    await scene.stamped()
    run, _ = await scene.desk.begin("U0ADMIN")
    assert "pinned by <@U0ADMIN>" in await scene.say(f"pin P-{panic_id}")
    await scene.desk.work(run.id or 0)
    (item,) = await scene.items()
    assert (item.state, item.note) == (ItemState.KEPT, "kept: pinned")
    assert scene.host.deletions() == []


async def test_open_incidents_keep_their_dumps(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump(resolved=False)
    await scene.dump(resolved=False)
    await scene.sweep()
    scene.clock.forward(days=400)
    await scene.sweep()
    assert await scene.states() == []
    assert {d.why for d in (await scene.desk.survey()).decisions} == {"I-1 is open", "I-2 is open"}


async def aged(scene: Scene, days: float = 40) -> int:
    """A copy whose term is over. Returns its panic's id."""
    panic_id = await scene.dump()
    await scene.stamped()
    await scene.desk.note()
    scene.clock.forward(days=days)
    await scene.stamped()
    return panic_id


async def test_a_process_that_dies_between_claim_deletion_and_row_leaves_nothing_behind(
    make_scene: Make,
) -> None:
    scene: Scene = await make_scene()
    await aged(scene)
    await scene.dump()
    await aged(scene)
    run, _ = await scene.desk.begin("U0ADMIN")
    items = await scene.items()
    assert [i.place for i in items] == ["central", "central", "central", "local", "local"]

    def claimed(session: Session) -> None:
        """As `_claim` commits it."""
        for item in items:
            session.get_one(RetentionItem, item.id).state = ItemState.WORKING
            if item.place == "central":
                session.get_one(DumpCopy, item.key).state = CopyState.REMOVED
                ledger.care_of(session, item.key).begun_for = item.reason

    await scene.world.db.write(claimed)
    shutil.rmtree(scene.central / items[0].path.rsplit("/", 1)[1])  # deleted, and died before the row
    folder = scene.central / items[1].path.rsplit("/", 1)[1]
    (folder / "vmcore.part-000001").unlink()  # died over it
    scene.host.file(items[3].path).unlink()
    another = scene.another_desk()
    assert await another.work(run.id or 0)
    assert [i.state.value for i in await scene.items()] == ["gone", "removed", "removed", "gone", "removed"]
    assert scene.folders() == []
    assert (await scene.desk.survey()).goes == []
    assert len(await scene.audit("retention.central")) == 3
    assert not await another.work(run.id or 0), "it has ended"


async def test_a_store_that_is_away_keeps_a_removal_begun(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await aged(scene)
    scene.central.rename(scene.folder / "away")
    await scene.sweep()
    assert [state for *_, state in await scene.states()] == ["failed"]
    assert (await scene.copies())[0].state is CopyState.REMOVED
    (scene.folder / "away").rename(scene.central)
    (decision,) = [d for d in (await scene.desk.survey()).decisions if d.where == "central"]
    assert decision.why == "its removal was begun"
    await scene.sweep()
    assert [state for *_, state in await scene.states()] == ["failed", "removed"]
    assert scene.folders() == []


async def test_another_process_leaves_a_sweep_that_lives_and_takes_over_a_dead_one(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await aged(scene)
    run, _ = await scene.desk.begin("U0ADMIN")
    terminal = scene.another_desk(owner="terminal-1")
    assert not await terminal.work(run.id or 0)
    joined, already = await terminal.begin("U0KERNEL")
    assert (joined.id, already) == (run.id, True)
    scene.clock.forward(minutes=11)
    assert await terminal.work(run.id or 0)
    assert ("central", 1, "removed") in await scene.states()


async def test_parts_of_a_copy_that_was_taken_up_again_meanwhile_stay(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    panic_id = await scene.dump(copied=False)
    path, content = (await scene.desk.survey()).inventory.locals[0].path, scene.host.file("").parent
    assert content
    await scene.copy(panic_id, path, scene.host.file(path).read_bytes(), state=CopyState.FAILED)
    await scene.stamped()
    await scene.desk.note()
    scene.clock.forward(days=15)
    await scene.stamped()
    run, _ = await scene.desk.begin("U0ADMIN")
    (item,) = await scene.items()
    assert "parts of a copy that was not finished; 15 d old" in item.why

    def finished(session: Session) -> None:
        copy = session.get_one(DumpCopy, 1)
        copy.state, copy.verified_at = CopyState.VERIFIED, scene.clock.now

    await scene.world.db.write(finished)
    await scene.desk.work(run.id or 0)
    assert [state for *_, state in await scene.states()] == ["kept"]
    survey = await scene.desk.survey()
    assert survey.inventory.copies[0].since == scene.clock.now, "its term begins with its verification"


# -- the clock ------------------------------------------------------------------------------------------------


async def test_nothing_goes_by_age_while_slack_says_another_time(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.dump()
    await scene.stamped()
    await scene.desk.note()
    scene.clock.set_by(days=400)
    run, _ = await scene.desk.begin("U0ADMIN")
    await scene.desk.work(run.id or 0)
    assert await scene.states() == []
    (told,) = await scene.messages("retention:clock:")
    assert "removes nothing by its age" in (told.payload or {})["text"]
    assert "the clock is not certain" in (await scene.desk.survey()).decisions[0].why
    scene.clock.set_by(days=-400)
    scene.clock.forward(days=29)
    assert (await scene.desk.survey()).inventory.clock.trusted, "by the seconds that were counted"
    assert not (await scene.another_desk().survey()).inventory.clock.trusted, "a new process has counted none"
    scene.clock.forward(days=2)
    await scene.sweep()
    assert [state for *_, state in await scene.states()] == ["removed"]


async def test_the_sweep_by_the_clock_is_once_a_day_at_its_time(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    now = scene.clock.now
    scene.clock.now = now.replace(hour=3, minute=0, second=0)
    desk: RetentionDesk = scene.another_desk()
    next_at = await desk.next_at()
    assert next_at is not None
    assert next_at - scene.clock.now == timedelta(minutes=30)
    task = asyncio.create_task(desk.run())
    try:

        async def sweeps() -> list[RetentionRun]:
            from sqlmodel import select

            return await scene.world.db.read(lambda s: list(s.exec(select(RetentionRun))))

        assert await sweeps() == []
        scene.clock.forward(minutes=31)

        async def done(count: int) -> bool:
            found = await sweeps()
            return len(found) == count and all(r.slot is None for r in found)

        await until(lambda: done(1))
        next_at = await desk.next_at()
        assert next_at is not None
        assert next_at - scene.clock.now == timedelta(hours=23, minutes=59)
        scene.clock.forward(days=3)
        await until(lambda: done(2))
        assert all(r.scheduled for r in await sweeps())
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await scene.messages("retention:2") == [], "nothing happened: nobody is told"
    off = scene.another_desk(policy=RetentionConfig(enabled=False))
    assert await off.next_at() is None


async def test_a_sweep_asked_for_wakes_the_loop(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await aged(scene)
    task = asyncio.create_task(scene.desk.run())
    try:
        run, _ = await scene.desk.begin("U0ADMIN")

        async def ended() -> bool:
            found = await scene.world.db.read(lambda s: s.get_one(RetentionRun, run.id))
            return found.slot is None

        await until(ended)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert scene.folders() == []
    assert await scene.messages(f"retention:{run.id}")


# -- the budget -----------------------------------------------------------------------------------------------


async def test_a_full_store_refuses_and_tells_the_admins_once(make_scene: Make) -> None:
    scene: Scene = await make_scene(budget=2 * SIZE)
    await scene.dump()
    await scene.stamped()
    assert await scene.desk.ask_room(0, SIZE) is None
    told = await scene.desk.ask_room(0, SIZE + 1)
    assert told is not None
    assert told.endswith("and nothing in it may go.")
    await scene.desk.ask_room(0, 10 * SIZE)
    (message,) = await scene.messages("retention:full:")
    assert message.channel == "C0ADMINS"
    assert "the central store is full" in (message.payload or {})["text"]
    assert (
        await scene.another_desk(place=ledger.Place(scene.desk.place.url, None)).ask_room(0, 10**15)
    ) is None


async def test_what_may_go_goes_for_a_copy_that_needs_room(make_scene: Make) -> None:
    scene: Scene = await make_scene(budget=2 * SIZE)
    await scene.dump(copied=False)
    path = (await scene.desk.survey()).inventory.locals[0].path
    await scene.copy(1, path, scene.host.file(path).read_bytes(), state=CopyState.FAILED)
    await scene.dump()
    waiting = DumpCopy(
        panic_id=1, workflow_id="w", host="web-17", asked_by="U0ONCALL", size=SIZE, state=CopyState.WAITING
    )  # fmt: skip
    incoming = await scene.world.db.write(lambda s: (s.add(waiting), s.flush(), waiting.id)[2])
    # The panic's own copy is under way, so that it is in use: another panic's parts are what may go.
    await scene.world.db.write(lambda s: setattr(s.get_one(DumpCopy, incoming), "panic_id", 2))
    await scene.stamped()
    told = await scene.desk.ask_room(incoming or 0, SIZE)
    assert told is not None
    assert "a sweep makes room" in told
    run = await scene.world.db.read(runs.active)
    assert run is not None
    await scene.desk.work(run.id or 0)
    assert await scene.states() == [("central", 1, "removed")]
    assert await scene.desk.ask_room(incoming or 0, SIZE) is None


async def test_usage_counts_what_came_and_went(make_scene: Make) -> None:
    scene: Scene = await make_scene(budget=100 * SIZE)
    for _ in range(7):
        await scene.dump()
    usage = (await scene.desk.survey()).usage
    assert (usage.central.size, usage.central.count) == (7 * SIZE, 7)
    assert usage.growth == SIZE / 2
    assert usage.full_in == 93 * 2
    assert usage.central.by_host == (("web-17", 7 * SIZE),)
    assert usage.hosts.count == 7


async def test_a_copy_in_a_store_of_before_is_told(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await aged(scene)
    other = scene.another_desk(place=ledger.Place("file:///srv/new", None))
    (decision, *_) = (await other.survey()).decisions
    assert "another store" in decision.why
