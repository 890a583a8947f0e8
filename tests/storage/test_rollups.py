"""The roll-ups are what counting would give, whatever was written; and what is counted from them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlmodel import Session, delete, select

from storage import Database, Incident, Panic, migrations, rebuild_derived
from storage.derived import install
from storage.filters import Filters, Pattern
from storage.rollups import Cut, Grain
from storage.tallies import spans, top
from storage.trend import daily

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIXTURE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FACTS = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["web-1", "web-2", "db-1"]),
        "signature_key": st.sampled_from(["a|b", "c|d"]),
        "kernel": st.sampled_from([None, "6.1.0-30", "6.1.0-31"]),
        "ring": st.sampled_from([None, "prod"]),
        "hardware": st.sampled_from([None, "Dell R640"]),
        "deliberate": st.booleans(),
        "days": st.sampled_from([0, 1, 40, 400]),
    }
)
ACTS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "change", "delete"]), st.integers(0, 5), FACTS), max_size=12
)


def panic(facts: dict[str, Any]) -> Panic:
    known = {"kind": "null_deref", "title": "t", "signature_key": "a|b", "host": "web-1", **facts}
    days = known.pop("days", 0)
    return Panic(occurred_at=AT - timedelta(days=days), **known)


def kept(db: Database) -> dict[str, list[Any]]:
    def read(session: Session) -> dict[str, list[Any]]:
        rows = session.connection().exec_driver_sql
        tables = ("panic_pair", "panic_tally", "panic_place", "panic_spread")
        return {t: sorted(map(repr, rows(f"SELECT * FROM {t}").all())) for t in tables}

    return db.read_now(read)


@FIXTURE
@given(ACTS)
async def test_they_are_what_counting_again_gives(
    db: Database, acts: list[tuple[str, int, dict[str, Any]]]
) -> None:
    db.write_now(lambda s: s.exec(delete(Panic)))
    for act, which, facts in acts:

        def do(session: Session, act: str = act, which: int = which, facts: dict[str, Any] = facts) -> None:
            there = session.exec(select(Panic).order_by(Panic.id)).all()  # type: ignore[arg-type]
            if act == "add" or not there:
                session.add(panic(facts))
            elif act == "delete":
                session.delete(there[which % len(there)])
            else:
                for name, value in panic(facts).model_dump(exclude={"id", "reported_at"}).items():
                    setattr(there[which % len(there)], name, value)

        db.write_now(do)
    before = kept(db)
    db.write_now(lambda s: rebuild_derived(s.connection()))
    assert kept(db) == before


async def test_a_move_between_incidents_changes_nothing(db: Database) -> None:
    db.write_now(lambda s: s.add(Incident(signature_key="k", title="t", channel="C0INCIDENTS")))
    db.write_now(lambda s: s.add(panic({})))
    before = kept(db)

    def move(session: Session) -> None:
        found = session.get(Panic, 1)
        assert found is not None
        found.incident_id = 1

    db.write_now(move)
    assert kept(db) == before
    assert before["panic_pair"]


@FIXTURE
@given(
    st.lists(FACTS, max_size=12), st.sampled_from(Cut), st.sampled_from([None, 0, 1, 30, 400]), st.booleans()
)
async def test_top_counts_panics_and_hosts(
    db: Database, facts: list[dict[str, Any]], cut: Cut, back: int | None, ended: bool
) -> None:
    db.write_now(lambda s: (s.exec(delete(Panic)), s.add_all([panic(f) for f in facts])))
    since = None if back is None else AT.date() - timedelta(days=back)
    until = AT.date() if ended else None
    column = {Cut.SIGNATURE: "signature_key"}.get(cut, cut.value)
    wanted = [f for f in facts if not f["deliberate"] and (back is None or f["days"] <= back)]
    panics = Counter(f[column] or "" for f in wanted)
    hosts = {value: len({f["host"] for f in wanted if (f[column] or "") == value}) for value in panics}
    found = db.read_now(lambda s: top(s, cut, since=since, until=until))
    expected = [(v, n, hosts[v]) for v, n in sorted(panics.items(), key=lambda item: (-item[1], item[0]))]
    assert [(row.value, row.panics, row.hosts) for row in found.rows] == expected
    assert (found.panics, found.values) == (len(wanted), len(panics))


@FIXTURE
@given(st.lists(FACTS, max_size=12), st.sampled_from(Cut), st.sampled_from(["", "kernel", "ring", "host"]))
async def test_days_are_counted_alike_from_each_source(
    db: Database, facts: list[dict[str, Any]], cut: Cut, narrowed: str
) -> None:
    db.write_now(lambda s: (s.exec(delete(Panic)), s.add_all([panic(f) for f in facts])))
    values = {"kernel": "6.1.0-30", "ring": "prod", "host": "web-1"}
    filters = Filters(since=AT - timedelta(days=40, hours=3))
    if narrowed:
        filters = Filters(since=filters.since, **{narrowed: (Pattern(values[narrowed]),)})
    column = {Cut.SIGNATURE: "signature_key"}.get(cut, cut.value)
    expected = Counter(
        (AT.date() - timedelta(days=f["days"]), f[column] or "")
        for f in facts
        if not f["deliberate"] and f["days"] <= 40 and (not narrowed or f[narrowed] == values[narrowed])
    )
    found = db.read_now(lambda s: daily(s, filters, cut))
    assert {(row.day, row.value): row.panics for row in found} == expected


DATES = st.dates(date(2020, 1, 1), date(2027, 12, 31))


@given(DATES, DATES)
def test_spans_hold_each_day_once(one: date, other: date) -> None:
    since, until = min(one, other), max(one, other)
    found = spans(since, until)
    at = since
    for grain, first, last in found:
        assert first == at
        assert grain is Grain.DAY or first.day == 1
        assert grain is Grain.DAY or (last + timedelta(days=1)).day == 1
        assert grain is not Grain.YEAR or (first.month, last.month) == (1, 12)
        at = last + timedelta(days=1)
    assert at == until + timedelta(days=1)
    assert len(found) <= 5


async def test_an_upgrade_makes_what_was_lost(db: Database) -> None:
    """SQLite loses a table's triggers when a migration rebuilds it."""
    db.write_now(lambda s: s.add(panic({})))
    before = kept(db)

    def lose(connection: Connection) -> None:
        where = "" if connection.dialect.name == "sqlite" else " ON panic"
        connection.exec_driver_sql(f"DROP TRIGGER panic_rollup_insert{where}")
        connection.exec_driver_sql("DELETE FROM panic_derived")

    db.write_now(lambda s: lose(s.connection()))
    db.write_now(lambda s: s.add(panic({})))
    assert kept(db) == before
    migrations.upgrade(db.url)
    assert db.read_now(lambda s: top(s, Cut.KERNEL)).panics == 2
    db.write_now(lambda s: install(s.connection()))
    db.write_now(lambda s: s.add(panic({})))
    assert db.read_now(lambda s: top(s, Cut.KERNEL)).panics == 3


@pytest.mark.parametrize("cut", Cut)
async def test_nothing_is_no_error(db: Database, cut: Cut) -> None:
    assert db.read_now(lambda s: top(s, cut)).rows == ()
    assert db.read_now(lambda s: daily(s, Filters(), cut)) == []
