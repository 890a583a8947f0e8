"""People correct the bot: each correction is audited, told in the threads, and can be taken back."""

from __future__ import annotations

from datetime import timedelta

from bot.demo.workspace.testing import RunningWorkspace
from storage import Correction, IncidentState, Panic
from tests.incident.floor import Floor
from tests.incident.texts import deliberate, oops


async def test_merge_moves_all_panics_and_undo_brings_them_back(bot: Floor, ws: RunningWorkspace) -> None:
    await bot.report("web-1", oops())
    await bot.report("web-2", oops("ext4_writepages"))
    await bot.say("ack I-2")
    before = await bot.who_is_where()
    assert await bot.say("merge I-2 I-1", user="U0ADMIN") == "I-2 is merged into I-1."
    assert set((await bot.who_is_where()).values()) == {1}
    bot.printer.wake()
    moved = await ws.message("I-2 is empty.")
    await ws.reply(moved, "merged I-2 into I-1")
    assert await bot.say("undo I-2", user="U0ADMIN") == ":rewind: undid the merge of I-2 into I-1."
    assert await bot.who_is_where() == before
    second = await bot.incident(2)
    assert (second.state, second.merged_into_id) == (IncidentState.ACKNOWLEDGED, None)
    bot.printer.wake()
    await ws.message("web-2 panicked: NULL pointer dereference in ext4_writepages")
    assert [(a[0], a[1], a[3]) for a in await bot.audits()][-2:] == [
        ("U0ADMIN", "merge", "done"),
        ("U0ADMIN", "undo", "done"),
    ]
    (correction,) = await bot.rows(Correction)
    assert (correction.actor, correction.undone_by) == ("U0ADMIN", "U0ADMIN")


async def test_split_gives_a_thread_of_its_own_and_undo_brings_it_back(
    bot: Floor, ws: RunningWorkspace
) -> None:
    await bot.report("web-1", oops())
    await bot.report("web-2", oops(uptime=10.0))
    before = await bot.who_is_where()
    assert "thread of its own: I-2" in await bot.say("split P-2")
    assert await bot.who_is_where() == {1: 1, 2: 2}
    bot.printer.wake()
    fresh = await ws.message("web-2 panicked")
    await ws.reply(fresh, "P-2 · web-2")
    assert "alone" in await bot.say("split P-2")
    await bot.say("undo I-2")
    assert await bot.who_is_where() == before
    assert (await bot.incident(2)).merged_into_id == 1


async def test_reclassify_names_the_kind_moves_the_panic_and_is_not_overruled(
    bot: Floor, ws: RunningWorkspace
) -> None:
    died = bot.clock()
    await bot.report("web-1", occurred_at=died)
    before = await bot.row(Panic, 1)
    assert "P-1 is now kernel_bug" in await bot.say("reclassify P-1 kernel_bug kernel BUG in ext4_writepages")
    corrected = await bot.row(Panic, 1)
    assert (corrected.kind, corrected.title) == ("kernel_bug", "kernel BUG in ext4_writepages")
    bot.printer.wake()
    await ws.message("web-1 panicked: kernel BUG in ext4_writepages")
    await bot.report("web-1", oops(), occurred_at=died)
    assert (await bot.row(Panic, 1)).title == "kernel BUG in ext4_writepages"
    await bot.say("undo I-1")
    after = await bot.row(Panic, 1)
    assert (after.kind, after.title, after.signature_key) == (before.kind, before.title, before.signature_key)
    assert not after.reclassified


async def test_a_deliberate_crash_that_was_none_may_share_again(quiet: Floor) -> None:
    await quiet.report("web-1", deliberate())
    await quiet.say("reclassify P-1 null_deref a real one")
    assert not (await quiet.row(Panic, 1)).deliberate
    await quiet.say("undo I-1")
    assert (await quiet.row(Panic, 1)).deliberate


async def test_reclassify_out_of_a_wave_and_back_leaves_the_wave_whole(quiet: Floor) -> None:
    for n in range(6):
        await quiet.report(f"web-{n}", occurred_at=quiet.clock() - timedelta(seconds=n))
    wave = (await quiet.row(Panic, 1)).incident_id or 0
    before = await quiet.who_is_where()
    title = (await quiet.incident(wave)).title
    await quiet.say("reclassify P-1 null_deref lost pointer")
    moved = (await quiet.row(Panic, 1)).incident_id
    assert moved != wave
    await quiet.say(f"undo I-{moved}")
    assert await quiet.who_is_where() == before
    state = await quiet.incident(wave)
    assert (state.wave, state.title, state.state) == (True, title, IncidentState.OPEN)


async def test_a_correction_of_the_same_panics_is_undone_newest_first(quiet: Floor) -> None:
    await quiet.report("web-1", oops())
    await quiet.report("web-2", oops(uptime=10.0))
    await quiet.report("web-3", oops("other"))
    await quiet.say("split P-2")  # to I-3
    await quiet.say("merge I-3 I-2")
    answer = await quiet.say("undo I-1")
    assert "corrected again later (merge)" in answer
    assert "/panic undo I-2" in answer
    await quiet.say("undo I-2")
    await quiet.say("undo I-3")
    assert await quiet.who_is_where() == {1: 1, 2: 1, 3: 2}
    assert "no correction" in await quiet.say("undo I-1")


async def test_what_cannot_be_corrected_says_why(quiet: Floor) -> None:
    await quiet.report("web-1", oops())
    await quiet.report("web-2", oops("other"))
    assert "into itself" in await quiet.say("merge I-1 I-1")
    await quiet.say("resolve I-2 cause: x")
    assert "Reopen it first" in await quiet.say("merge I-1 I-2")
    assert "no kind of crash" in await quiet.say("reclassify P-1 gremlins")
    assert "there is no panic P-99" in await quiet.say("split P-99")
    outcomes = {a[3] for a in await quiet.audits() if a[1] in ("merge", "reclassify", "split")}
    assert outcomes == {"failed"}
