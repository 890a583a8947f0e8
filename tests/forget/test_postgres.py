"""The tables on PostgreSQL as on SQLite: dumped after the erasure, they hold neither the name nor what was planted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, SQLModel, select

from commands.forget import extent, ledger, rows
from commands.incident import parent as _parent  # noqa: F401 - registers how an incident is drawn
from commands.incident import thread
from storage import Database, Erasure, ErasureState, Incident, IncidentState, Panic, utc_now
from storage.names import HostName
from storage.rollups import DERIVED
from storage.scrubbing import compact, delete_doomed, replace_names
from tests.forget.conftest import HOST, OTHER, PLANTED, fill
from tests.support_postgres import postgres, postgres_url  # noqa: F401 - fixtures

NOW = utc_now()


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


def prepare(session: Session) -> None:
    for number, host in enumerate((HOST, OTHER), 1):
        incident = Incident(signature_key="s", title="t", channel="C0", state=IncidentState.RESOLVED)
        session.add(incident)
        session.flush()
        session.add(
            Panic(
                host=host,
                occurred_at=NOW - timedelta(hours=number),
                title="t",
                signature_key="s",
                incident_id=incident.id,
            )
        )
        session.flush()
        thread.say(session, incident.id or 0, f"text:{number}", renderer="panic_text", subject_id=number)
    fill(session, 1, f"file:///c/P-1-{HOST}-0123456789ab")
    row = Erasure(slot=HOST, host=HOST, placeholder="erased-host-1", asked_by="U0ADMIN", until=NOW)
    row.state = ErasureState.CONFIRMED
    session.add(row)


def erase(db: Database) -> None:
    """The stages that work on the tables, as the desk runs them."""

    def begin(session: Session) -> tuple[Erasure, Any, HostName]:
        row = session.get_one(Erasure, 1)
        found = extent.extent(session, HOST)
        name = ledger.host_name(session, row)
        ledger.list_items(session, row, found, name, [], "file:///c")
        return row, found, name

    _row, found, name = db.write_now(begin)

    def structural(session: Session) -> None:
        rows.erase_audit(session, found)
        rows.erase_incidents(session, found)
        rows.erase_runs(session, found, name)
        session.flush()
        delete_doomed(session, HOST)
        session.expire_all()
        rows.erase_panics(session, found, name)
        session.flush()
        rows.erase_messages(session, found, name, NOW)

    db.write_now(structural)
    for table in SQLModel.metadata.sorted_tables:
        after: Any = ()
        while after is not None:
            at = after or None
            after, _ = db.write_now(lambda s, t=table, a=at: replace_names(s, t, name, a, batch=2))  # type: ignore[misc]
    db.write_now(lambda s: ledger.bury(s, s.get_one(Erasure, 1), name))


def dumped(db: Database) -> str:
    with db.engine.connect() as connection:
        tables = [*SQLModel.metadata.sorted_tables, *DERIVED.sorted_tables]
        found = {t.name: [[str(v) for v in r] for r in connection.execute(select(t)).all()] for t in tables}
    return json.dumps(found).lower()


def test_no_table_holds_anything_of_the_host(db: Database) -> None:
    db.write_now(prepare)
    before = dumped(db)
    assert before.count(HOST) > 40
    assert before.count(PLANTED.lower()) > 20
    others = before.count(OTHER)
    erase(db)
    compact(db.engine)
    left = dumped(db)
    assert PLANTED.lower() not in left
    assert left.count(OTHER) == others
    assert HOST not in left.replace(OTHER, "")
    assert "erased-host-1" in left
    kept = db.read_now(lambda s: s.get_one(Panic, 1))
    assert kept.occurred_at == (NOW - timedelta(hours=1)).replace(hour=0, minute=0, second=0, microsecond=0)


def test_every_table_is_emptied_of_a_host_by_the_test(db: Database) -> None:
    """A table that is added later is filled in `fill`, or it has nothing of a host: this says which are empty."""
    db.write_now(prepare)
    with db.engine.connect() as connection:
        empty = {
            t.name
            for t in SQLModel.metadata.sorted_tables
            if connection.execute(select(t).limit(1)).first() is None
        }
    about_hosts = {
        t.name
        for t in SQLModel.metadata.sorted_tables
        if "host" in t.c or any(key.column.table.name in ("panic", "dump_copy") for key in t.foreign_keys)
    }
    assert about_hosts & empty <= {"erasure_item"}


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,4}(-[a-z0-9]{1,3}){0,2}", fullmatch=True)


@given(NAMES, NAMES, st.text(max_size=20), st.text(max_size=20))
def test_a_name_is_replaced_where_it_is_that_name(name: str, other: str, before: str, after: str) -> None:
    found = HostName(name, "erased-host-7", [other])
    for text in (
        f"{before} {name} {after}",
        f"`{name.upper()}`",
        f"host:{name}",
        f"{name}.example.org",
        f"({name},",
    ):
        replaced = found.replaced(text)
        if name != other and not text.lower().startswith(other + "."):
            assert "erased-host-7" in replaced
    assert found.replaced(f"P-41-{name}-0123456789ab") == "P-41-erased-host-7-0123456789ab"
    for text in (f"x{name}", f"{name}0", f"my-{name}", f"{name}_1", f"{name}-x"):
        assert found.replaced(text) == text
    assert found.replaced_in({name: [name, 1, None]}) == {"erased-host-7": ["erased-host-7", 1, None]}
