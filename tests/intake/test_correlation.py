"""One panic, many witnesses."""

from __future__ import annotations

from datetime import timedelta

import pytest

from storage import DumpState, Incident, Panic, Report
from tests.incident.floor import Floor
from tests.incident.texts import oops

BOOT = "0f5cbf43-6a0d-4a55-ae48-6a7b04a4a1c3"


async def test_the_boot_id_makes_two_reports_one_panic_however_far_apart(quiet: Floor) -> None:
    now = quiet.clock()
    first = await quiet.report("web-1", oops(), occurred_at=now - timedelta(days=5), crashed_boot_id=BOOT)
    second = await quiet.report("web-1", "", crashed_boot_id=BOOT.replace("-", "").upper())
    assert second.id == first.id
    assert len(await quiet.rows(Incident)) == 1
    other = await quiet.report("web-2", "", crashed_boot_id=BOOT)
    assert other.id != first.id


async def test_two_boots_that_are_known_are_two_panics_even_a_minute_apart(quiet: Floor) -> None:
    now = quiet.clock()
    first = await quiet.report("web-1", oops(), occurred_at=now, crashed_boot_id=BOOT)
    second = await quiet.report("web-1", oops(uptime=40.0), occurred_at=now, crashed_boot_id="1" * 32)
    assert second.id != first.id
    assert second.incident_id == first.incident_id


@pytest.mark.parametrize(
    ("seconds", "same"), [(0, True), (119, True), (-119, True), (121, False), (-121, False)]
)
async def test_without_a_boot_id_the_boots_start_decides_within_two_minutes(
    quiet: Floor, seconds: int, same: bool
) -> None:
    died = quiet.clock() - timedelta(hours=2)
    first = await quiet.report("web-1", oops(uptime=5000.0), occurred_at=died)
    later = died + timedelta(seconds=600 + seconds)
    second = await quiet.report("web-1", oops(uptime=5600.0), occurred_at=later)
    assert (second.id == first.id) is same


async def test_witnesses_add_what_they_know_and_open_no_second_thread(quiet: Floor) -> None:
    died = quiet.clock() - timedelta(minutes=4)
    first = await quiet.report("web-1", oops(), occurred_at=died, source="console")
    assert (first.dump_state, first.back_at, first.boot_id) == (DumpState.UNKNOWN, None, None)
    second = await quiet.report(
        "web-1",
        oops(),
        occurred_at=died + timedelta(seconds=3),
        crashed_boot_id=BOOT,
        down_since=died,
        back_at=died + timedelta(minutes=3),
        kernel="6.1.0-32-amd64",
        hardware="Dell R640",
        dump={"path": "/var/crash/1/dump", "size": 312_000_000, "complete": True},
    )
    assert second.id == first.id
    assert (second.dump_state, second.dump_size) == (DumpState.COMPLETE, 312_000_000)
    assert (second.running_kernel, second.boot_id) == ("6.1.0-32-amd64", BOOT.replace("-", ""))
    assert second.back_at is not None
    less = await quiet.report(
        "web-1", "", occurred_at=died, dump={"path": "/x", "size": 1, "complete": False}
    )
    assert (less.id, less.dump_state) == (first.id, DumpState.COMPLETE)
    assert len(await quiet.rows(Incident)) == 1
    assert len(await quiet.sayings("panicked, too")) == 0
    assert {r.panic_id for r in await quiet.rows(Report)} == {first.id}


async def test_unreadable_first_and_readable_then_moves_to_its_signatures_thread(quiet: Floor) -> None:
    await quiet.report("web-9", oops())
    died = quiet.clock()
    unread = await quiet.report("web-1", "", occurred_at=died)
    assert (unread.kind, unread.incident_id) == ("unknown", 2)
    read = await quiet.report("web-1", oops(uptime=60.0), occurred_at=died)
    assert (read.id, read.kind, read.incident_id) == (unread.id, "null_deref", 1)
    assert (await quiet.incident(2)).merged_into_id == 1
    assert len(await quiet.sayings("text:2:1")) == 1  # its text stands in the thread it moved to


async def test_read_anew_with_the_same_signature_it_does_not_panic_too(quiet: Floor) -> None:
    """The head of the text was lost at first; the panic stays what and where it is."""
    died = quiet.clock()
    await quiet.report("web-1", "", occurred_at=died)
    await quiet.report("web-1", oops(), occurred_at=died)
    await quiet.report("web-1", oops(), occurred_at=died)
    assert len(await quiet.rows(Panic)) == 1
    assert len(await quiet.rows(Incident)) == 1
    assert await quiet.sayings("panicked, too") == []


async def test_the_same_crash_told_again_without_a_time_is_the_same_panic(quiet: Floor) -> None:
    first = await quiet.report("web-1", oops(uptime=123.456))
    quiet.clock.forward(hours=3)
    again = await quiet.report("web-1", oops(uptime=123.456))
    assert again.id == first.id
    other = await quiet.report("web-1", oops(uptime=99.125))
    assert other.id != first.id


async def test_different_crashes_near_in_time_are_two(quiet: Floor) -> None:
    await quiet.report("web-1", oops())
    await quiet.report("web-1", oops("ext4_writepages", uptime=3.5))
    assert len(await quiet.rows(Panic)) == 2


async def test_a_clock_that_runs_ahead_is_set_right(quiet: Floor) -> None:
    now = quiet.clock()
    ahead = timedelta(hours=7)
    panic = await quiet.report(
        "web-1", oops(), occurred_at=now + ahead - timedelta(minutes=5), reported_at=now + ahead
    )
    assert abs(panic.occurred_at - (now - timedelta(minutes=5))) < timedelta(seconds=5)
    unsaid = await quiet.report("web-2", oops(), occurred_at=now + ahead)
    assert abs(unsaid.occurred_at - now) < timedelta(seconds=5)
    assert unsaid.boot_started_at is None


async def test_a_clock_that_starts_in_1970_is_not_believed(quiet: Floor) -> None:
    panic = await quiet.report(
        "web-1", oops(), occurred_at="1970-01-01T00:02:00+00:00", down_since="2000-01-01T00:00:00+00:00"
    )
    assert abs(panic.occurred_at - quiet.clock()) < timedelta(seconds=5)
    assert (panic.boot_started_at, panic.down_since) == (None, None)


async def test_a_report_that_waited_for_hours_is_believed(quiet: Floor) -> None:
    died = quiet.clock() - timedelta(hours=9)
    panic = await quiet.report("web-1", oops(), occurred_at=died, reported_at=died + timedelta(minutes=3))
    assert panic.occurred_at == died
