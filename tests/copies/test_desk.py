"""Copies by a desk from a host over SSH to a directory: what comes of it in the store, in rows and in words."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import Any

import pytest

from commands.copies import rows
from commands.errors import NotFound
from commands.incident.parent import draw_incident
from storage import CopyState, DumpCopy, DumpState
from tests.copies.conftest import MIB, SIZE, Make, Scene, panic_of
from tests.copies.dumphost import dump_bytes
from tests.hosts.world import until


async def begin(scene: Scene, who: str = "U0ONCALL", key: str = "r1") -> DumpCopy:
    return await scene.desk.begin(scene.panic_id, who, key)


async def test_a_copy_is_in_parts_verified_and_told(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await begin(scene)
    copy = await scene.ended()
    content = scene.host.dump.read_bytes()
    assert copy.state is CopyState.VERIFIED, copy.error
    assert copy.sha256 == hashlib.sha256(content).hexdigest()
    assert copy.dump_state is DumpState.COMPLETE
    assert scene.stored() == content
    (folder,) = scene.central.iterdir()
    made = json.loads((folder / "manifest.json").read_text())
    assert (made["size"], made["sha256"], made["sha256_compared_on_host"]) == (SIZE, copy.sha256, True)
    assert [p["size"] for p in made["parts"]] == [MIB, MIB, MIB, 12345]
    for part in made["parts"]:
        assert hashlib.sha256((folder / part["name"]).read_bytes()).hexdigest() == part["sha256"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()} == {0o600}
    assert copy.place == folder.as_uri()
    assert scene.host.streams() == [(0, SIZE)]
    said = await scene.shown()
    assert "verified in central" in said
    assert copy.sha256 in said
    parent = await scene.world.db.read(lambda s: draw_incident(s, scene.incident_id))
    assert parent is not None
    assert "verified in central" in json.dumps(parent.blocks)
    asked = [a.subject for a in await scene.world.audit()]
    assert any(f"panicroom-host stream {scene.host.path} 0 {SIZE}" in subject for subject in asked)


async def test_a_cut_connection_costs_a_part_and_no_more(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    scene.host.cut_after = 2 * MIB + 300_000
    await begin(scene)
    copy = await scene.ended()
    assert copy.state is CopyState.VERIFIED, copy.error
    assert scene.stored() == scene.host.dump.read_bytes()
    first, second = scene.host.streams()
    assert first == (0, SIZE)
    assert second[0] in (MIB, 2 * MIB)  # the last whole part before the cut
    assert not list(scene.central.rglob(".unfinished-*"))


async def test_what_the_host_could_not_tell_of_its_dump_the_copy_does(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    scene.host.fails = {"head", "tail", "bytes"}
    scene.host.hold_at = MIB
    await begin(scene)
    await scene.host.held.wait()
    assert (await panic_of(scene)).dump_state is DumpState.UNVERIFIED
    scene.host.go.set()
    copy = await scene.ended()
    assert copy.state is CopyState.VERIFIED, copy.error
    panic = await panic_of(scene)
    assert panic.dump_state is DumpState.COMPLETE
    assert "read in its copy" in (panic.dump_note or "")


async def test_an_older_helper_gives_it_in_steps(make_scene: Make) -> None:
    scene: Scene = await make_scene(old=True)
    await begin(scene)
    copy = await scene.ended()
    assert copy.state is CopyState.VERIFIED, copy.error
    assert scene.stored() == scene.host.dump.read_bytes()
    assert "older one" in copy.note
    assert {c[0] for c in scene.host.calls} == {"list", "head", "tail", "stat", "bytes", "hash"}


async def test_a_dump_that_is_being_written_is_waited_for(make_scene: Make) -> None:
    whole = dump_bytes(SIZE)
    scene: Scene = await make_scene(content=whole[: 2 * MIB])
    at = 2 * MIB

    def write_on() -> None:
        """The host writes on between any two looks, however far apart they are."""
        nonlocal at
        with scene.host.dump.open("ab") as file:
            file.write(whole[at : at + 1000])
        at += 1000

    scene.host.at_stat = write_on
    await begin(scene)
    await scene.when(lambda c: "still being written" in c.note)
    assert "still being written" in await scene.shown()
    assert "next try" in await scene.shown()
    scene.host.at_stat = lambda: None
    with scene.host.dump.open("ab") as file:
        file.write(whole[at:])
    # It would be looked at again after a while: a person who cannot wait pauses and resumes.
    await scene.desk.pause(scene.panic_id, "U0ONCALL")
    await scene.desk.unpause(scene.panic_id, "U0ONCALL")
    copy = await scene.ended()
    assert copy.state is CopyState.VERIFIED, copy.error
    assert scene.stored() == whole


async def test_a_dump_that_vanishes_midway_is_told(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    scene.host.cut_after = 2 * MIB + 300_000
    scene.host.before_cut = scene.host.dump.unlink
    await begin(scene)
    copy = await scene.ended()
    assert copy.state is CopyState.FAILED
    assert "vanished midway" in (copy.error or "")
    assert not list(scene.central.rglob("manifest.json")), "a folder without a manifest is no copy"


async def test_a_dump_removed_during_one_stream_is_told(make_scene: Make) -> None:
    """The file was open, so all its bytes came; only its sha256 cannot be compared any more."""
    scene: Scene = await make_scene()
    scene.host.hold_at = 3 * MIB
    await begin(scene)
    await scene.host.held.wait()
    scene.host.dump.unlink()
    scene.host.go.set()
    copy = await scene.ended()
    assert copy.state is CopyState.VERIFIED, copy.error
    assert "removed from the host once all of it had come" in copy.note
    assert scene.stored() == dump_bytes(SIZE)


async def test_a_dump_that_changes_under_the_copy_is_copied_anew(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    scene.host.hold_at = 2 * MIB
    await begin(scene)
    await scene.host.held.wait()
    other = dump_bytes(SIZE, seed=2)
    scene.host.dump.write_bytes(other)
    scene.host.hold_at = None
    scene.host.go.set()
    copy = await scene.when(lambda c: "changed on the host" in c.note)
    await scene.desk.pause(scene.panic_id, "U0ONCALL")
    await scene.desk.unpause(scene.panic_id, "U0ONCALL")
    copy = await scene.ended()
    assert copy.state is CopyState.VERIFIED, copy.error
    assert scene.stored() == other


async def test_a_part_that_does_not_read_back_is_sent_again(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    scene.host.hold_at = 2 * MIB + MIB // 2
    await begin(scene)
    await scene.host.held.wait()

    async def first_part() -> bool:
        return len(await scene.parts()) >= 2

    await until(first_part)
    (damaged,) = scene.central.rglob("vmcore.part-000001")
    body = bytearray(damaged.read_bytes())
    body[1000] ^= 1
    damaged.write_bytes(body)
    scene.host.hold_at = None
    scene.host.go.set()
    copy = await scene.ended()
    assert copy.state is CopyState.VERIFIED, copy.error
    assert scene.stored() == scene.host.dump.read_bytes()
    assert scene.host.streams() == [(0, SIZE), (0, SIZE)]


async def test_another_sha256_on_the_host_is_no_copy(make_scene: Make) -> None:
    scene: Scene = await make_scene()

    async def once() -> str | None:
        return "0" * 64 if scene.host.hashes == 1 else None

    scene.host.before_hash = once
    await begin(scene)
    copy = await scene.when(lambda c: "otherwise than it sent it" in c.note)
    assert copy.state is CopyState.WAITING
    await scene.desk.pause(scene.panic_id, "U0ONCALL")
    await scene.desk.unpause(scene.panic_id, "U0ONCALL")
    copy = await scene.ended()
    assert copy.state is CopyState.VERIFIED, copy.error
    assert len(scene.host.streams()) == 2


async def test_two_people_get_one_copy_and_both_are_told(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    scene.host.hold_at = MIB
    first = await begin(scene)
    await scene.host.held.wait()
    with pytest.raises(rows.UnderWayAlready) as told:
        await begin(scene, "U0KERNEL", "r2")
    assert told.value.copy_id == first.id
    again = await begin(scene)  # the first one's request, worked on again after a restart
    assert again.id == first.id
    assert "<@U0KERNEL>" in json.dumps(await _blocks(scene))
    scene.host.go.set()
    assert (await scene.ended()).state is CopyState.VERIFIED
    assert scene.host.streams() == [(0, SIZE)]
    with pytest.raises(rows.CopiedAlready):
        await begin(scene, "U0KERNEL", "r3")


async def _blocks(scene: Scene) -> list[dict[str, Any]]:
    from commands.copies.blocks import copy_message

    copy = await scene.copy()
    assert copy is not None
    return copy_message(copy, await panic_of(scene)).blocks


async def test_pause_goes_on_at_the_part(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    scene.host.hold_at = 2 * MIB + MIB // 2
    await begin(scene)
    await scene.host.held.wait()

    async def two_parts() -> bool:
        return len(await scene.parts()) == 2

    await until(two_parts)
    await scene.desk.pause(scene.panic_id, "U0KERNEL")
    assert "paused by <@U0KERNEL>" in await scene.shown()
    actions = (await _blocks(scene))[-1]
    assert [e["text"]["text"] for e in actions["elements"]] == ["Resume", "Cancel"]
    assert await scene.desk.resume() == 0, "a restart leaves a paused copy alone"
    scene.host.hold_at = None
    scene.host.go.set()
    await scene.desk.unpause(scene.panic_id, "U0KERNEL")
    copy = await scene.ended()
    assert copy.state is CopyState.VERIFIED, copy.error
    assert scene.stored() == scene.host.dump.read_bytes()
    assert scene.host.streams() == [(0, SIZE), (2 * MIB, SIZE - 2 * MIB)]


async def test_cancel_removes_what_had_come(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    scene.host.hold_at = 2 * MIB + MIB // 2
    await begin(scene)
    await scene.host.held.wait()

    async def two_parts() -> bool:
        return len(await scene.parts()) == 2

    await until(two_parts)
    await scene.desk.cancel(scene.panic_id, "U0ONCALL")
    scene.host.go.set()
    assert (await scene.ended()).state is CopyState.CANCELLED

    async def empty() -> bool:
        return not list(scene.central.iterdir()) and not await scene.parts()

    await until(empty)
    with pytest.raises(NotFound):
        await scene.desk.cancel(scene.panic_id, "U0ONCALL")
    scene.host.hold_at = None
    await begin(scene, key="again")
    assert (await scene.ended()).state is CopyState.VERIFIED


async def test_a_budget_makes_it_wait_until_there_is_room(make_scene: Make) -> None:
    scene: Scene = await make_scene(config={"budget": SIZE + MIB})
    other = DumpCopy(
        panic_id=scene.panic_id, workflow_id="copy:other:1", host="x", asked_by="U0ONCALL", size=2 * MIB,
        state=CopyState.VERIFIED,
    )  # fmt: skip
    other_id = await scene.world.db.write(lambda s: (s.add(other), s.flush(), other.id)[2])
    panic_id, _ = await scene.world.panic(scene.host.name, occurred_at=(await panic_of(scene)).occurred_at)
    scene.panic_id = panic_id
    await begin(scene)
    copy = await scene.when(lambda c: c.note)
    assert "its budget is" in copy.note
    assert copy.state is CopyState.WAITING
    assert scene.host.streams() == []

    def free(session: Any) -> None:
        session.delete(session.get_one(DumpCopy, other_id))

    await scene.world.db.write(free)
    assert (await scene.ended()).state is CopyState.VERIFIED


async def test_a_store_without_room_is_told_before_a_byte_is_sent(make_scene: Make) -> None:
    scene: Scene = await make_scene(config={"keep_free": 10**18})
    await begin(scene)
    copy = await scene.when(lambda c: c.note)
    assert "no room" in copy.note
    assert scene.host.streams() == []


async def test_a_mount_that_is_missing_is_told(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    scene.central.rmdir()
    await begin(scene)
    copy = await scene.ended()
    assert copy.state is CopyState.FAILED
    assert "is it mounted?" in (copy.error or "")
    scene.central.mkdir()
    await begin(scene, key="r2")
    assert (await scene.when(lambda c: c.state is CopyState.VERIFIED)).error is None


async def test_a_host_that_is_down_is_waited_for(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    await scene.host.stop()
    await begin(scene)
    copy = await scene.when(lambda c: c.attempts >= 2)
    assert "does not answer" in copy.note
    assert "next try" in await scene.shown()
    await scene.host.start()
    assert (await scene.ended()).state is CopyState.VERIFIED


async def test_a_host_that_stays_down_is_given_up(make_scene: Make) -> None:
    patience = {"first": 0.02, "longest": 0.02, "give_up_after": 0.2}
    scene: Scene = await make_scene(config={"patience": patience})
    await scene.host.stop()
    await begin(scene)
    copy = await scene.ended()
    assert copy.state is CopyState.FAILED
    assert "given up" in (copy.error or "")


async def test_a_changed_host_key_is_refused(make_scene: Make) -> None:
    scene: Scene = await make_scene()
    (scene.folder / "known_hosts").write_text("")
    await begin(scene)
    copy = await scene.ended()
    assert copy.state is CopyState.FAILED
    assert "SHA256:" in (copy.error or "")
    assert scene.host.calls == []


@pytest.mark.parametrize(("size", "words"), [(0, "0 bytes"), (None, "no dump")])
async def test_what_cannot_be_copied_is_told(make_scene: Make, size: int | None, words: str) -> None:
    from datetime import timedelta

    scene: Scene = await make_scene()
    at = (await panic_of(scene)).occurred_at - timedelta(hours=1)
    if size is None:
        scene.host.dump.unlink()
    else:
        scene.host.dump.write_bytes(b"")
        os.utime(scene.host.dump, (at.timestamp() + 60,) * 2)

    def earlier(session: Any) -> None:
        from storage import Panic

        session.get_one(Panic, scene.panic_id).occurred_at = at

    await scene.world.db.write(earlier)
    await begin(scene)
    copy = await scene.ended()
    assert copy.state is CopyState.FAILED
    assert words in (copy.error or "")


async def test_a_critical_host_is_copied_without_asking(make_scene: Make) -> None:
    collected: list[tuple[int, str, str]] = []

    async def collect(panic_id: int, asked_by: str, key: str) -> None:
        collected.append((panic_id, asked_by, key))

    scene: Scene = await make_scene(criticality="critical", collect=collect)
    await scene.desk.on_panic(scene.panic_id)
    await scene.desk.on_panic(scene.panic_id)  # another witness of it
    assert (await scene.ended()).state is CopyState.VERIFIED
    assert collected == [(scene.panic_id, "panicroom", f"critical:{scene.panic_id}")]
    assert scene.host.streams() == [(0, SIZE)]
    assert "because the host is critical" in json.dumps(await _blocks(scene))


async def test_a_critical_panic_whose_hook_a_crash_swallowed_is_found_at_the_next_start(
    make_scene: Make,
) -> None:
    scene: Scene = await make_scene(criticality="critical")
    await scene.desk.resume()
    assert (await scene.ended()).state is CopyState.VERIFIED


async def test_critical_hosts_can_be_left_alone(make_scene: Make) -> None:
    scene: Scene = await make_scene(criticality="critical", config={"critical": False})
    await scene.desk.on_panic(scene.panic_id)
    assert await scene.copy() is None


async def test_copies_wait_for_their_turn(make_scene: Make) -> None:
    scene: Scene = await make_scene(config={"concurrency": 1})
    scene.host.hold_at = MIB
    await begin(scene)
    await scene.host.held.wait()
    other, _ = await scene.world.panic(scene.host.name, occurred_at=(await panic_of(scene)).occurred_at)
    first, scene.panic_id = scene.panic_id, other
    await begin(scene, key="r2")
    copy = await scene.when(lambda c: c.note)
    assert copy.note == "waits for its turn: 1 before it"
    scene.host.hold_at = None
    scene.host.go.set()
    await scene.ended()
    scene.panic_id = first
    assert (await scene.ended()).state is CopyState.VERIFIED


async def test_no_store_is_told(make_scene: Make) -> None:
    from commands.copies.desk import NoStore

    scene: Scene = await make_scene()
    scene.desk.store = None
    with pytest.raises(NoStore, match="central"):
        await begin(scene)
