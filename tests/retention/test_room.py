"""The copies' budget, joined to the plan: what the store refuses, what it makes room for, who is told."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session, select

from commands.copies.slack import register as register_copies
from commands.retention.desk import RetentionDesk
from commands.retention.ledger import Place
from commands.retention.policy import RetentionConfig
from commands.router import Router
from storage import CopyState, DumpCopy, DumpPart, IncidentState, RetentionRun, SlackMessage, utc_now
from storage.tables import Incident
from tests.copies.conftest import SIZE, Make, Scene, make_scene  # noqa: F401 - the fixture
from tests.hosts.world import until

pytestmark = pytest.mark.timeout(120)


def joined(scene: Scene, budget: int) -> RetentionDesk:
    desk = RetentionDesk(
        scene.world.context, scene.world.visits, scene.desk.store, RetentionConfig(scrub=0),
        Place(scene.central.as_uri(), budget), channel="C0ADMINS", tick=0.05,
    )  # fmt: skip
    scene.desk.room.ask = desk.ask_room
    scene.desk.on_verified.append(desk.on_verified)
    return desk


def another(scene: Scene, **columns: Any) -> DumpCopy:
    base = {
        "panic_id": scene.panic_id, "workflow_id": f"copy:{columns}", "host": "db-3", "asked_by": "U0ONCALL",
        "place": f"{scene.central.as_uri()}/P-9-db-3-abc", "size": SIZE, "state": CopyState.VERIFIED,
        "sha256": "0" * 64,
        "verified_at": utc_now(), "finished_at": utc_now(),
    }  # fmt: skip
    return DumpCopy(**{**base, **columns})


async def test_a_person_is_refused_and_the_dump_stays(make_scene: Make) -> None:  # noqa: F811
    scene: Scene = await make_scene()
    desk = joined(scene, SIZE)
    other, _ = await scene.world.panic("db-3")
    await scene.world.db.write(lambda s: s.add(another(scene, panic_id=other)))
    router = Router(scene.world.db, scene.world.context.access)
    register_copies(router, scene.desk)

    def sized(session: Session) -> None:
        from storage import Panic

        session.get_one(Panic, scene.panic_id).dump_size = SIZE

    await scene.world.db.write(sized)
    await router.command_line(scene.world.ask(text=f"copy P-{scene.panic_id}"))
    told = scene.world.replies[-1][0]
    assert "nothing in it may go" in told
    assert "stays on its host" in told
    assert await scene.copy() is None
    assert scene.host.calls == []
    found = await scene.world.db.read(
        lambda s: list(s.exec(select(SlackMessage).where(SlackMessage.channel == "C0ADMINS")))
    )
    assert ["the central store is full" in (m.payload or {})["text"] for m in found] == [True]
    await desk.close()


async def test_a_copy_that_waits_for_room_goes_on_when_a_sweep_made_it(make_scene: Make) -> None:  # noqa: F811
    scene: Scene = await make_scene()
    desk = joined(scene, SIZE + 1000)
    other, incident = await scene.world.panic("db-3")
    parts = another(scene, panic_id=other, state=CopyState.FAILED, verified_at=None, sha256=None)

    def write(session: Session) -> None:
        session.get_one(Incident, incident).state = IncidentState.OPEN
        session.add(parts)
        session.flush()
        session.add(DumpPart(copy_id=parts.id or 0, number=1, size=SIZE, sha256="0" * 64))

    await scene.world.db.write(write)
    await scene.desk.begin(scene.panic_id, "U0ONCALL", "r1")
    copy = await scene.when(lambda c: "nothing in it may go" in c.note)
    assert copy.state is CopyState.WAITING
    assert scene.host.streams() == []

    def resolve(session: Session) -> None:
        session.get_one(Incident, incident).state = IncidentState.RESOLVED

    await scene.world.db.write(resolve)

    async def begun() -> RetentionRun | None:
        return await scene.world.db.read(lambda s: s.exec(select(RetentionRun)).first())

    run = await until(begun)
    assert not run.scrub
    assert await desk.work(run.id)
    copy = await scene.ended()
    assert copy.state is CopyState.VERIFIED, copy.error
    await desk.close()


async def test_a_verified_copy_has_its_term_from_then_on(make_scene: Make) -> None:  # noqa: F811
    from storage import CopyCare

    scene: Scene = await make_scene()
    desk = joined(scene, 10 * SIZE)
    ts = f"{utc_now().timestamp():.6f}"
    await scene.world.db.write(lambda s: s.add(SlackMessage(key="m", channel="C0", ts=ts)))
    await scene.desk.begin(scene.panic_id, "U0ONCALL", "r1")
    copy = await scene.ended()

    async def noted() -> CopyCare | None:
        return await scene.world.db.read(lambda s: s.get(CopyCare, copy.id))

    care = await until(noted)
    assert care.verified
    await desk.close()
