"""Two admins, a dry run, and what forbids an erasure."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlmodel import Session, select

from commands.access import Access, AccessConfig
from commands.incident.rendering import draw
from commands.retention.pins import HOLD, pin
from storage import (
    AuditEntry,
    CopyState,
    DumpCopy,
    Erasure,
    ErasureState,
    Incident,
    IncidentState,
    Panic,
    RunbookRun,
    RunState,
    SweepRun,
    utc_now,
)  # fmt: skip
from tests.forget.conftest import HOST, PLANTED, Scene

pytestmark = pytest.mark.timeout(150)


async def erasures(scene: Scene) -> list[Erasure]:
    return await scene.bot.rows(Erasure)


async def test_the_dry_run_says_what_would_go_and_does_nothing(scene: Scene) -> None:
    panic_id = await scene.planted()
    said = await scene.say(f"forget {HOST.upper()}")
    for part in (
        "Nothing was done yet", "1 panic", "2 reports as they came in", "1 copy of a dump in central", "in Slack",
        f"pinned: P-{panic_id}", "comments and links at the tracker: OPS-7", "Ask for the erasure", "backups",
    ):  # fmt: skip
        assert part in said
    assert PLANTED not in said
    assert await erasures(scene) == []
    assert (await scene.bot.row(Panic, panic_id)).host == HOST


async def test_it_takes_two_admins(scene: Scene) -> None:
    await scene.planted()
    found, _, _ = await scene.desk.survey(HOST)
    value = json.dumps({"host": HOST, "mark": found.mark})
    assert "needs the role *admin*" in await scene.say(f"forget {HOST}", user="U0ONCALL")
    assert "needs the role *admin*" in await scene.press("forget.ask", value, user="U0ONCALL")
    assert "Another admin has to confirm it" in await scene.press("forget.ask", value, user="U0ADMIN")
    assert "was asked for already" in await scene.press("forget.ask", value)
    assert "needs the role *admin*" in await scene.press("forget.confirm", "1", user="U0ONCALL")
    assert "an erasure needs two admins" in await scene.press("forget.confirm", "1", user="U0ADMIN")
    assert (await scene.row(1)).state is ErasureState.ASKED
    assert "confirmed by <@U0SECOND>" in await scene.press("forget.confirm", "1")
    assert (await scene.row(1)).state is ErasureState.CONFIRMED
    assert "is confirmed already" in await scene.press("forget.confirm", "1")
    refused = await scene.bot.db.read(
        lambda s: list(s.exec(select(AuditEntry).where(AuditEntry.outcome == "refused")))
    )
    assert len(refused) == 4


async def test_who_asked_has_to_be_an_admin_still(scene: Scene) -> None:
    await scene.planted()
    erasure_id = await scene.ask()
    scene.bot.context.access = scene.router.access = Access(
        AccessConfig(everyone="responder", admins=("U0SECOND",)), scene.bot.slack.members_of
    )
    assert "is no admin any more" in await scene.press("forget.confirm", str(erasure_id))
    assert (await scene.row(erasure_id)).state is ErasureState.ASKED


async def test_it_expires_and_can_be_cancelled(scene: Scene) -> None:
    await scene.planted()
    await scene.ask()
    assert "nothing was erased" in await scene.press("forget.cancel", "1", user="U0ADMIN")
    assert "is cancelled already" in await scene.press("forget.confirm", "1")
    await scene.ask()
    scene.bot.clock.forward(hours=25)
    assert "nobody confirmed this erasure within 24 h" in await scene.press("forget.confirm", "2")
    await scene.ask()  # the one that is over stands in nobody's way
    assert [e.state.value for e in await erasures(scene)] == ["cancelled", "expired", "asked"]
    drawn = await scene.bot.db.read(lambda s: draw("erasure", s, 2))
    assert drawn is not None
    assert "nobody confirmed it within 24 h" in str(drawn.blocks)


async def test_what_is_confirmed_is_what_was_shown(scene: Scene) -> None:
    await scene.planted()
    erasure_id = await scene.ask()
    await scene.crash(function="xfs_write")
    await scene.resolve()
    assert "is not what it was when it was asked for" in await scene.press("forget.confirm", str(erasure_id))
    assert (await scene.row(erasure_id)).summary["panics"] == 2
    assert "confirmed by" in await scene.press("forget.confirm", str(erasure_id))


@pytest.mark.parametrize(
    ("obstacle", "words"),
    [
        ("open", "I-1 is open: resolve it first"),
        ("merged", "I-2 is open: resolve it first"),
        ("held", "P-1 is on legal hold (a case)"),
        ("run", "triage of P-1 is under way"),
        ("copying", "the dump of P-1 is being copied"),
        ("sweep", "a sweep is under way"),
    ],
)
async def test_what_forbids_it(scene: Scene, obstacle: str, words: str) -> None:
    panic_id = await scene.crash()
    await scene.resolve()
    asked = await scene.ask()

    def put(session: Session) -> None:
        panic, incident = session.get_one(Panic, panic_id), session.get_one(Incident, 1)
        if obstacle == "open":
            incident.state = IncidentState.ACKNOWLEDGED
        elif obstacle == "merged":
            into = Incident(signature_key="s", title="t", channel="C")
            session.add(into)
            session.flush()
            incident.state, incident.merged_into_id = IncidentState.MERGED, into.id
        elif obstacle == "held":
            pin(session, panic, kind=HOLD, by="U0ADMIN", reason="a case", until=None, now=utc_now())
        elif obstacle == "run":
            session.add(RunbookRun(panic_id=panic_id, workflow_id="w", asked_by="x", state=RunState.RUNNING))
        elif obstacle == "copying":
            session.add(
                DumpCopy(panic_id=panic_id, workflow_id="w", host=HOST, asked_by="x", state=CopyState.COPYING)
            )
        else:
            session.add(SweepRun(slot=1, asked_by="x"))

    await scene.bot.db.write(put)
    said = await scene.say(f"forget {HOST}")
    assert words in said
    assert "It cannot be done now" in said
    assert "Ask for the erasure" not in said
    assert words in await scene.press("forget.confirm", str(asked))
    assert (await scene.row(asked)).state is ErasureState.ASKED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("forget", "with the host's whole name"),
        ("forget a b", "with the host's whole name"),
        ("forget kdb", "nothing is known"),
    ],
)
async def test_what_cannot_be_understood(scene: Scene, text: str, words: str) -> None:
    await scene.crash()
    assert words in await scene.say(text)


async def test_a_hold_that_comes_after_the_word_is_waited_for(scene: Scene) -> None:
    panic_id = await scene.planted()
    erasure_id = await scene.ask()
    await scene.desk.confirm(erasure_id, by="U0SECOND", request_id="c")
    await scene.bot.db.write(
        lambda s: pin(
            s, s.get_one(Panic, panic_id), kind=HOLD, by="U0ADMIN", reason="late", until=None, now=utc_now()
        )
    )
    await scene.desk.work(erasure_id)
    row = await scene.row(erasure_id)
    assert "legal hold (late)" in row.note
    assert row.next_at is not None
    assert row.next_at > utc_now() + timedelta(minutes=1)
    assert (await scene.bot.row(Panic, panic_id)).text != ""
    assert "nothing was erased" in await scene.press("forget.cancel", str(erasure_id))
