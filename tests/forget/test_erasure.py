"""A host is forgotten: nothing of it stands on the disk, in the tables or in Slack, and its panics still count."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlmodel import Session, select

from storage import AuditEntry, ErasureState, Panic
from storage.rollups import panic_tally
from tests.forget.conftest import HOST, OTHER, PLANTED, Scene

pytestmark = pytest.mark.timeout(150)


async def test_nothing_of_the_host_is_left(scene: Scene) -> None:
    panic_id = await scene.planted()
    other = await scene.crash(OTHER, "ext4_write")
    await scene.resolve()
    await scene.quiet()
    assert HOST in scene.seen()
    assert PLANTED.lower() in scene.seen()
    shown = json.dumps(await scene.ws.history()) + json.dumps(await scene.ws.history("C0ADMINS"))
    assert f"look at `{HOST}`" in shown

    erasure_id = await scene.ask()
    await scene.desk.confirm(erasure_id, by="U0SECOND", request_id="c1")
    row = await scene.over(erasure_id)
    assert row.state is ErasureState.DONE
    assert row.record["unreached"] == []
    await scene.quiet()

    seen = scene.seen().replace(OTHER, "another")
    assert PLANTED.lower() not in seen
    assert HOST not in seen
    assert f"erased-host-{erasure_id}" in seen
    left = await scene.bot.row(Panic, panic_id)
    assert (left.host, left.text, left.frames) == (f"erased-host-{erasure_id}", "", [])
    assert (await scene.bot.row(Panic, other)).host == OTHER

    parents = await scene.ws.history()
    replies = [await scene.ws.replies(parent) for parent in parents]
    shown = (
        json.dumps([parents, replies, await scene.ws.history("C0ADMINS")]).lower().replace(OTHER, "another")
    )
    assert PLANTED.lower() not in shown
    assert HOST not in shown
    assert "erased: what stood here was of a host" in shown
    assert "<@u0admin> and <@u0second>: the erasure is done" in shown
    assert {f"triage:P-{panic_id}:abc", f"copy:P-{panic_id}:abcdef"} <= set(scene.workflows)
    assert scene.compacted == ["more"]
    (told,) = await scene.bot.db.read(
        lambda s: list(s.exec(select(AuditEntry).where(AuditEntry.verb == "forget.done")))
    )
    assert "OPS-7" in told.detail
    assert "the host's own disk" in told.detail
    assert "asked by U0ADMIN, confirmed by U0SECOND" in told.detail


async def test_the_panics_still_count(scene: Scene) -> None:
    panic_id = await scene.planted()
    key = (await scene.bot.row(Panic, panic_id)).signature_key

    def counted(session: Session) -> list[int]:
        t = panic_tally.c
        query = select(t.panics).where(t.cut == "signature", t.grain == "day", t.value == key)
        return list(session.exec(query))

    assert await scene.bot.db.read(counted) == [1]
    erasure_id = await scene.ask()
    await scene.desk.confirm(erasure_id, by="U0SECOND", request_id="c1")
    await scene.over(erasure_id)
    assert await scene.bot.db.read(counted) == [1]


async def test_the_loop_carries_it_out_by_itself(scene: Scene) -> None:
    await scene.planted()
    erasure_id = await scene.ask()
    task = asyncio.create_task(scene.desk.run())
    try:
        await scene.desk.confirm(erasure_id, by="U0SECOND", request_id="c1")
        await scene.ws.message("the erasure is done", channel="C0ADMINS", timeout=45)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (await scene.row(erasure_id)).state is ErasureState.DONE
