"""Stored reports become panics; the ones that cannot be read are in nobody's way."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session

from bot.demo.workspace.testing import RunningWorkspace
from commands.access import AccessConfig
from commands.intake.config import IntakeConfig
from commands.intake.reading import read_report
from commands.inventory import HostEntry
from storage import Artefact, Host, Panic, Report, ReportState, Signature, SlackMessage, utc_now
from tests.incident.floor import Floor, floor, until
from tests.incident.texts import oops

POISON = {"dump": {"path": "/var/crash", "size": 1 << 62, "complete": True}, "kernel": "\ud800"}


async def test_a_poisoned_report_is_parked_and_the_others_go_on(bot: Floor, ws: RunningWorkspace) -> None:
    poisoned = await bot.store("web-1", oops(), **POISON)
    good = await bot.store("web-2", oops())
    await bot.intake.drain()
    assert (await bot.row(Report, good)).state is ReportState.DONE
    for attempt in (1, 2):
        row = await bot.row(Report, poisoned)
        assert (row.state, row.attempts) == (ReportState.NEW, attempt)
        assert await bot.intake.drain() == 0  # not before its pause is over
        bot.clock.forward(seconds=11)
        assert await bot.intake.drain() == 1
    row = await bot.row(Report, poisoned)
    assert (row.state, row.attempts) == (ReportState.PARKED, 3)
    assert "UnicodeEncodeError" in (row.error or "")
    bot.clock.forward(hours=1)
    assert await bot.intake.drain() == 0
    bot.printer.wake()
    await ws.message(f"Report R-{poisoned} of web-1 could not be read", channel="C0ADMINS")


async def test_max_attempts_is_configured(tmp_path: Path) -> None:
    async with floor(tmp_path, intake=IntakeConfig(max_attempts=1)) as bot:
        poisoned = await bot.store("web-1", oops(), **POISON)
        await bot.intake.drain()
        assert (await bot.row(Report, poisoned)).state is ReportState.PARKED


async def test_reports_committed_before_a_crash_are_read_by_the_next_process(quiet: Floor) -> None:
    numbers = [await quiet.store(f"web-{n}", oops(f"f{n}")) for n in range(3)]
    task = asyncio.create_task(quiet.intake.run())

    async def all_read() -> bool:
        return all(r.state is ReportState.DONE for r in await quiet.rows(Report))

    await until(all_read)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(numbers) == len(await quiet.rows(Panic)) == 3


async def test_hooks_hear_of_new_panics_and_not_of_witnesses_and_may_fail(quiet: Floor) -> None:
    heard: list[int] = []

    async def hook(panic_id: int) -> None:
        heard.append(panic_id)
        raise RuntimeError("the tracker is down")

    quiet.context.on_panic.append(hook)
    died = quiet.clock()
    await quiet.report("web-1", "", occurred_at=died)
    await quiet.report("web-1", "", occurred_at=died)
    await quiet.report("web-2", oops(), occurred_at=died)

    async def both() -> bool:
        return heard == [1, 2]

    await until(both)


async def test_the_inventory_says_who_the_host_is(tmp_path: Path) -> None:
    entry = HostEntry(name="web-*", ring="prod-2", hardware="R640", owner="web", criticality="critical")
    async with floor(tmp_path, hosts=(entry,)) as bot:
        panic = await bot.report("WEB-1", oops())
        assert (panic.host, panic.ring, panic.hardware, panic.owner) == ("web-1", "prod-2", "R640", "web")
        (host,) = await bot.rows(Host)
        assert (host.name, host.in_inventory, host.criticality) == ("web-1", True, "critical")
        signature = await bot.db.read(lambda s: s.get(Signature, panic.signature_key))
        assert signature is not None


async def test_the_whole_text_is_kept_and_a_redacted_copy_uploaded(bot: Floor, ws: RunningWorkspace) -> None:
    text = oops() + "\n[ 5001.000000] the password is hunter2"
    panic = await bot.report("web-1", text)
    bot.printer.wake()
    parent = await ws.message("web-1 panicked")
    reply = await ws.reply(parent, "P-1: the whole text, 17 lines")
    (file,) = reply["files"]
    assert file["name"] == "P-1-dmesg.txt"
    assert b"[redacted]" in await ws.download(file)
    (kept,) = await bot.rows(Artefact)
    assert (bot.context.store_dir / kept.path).read_text() == text
    assert (kept.kind, kept.size, kept.panic_id) == ("text", len(text), panic.id)
    await bot.report("web-1", text)
    assert len(await bot.rows(Artefact)) == 1


async def test_a_store_that_takes_nothing_keeps_no_panic_from_being_told(
    bot: Floor, ws: RunningWorkspace
) -> None:
    bot.context.store_dir.mkdir(parents=True, exist_ok=True)
    (bot.context.store_dir / "panics").write_text("a file where the store's folder is to be")
    panic = await bot.report("web-1", oops())
    assert panic.incident_id is not None
    bot.printer.wake()
    parent = await ws.message("web-1 panicked")
    reply = await ws.reply(parent, "P-1: its whole text is not here as a file")
    assert "look at the free space and the permissions of the store directory" in reply["text"]
    assert not await bot.rows(Artefact)


# -- quarantine ---------------------------------------------------------------------------------------------


async def test_quarantine_is_told_once_an_hour_and_host_and_can_be_taken_in(
    bot: Floor, ws: RunningWorkspace
) -> None:
    for _ in range(3):
        await bot.store("stranger-1", oops(), state=ReportState.QUARANTINED)
    await bot.store("stranger-2", oops(), state=ReportState.QUARANTINED)
    for _ in range(2):
        await bot.intake.tell_quarantined()
    told = [m for m in await bot.rows(SlackMessage) if m.key.startswith("quarantine:")]
    hours = {r.received_at.hour for r in await bot.rows(Report)}
    assert len(hours) > 1 or len(told) == 2
    bot.clock.forward(hours=1)
    await bot.store("stranger-1", oops(), state=ReportState.QUARANTINED)
    await bot.intake.tell_quarantined()
    assert len([m for m in await bot.rows(SlackMessage) if "stranger-1" in m.key]) == len(hours) + 1
    await ws.message("A report with a valid signature came from `stranger-2`", channel="C0ADMINS")
    assert await bot.rows(Panic) == []
    assert "stranger-1" in await bot.say("quarantine", user="U0ADMIN")
    assert "R-1 of `stranger-1` is taken in" in await bot.say("quarantine accept R-1", user="U0ADMIN")
    await bot.intake.drain()
    assert [p.host for p in await bot.rows(Panic)] == ["stranger-1"]
    assert "no report `R-1` is in quarantine" in await bot.say("quarantine accept R-1", user="U0ADMIN")
    assert "it is `quarantine`" in await bot.say("quarantine destroy", user="U0ADMIN")


async def test_quarantine_is_for_admins(tmp_path: Path) -> None:
    async with floor(tmp_path, access=AccessConfig(everyone="responder")) as bot:
        await bot.store("stranger-1", oops(), state=ReportState.QUARANTINED)
        assert "needs the role *admin*" in await bot.say("quarantine accept R-1")
        assert (await bot.row(Report, 1)).state is ReportState.QUARANTINED


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.text(max_size=400),
    times=st.lists(
        st.one_of(st.none(), st.datetimes().map(str), st.text(max_size=30), st.integers()),
        min_size=4,
        max_size=4,
    ),
    dump=st.one_of(
        st.none(),
        st.text(),
        st.dictionaries(
            st.sampled_from(["path", "size", "complete"]),
            st.one_of(st.none(), st.integers(), st.text(max_size=9), st.booleans()),
        ),
    ),
)
def test_no_body_makes_reading_fail(text: str, times: list[object], dump: object) -> None:
    names = ("occurred_at", "down_since", "back_at", "reported_at")
    body = {"text": text, "dump": dump, **dict(zip(names, times, strict=True))}
    now = utc_now()
    reading = read_report(body, host="web-1", received_at=now)
    assert now - timedelta(days=366) < reading.occurred_at <= now + timedelta(minutes=5)


async def test_a_report_of_a_panic_that_was_imported_opens_its_thread(quiet: Floor) -> None:
    told = await quiet.report("web-1", oops(), occurred_at=quiet.clock())

    def forget_the_thread(session: Session) -> None:
        row = session.get_one(Panic, told.id)
        row.incident_id = None
        session.add(row)

    await quiet.db.write(forget_the_thread)
    again = await quiet.report("web-1", oops(), occurred_at=quiet.clock())
    assert (again.id, again.incident_id is not None) == (told.id, True)
