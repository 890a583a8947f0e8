"""Which dump is a panic's: by what the host named, by the panics of the host, never merely by being near."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, SQLModel, create_engine

from commands.hosts.crashdump import Witnessed, look_up, pick, saved_at
from integrations.kernel.crashdirs import CrashDump, read_listing
from storage import DumpState, Panic, Report, RunState
from tests.hosts.world import close_world, make_fleet, make_world
from tests.triage.test_runs import QUICK, any_host, started

DIED = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def panic(**columns: object) -> Panic:
    values = {"id": 9, "host": "web-17", "occurred_at": DIED, "title": "t", "signature_key": "k"}
    return Panic(**{**values, **columns})


def dumps(*saved: datetime) -> tuple[CrashDump, ...]:
    rows = []
    for at in saved:
        name = f"{at:%Y%m%d%H%M}"
        rows.append(f"{name}\td\t4096\t{at.timestamp()}")
        rows.append(f"{name}/dump.{name}\tf\t1000\t{at.timestamp()}")
        rows.append(f"{name}/dmesg.{name}\tf\t10\t{at.timestamp()}")
    return read_listing("\n".join(rows) + "\n")


def chosen(found: tuple[CrashDump | None, bool]) -> str | None:
    return found[0].directory if found[0] is not None else None


def test_a_dump_saved_after_the_host_died_again_is_not_the_first_panics() -> None:
    """A crash loop: the first dump was tidied away, the second came twenty minutes later."""
    again = DIED + 20 * MINUTE
    listed = dumps(again + MINUTE)
    assert chosen(pick(listed, panic(), Witnessed(others=(again,)))) is None
    assert chosen(pick(listed, panic(occurred_at=again), Witnessed(others=(DIED,)))) == "202611231021"


def test_each_panic_of_a_loop_has_its_own_dump() -> None:
    times = [DIED + n * 7 * MINUTE for n in range(5)]
    listed = dumps(*(at + 2 * MINUTE for at in times))
    for at in times:
        found = pick(listed, panic(occurred_at=at), Witnessed(others=tuple(t for t in times if t != at)))
        assert found[0] is not None
        assert saved_at(found[0]) == at + 2 * MINUTE
        assert found[1]


@pytest.mark.parametrize(
    "path", ["/var/crash/202611231000", "202611231000", "/srv/crash/202611231000/dump.202611231000"]
)
def test_the_directory_that_the_host_named_is_the_one(path: str) -> None:
    listed = dumps(DIED + timedelta(days=30, minutes=-1), DIED)
    far = panic(occurred_at=DIED + timedelta(days=30))
    assert chosen(pick(listed, far, Witnessed((path,)))) == "202611231000"


@pytest.mark.parametrize("path", ["/var/crash/202611230955", "/var/crash/202611230955/dump.202611230955"])
def test_where_the_named_dump_is_gone_no_other_is_taken_for_it(path: str) -> None:
    assert chosen(pick(dumps(DIED + MINUTE), panic(dump_path=path))) is None


def test_a_path_of_no_known_layout_leaves_it_to_the_time() -> None:
    assert chosen(pick(dumps(DIED + MINUTE), panic(dump_path="/srv/vmcore"))) == "202611231001"


def test_a_panic_of_an_unknown_time_has_the_newest_dump_that_is_nobody_elses() -> None:
    other = DIED - timedelta(hours=3)
    listed = dumps(other + MINUTE, DIED - 40 * MINUTE)
    found = pick(listed, panic(), Witnessed(certain=False, others=(other,)))
    assert chosen(found) == "202611230920"
    assert not found[1]
    assert chosen(pick(dumps(other + MINUTE), panic(), Witnessed(certain=False, others=(other,)))) is None


def test_what_the_reports_of_a_panic_say_of_its_dump() -> None:
    engine = create_engine("sqlite://")
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        this, twice, other = (
            panic(id=None),
            panic(id=None),
            panic(id=None, occurred_at=DIED - timedelta(hours=2)),
        )
        twice.occurred_at = DIED + timedelta(seconds=50)
        session.add_all(
            [this, twice, other, panic(id=None, host="db-3", occurred_at=DIED - timedelta(hours=1))]
        )
        session.commit()
        assert look_up(session, this) == Witnessed((), True, (other.occurred_at,))
        body = {"crash_dir": "/var/crash/202611231000", "dump": {"path": "/x/dump.1", "size": 1}}
        session.add(Report(external_id="a", host="web-17", body=body, panic_id=this.id))
        session.commit()
        found = look_up(session, this)
        assert found.paths == ("/x/dump.1", "/var/crash/202611231000")
        assert not found.certain
        session.add(Report(external_id="b", host="web-17", body={"down_since": "x"}, panic_id=this.id))
        session.commit()
        assert look_up(session, this).certain


moments = st.integers(-20_000, 20_000).map(lambda s: DIED + timedelta(seconds=s))


@given(st.lists(moments, max_size=6), st.lists(moments, max_size=5), st.booleans(),
       st.lists(st.text(max_size=40), max_size=3))  # fmt: skip
def test_no_dump_is_given_to_two_panics(
    saved: list[datetime], panics: list[datetime], certain: bool, paths: list[str]
) -> None:
    listed = dumps(*saved)
    pick(listed, panic(), Witnessed(tuple(paths), certain, tuple(panics)))
    times = sorted(set(panics))
    given_to = [
        chosen(pick(listed, panic(occurred_at=at), Witnessed(others=tuple(t for t in times if t != at))))
        for at in times
    ]
    named = [d for d in given_to if d is not None]
    assert len(named) == len(set(named))


async def test_a_dump_that_was_there_is_told_as_gone(tmp_path: Path) -> None:
    """The host panics again, and the directory of the first panic is gone: triage of the first one says so."""
    fleet = await make_fleet(tmp_path)
    world = await make_world(tmp_path, fleet)
    try:
        host = any_host(world)
        first, _ = await world.crash(host, "oom")
        desk = started(world, QUICK)
        run = await desk.begin(first, "U0ONCALL", "one")
        assert (await world.ended(run.id or 0)).state is RunState.DONE
        before = await world.db.read(lambda s: s.get_one(Panic, first))
        assert before.dump_state is DumpState.COMPLETE
        second, _ = await world.crash(host, "oom")

        def earlier(session: Session) -> None:
            """The first one was an hour ago."""
            row = session.get_one(Panic, first)
            row.occurred_at -= timedelta(hours=1)
            row.dump_path = "202611010101/dump.202611010101"
            session.add(row)

        await world.db.write(earlier)
        run = await desk.begin(first, "U0ONCALL", "two")
        await world.ended(run.id or 0)
        said = (await world.steps(run.id or 0))["dump"].summary
        assert "the dump of this panic is gone (kdump's configuration sets no limit" in said
        assert "1 of other panics" in said
        after = await world.db.read(lambda s: s.get_one(Panic, first))
        assert after.dump_state is DumpState.NONE
        assert after.dump_path == "202611010101/dump.202611010101"
        assert "gone" in (after.dump_note or "")
        run = await desk.begin(second, "U0ONCALL", "three")
        await world.ended(run.id or 0)
        assert (await world.steps(run.id or 0))["dump"].summary.startswith("local: complete")
    finally:
        await close_world(world)
        await fleet.stop()
