"""The books on PostgreSQL as on SQLite: what there is, pins, sweeps as rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlmodel import Session, SQLModel

from commands.errors import Impossible
from commands.retention import ledger, pins, runs
from commands.retention.items import Clock
from commands.retention.plan import plan
from commands.retention.policy import RetentionConfig
from storage import (
    CopyState,
    Database,
    DumpCopy,
    DumpPart,
    DumpState,
    Incident,
    IncidentState,
    Panic,
    SlackMessage,
    utc_now,
)  # fmt: skip
from tests.support_postgres import postgres, postgres_url  # noqa: F401 - fixtures

PLACE = ledger.Place("file:///c", 10**15)
NOW = utc_now()
TERA = 3 * 10**12  # more than 32 bits hold


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{request.getfixturevalue('tmp_path')}/bot.db"
    else:
        url = request.getfixturevalue("postgres_url")
    made = Database(url)
    SQLModel.metadata.create_all(made.engine)
    yield made
    made.close()


def fill(session: Session) -> None:
    """A verified copy whose incident is resolved, one of an open one, and parts of one that failed."""
    for number, state in enumerate((IncidentState.RESOLVED, IncidentState.OPEN, IncidentState.RESOLVED), 1):
        incident = Incident(signature_key="s", title="t", channel="C0", state=state)
        session.add(incident)
        session.flush()
        panic = Panic(
            host="web-17", occurred_at=NOW - timedelta(hours=9 - number), title="t", signature_key="s",
            incident_id=incident.id, dump_path=f"20261123053{number}/dump", dump_size=TERA,
            dump_state=DumpState.COMPLETE,
        )  # fmt: skip
        session.add(panic)
        session.flush()
        failed = number == 3
        copy = DumpCopy(
            panic_id=panic.id or 0, workflow_id=f"w{number}", host="web-17", asked_by="U0ONCALL", size=TERA,
            state=CopyState.FAILED if failed else CopyState.VERIFIED, place=f"file:///c/P-{number}",
            source_path=panic.dump_path, source_stamp="1795412000/77", sha256=f"{number:064x}",
            verified_at=None if failed else NOW, finished_at=NOW,
        )  # fmt: skip
        session.add(copy)
        session.flush()
        session.add(DumpPart(copy_id=copy.id or 0, number=1, size=TERA, sha256="0" * 64))
    session.add(SlackMessage(key="m", channel="C0", ts=f"{NOW.timestamp():.6f}"))


def test_the_books_are_the_same(db: Database) -> None:
    db.write_now(fill)
    seen = db.read_now(ledger.witness)
    assert seen is not None
    assert abs(seen - NOW) < timedelta(seconds=1)
    assert db.write_now(lambda s: ledger.note_new(s, NOW)) == 3
    assert db.write_now(lambda s: ledger.note_new(s, NOW)) == 0
    there = db.read_now(lambda s: ledger.inventory(s, PLACE, NOW, Clock()))
    assert [c.standing.value for c in there.copies] == ["verified", "verified", "partial"]
    assert there.stored == 3 * TERA
    assert [(d.recorded, d.copy_id, d.guard.incident) for d in there.locals] == [
        (True, 1, None), (True, 2, "I-2"), (False, None, None),
    ]  # fmt: skip
    later = NOW + timedelta(days=31)

    def sweep(session: Session) -> int:
        found = ledger.inventory(session, PLACE, later, Clock())
        run = runs.begin(
            session, plan(found, RetentionConfig(), later), asked_by="U0ADMIN", owner="x", now=later
        )
        return run.id or 0

    run_id = db.write_now(sweep)
    items = db.read_now(lambda s: runs.items_of(s, run_id))
    assert [(i.place, i.panic_id, i.size) for i in items] == [
        ("central", 1, TERA), ("central", 3, TERA), ("local", 1, TERA),
    ]  # fmt: skip
    assert db.read_now(lambda s: runs.came_since(s, NOW - timedelta(days=1))) == 2 * TERA
    assert db.write_now(lambda s: runs.finish(s, run_id, {}, later)) is not None


def test_pins_and_holds(db: Database) -> None:
    db.write_now(fill)

    def keep(session: Session, kind: str) -> None:
        panic = session.get_one(Panic, 1)
        pins.pin(session, panic, kind=kind, by="U0ADMIN", reason="because", until=None, now=NOW)

    db.write_now(lambda s: keep(s, pins.PIN))
    db.write_now(lambda s: keep(s, pins.PIN))
    db.write_now(lambda s: keep(s, pins.HOLD))
    with pytest.raises(Impossible):
        db.write_now(lambda s: keep(s, pins.HOLD))
    guard = db.read_now(lambda s: ledger.guards_of(s, [s.get_one(Panic, 1)]))[1]
    assert (guard.pinned, guard.held) == (True, True)
