"""Counts that are kept beside the panics, so that a question over a million of them reads some thousand rows.

`panic_tally` has a row a (cut, day, value), (cut, month, value) and (cut, year, value): any span of days is a few of
each. `panic_pair` has a row a (value of one column, day, value of another cut), for questions of one by another: the
signatures of a ring, the kernels of a kind.

`panic_place` has a row a (cut, value, host), from which follows on how many hosts something was seen since a day,
exactly: hosts cannot be summed over days. (Of signatures, which are many, they are counted in the panics' index.)
`panic_spread` has a row a (signature, cut, value), of all time and with the deliberate ones: where a signature is at
home.

Deliberate panics are counted nowhere else. Triggers keep all of it in the transaction that writes the panic, whoever
writes it; the tables are no part of the models, so that a copy of the models' rows into an empty database fills them by
itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, String, Table

from storage.types import UtcDateTime

DERIVED = MetaData()


class Cut(StrEnum):
    """By what panics are counted."""

    SIGNATURE = "signature"
    HOST = "host"
    KERNEL = "kernel"
    HARDWARE = "hardware"
    RING = "ring"


class Grain(StrEnum):
    """How long a period of `panic_tally` is; the value's length is that of its beginning in ISO 8601."""

    DAY = "day"
    MONTH = "month"
    YEAR = "year"


LENGTHS = {Grain.DAY: 10, Grain.MONTH: 7, Grain.YEAR: 4}
# The panic's column of each cut. What is not known is an empty string in the roll-ups.
COLUMNS = {
    Cut.SIGNATURE: "signature_key",
    Cut.HOST: "host",
    Cut.KERNEL: "kernel",
    Cut.HARDWARE: "hardware",
    Cut.RING: "ring",
}
PLACED = (Cut.HOST, Cut.KERNEL, Cut.HARDWARE, Cut.RING)
GIVEN = ("kernel", "ring", "hardware", "kind")  # the panic's columns whose values `panic_pair` is asked for
SPREAD = (Cut.KERNEL, Cut.RING, Cut.HARDWARE)

panic_pair = Table(
    "panic_pair",
    DERIVED,
    Column("given", String(10), primary_key=True),
    Column("known", String, primary_key=True),  # the value of the given column
    Column("cut", String(10), primary_key=True),
    Column("day", String(10), primary_key=True),  # 2026-11-23, in UTC
    Column("value", String, primary_key=True),  # of the cut
    Column("panics", Integer, nullable=False),
    sqlite_with_rowid=False,
)
panic_spread = Table(
    "panic_spread",
    DERIVED,
    Column("signature_key", String, primary_key=True),
    Column("cut", String(10), primary_key=True),
    Column("value", String, primary_key=True),
    Column("panics", Integer, nullable=False),
    sqlite_with_rowid=False,
)
panic_tally = Table(
    "panic_tally",
    DERIVED,
    Column("cut", String(10), primary_key=True),
    Column("grain", String(5), primary_key=True),
    Column("period", String(10), primary_key=True),  # 2026-11-23, 2026-11, 2026
    Column("value", String, primary_key=True),
    Column("panics", Integer, nullable=False),
    sqlite_with_rowid=False,
)
panic_place = Table(
    "panic_place",
    DERIVED,
    Column("cut", String(10), primary_key=True),
    Column("value", String, primary_key=True),
    Column("host", String, primary_key=True),
    Column("panics", BigInteger, nullable=False),
    Column("tests", BigInteger, nullable=False),  # deliberate ones
    Column("last_at", UtcDateTime),  # of those that are not deliberate
    Index("ix_panic_place_last", "cut", "value", "last_at"),
    sqlite_with_rowid=False,
)
_TRIGGERS = ("panic_rollup_insert", "panic_rollup_delete", "panic_rollup_update")
_WATCHED = "host, occurred_at, signature_key, kernel, ring, hardware, kind, deliberate"
# One writer of roll-ups at a time: two transactions that count the same days in another order would wait for ever.
_POSTGRES_LOCK = 0x524F4C4C


def install(connection: Connection) -> None:
    """Makes what is missing; what is there stays."""
    DERIVED.create_all(connection)
    add, take = "\n".join(_add(connection)), "\n".join(_take(connection))
    if connection.dialect.name == "sqlite":
        for name, event, body in zip(
            _TRIGGERS,
            ("INSERT", "DELETE", f"UPDATE OF {_WATCHED}"),
            (add, take, f"{take}\n{add}"),
            strict=True,
        ):
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON panic BEGIN\n{body}\nEND"
            )
        return
    connection.exec_driver_sql(
        f"""CREATE OR REPLACE FUNCTION panic_rollup() RETURNS trigger LANGUAGE plpgsql AS $body$
        BEGIN
        PERFORM pg_advisory_xact_lock({_POSTGRES_LOCK});
        IF TG_OP <> 'INSERT' THEN {take} END IF;
        IF TG_OP <> 'DELETE' THEN {add} END IF;
        RETURN NULL;
        END $body$"""
    )
    for name, event in zip(_TRIGGERS, ("INSERT", "DELETE", f"UPDATE OF {_WATCHED}"), strict=True):
        connection.exec_driver_sql(
            f"CREATE OR REPLACE TRIGGER {name} AFTER {event} ON panic FOR EACH ROW EXECUTE FUNCTION panic_rollup()"
        )


def remove(connection: Connection) -> None:
    suspend(connection)
    DERIVED.drop_all(connection)
    connection.exec_driver_sql("DROP TABLE IF EXISTS panic_day")  # of an earlier form


def suspend(connection: Connection) -> None:
    """Stops the counting, for one who writes very many panics at once and calls `install` and `rebuild` after it."""
    for name in _TRIGGERS:
        where = "" if connection.dialect.name == "sqlite" else " ON panic"
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}{where}")


def rebuild(connection: Connection) -> None:
    """Counts all panics again, from a copy of the columns that matter: their rows are long, and it is read often."""
    run = connection.exec_driver_sql
    day = _day(connection, "occurred_at")
    known = ", ".join(f"coalesce({name}, '') AS {name}" for name in (*COLUMNS.values(), "kind"))
    run("DROP TABLE IF EXISTS panic_counting")
    run(
        f"CREATE TEMPORARY TABLE panic_counting AS SELECT {day} AS day, {known}, deliberate, occurred_at "  # noqa: S608
        "FROM panic"
    )
    for table in (panic_pair, panic_tally, panic_place, panic_spread):
        run(f"DELETE FROM {table.name}")  # noqa: S608 - names of our own
    for given, cut in _paired():
        run(
            "INSERT INTO panic_pair (given, known, cut, day, value, panics) "  # noqa: S608
            f"SELECT '{given}', {given}, '{cut}', day, {COLUMNS[cut]}, count(*) FROM panic_counting "
            f"WHERE NOT deliberate GROUP BY {given}, day, {COLUMNS[cut]}"
        )
    for cut, grain in _tallied():
        period, value = f"substr(day, 1, {LENGTHS[grain]})", COLUMNS[cut]
        run(
            "INSERT INTO panic_tally (cut, grain, period, value, panics) "  # noqa: S608
            f"SELECT '{cut}', '{grain}', {period}, {value}, count(*) FROM panic_counting WHERE NOT deliberate "
            f"GROUP BY {period}, {value}"
        )
    for cut in PLACED:
        name = COLUMNS[cut]
        values = name if cut is Cut.HOST else f"{name}, host"
        run(
            "INSERT INTO panic_place (cut, value, host, panics, tests, last_at) "  # noqa: S608
            f"SELECT '{cut}', {name}, host, sum(CASE WHEN deliberate THEN 0 ELSE 1 END), "
            "sum(CASE WHEN deliberate THEN 1 ELSE 0 END), max(CASE WHEN deliberate THEN NULL ELSE occurred_at END) "
            f"FROM panic_counting GROUP BY {values}"
        )
    for cut in SPREAD:
        run(
            "INSERT INTO panic_spread (signature_key, cut, value, panics) "  # noqa: S608
            f"SELECT signature_key, '{cut}', {COLUMNS[cut]}, count(*) FROM panic_counting "
            f"GROUP BY signature_key, {COLUMNS[cut]}"
        )
    run("DROP TABLE panic_counting")


# -- what the triggers do -----------------------------------------------------------------------------


def _tallied() -> Iterator[tuple[Cut, Grain]]:
    """A day's hosts are nearly as many as its panics: those are counted in the panics themselves."""
    for cut in Cut:
        for grain in Grain:
            if (cut, grain) != (Cut.HOST, Grain.DAY):
                yield cut, grain


def _paired() -> Iterator[tuple[str, Cut]]:
    for given in GIVEN:
        for cut in (Cut.SIGNATURE, *SPREAD):
            if COLUMNS[cut] != given:
                yield given, cut


def _day(connection: Connection, moment: str) -> str:
    if connection.dialect.name == "sqlite":
        return f"substr({moment}, 1, 10)"
    return f"to_char({moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


def _add(connection: Connection) -> Iterator[str]:
    day = _day(connection, "NEW.occurred_at")
    for given, cut in _paired():
        yield (
            "INSERT INTO panic_pair (given, known, cut, day, value, panics) "
            f"SELECT '{given}', coalesce(NEW.{given}, ''), '{cut}', {day}, coalesce(NEW.{COLUMNS[cut]}, ''), 1 "
            "WHERE NOT NEW.deliberate ON CONFLICT (given, known, cut, day, value) "
            "DO UPDATE SET panics = panic_pair.panics + 1;"
        )
    for cut in SPREAD:
        yield (
            "INSERT INTO panic_spread (signature_key, cut, value, panics) "  # noqa: S608
            f"VALUES (NEW.signature_key, '{cut}', coalesce(NEW.{COLUMNS[cut]}, ''), 1) "
            "ON CONFLICT (signature_key, cut, value) DO UPDATE SET panics = panic_spread.panics + 1;"
        )
    for cut, grain in _tallied():
        yield (
            "INSERT INTO panic_tally (cut, grain, period, value, panics) "
            f"SELECT '{cut}', '{grain}', substr({day}, 1, {LENGTHS[grain]}), coalesce(NEW.{COLUMNS[cut]}, ''), 1 "
            "WHERE NOT NEW.deliberate ON CONFLICT (cut, grain, period, value) "
            "DO UPDATE SET panics = panic_tally.panics + 1;"
        )
    for cut in PLACED:
        name = COLUMNS[cut]
        yield (
            "INSERT INTO panic_place (cut, value, host, panics, tests, last_at) "
            f"SELECT '{cut}', coalesce(NEW.{name}, ''), NEW.host, CASE WHEN NEW.deliberate THEN 0 ELSE 1 END, "
            "CASE WHEN NEW.deliberate THEN 1 ELSE 0 END, CASE WHEN NEW.deliberate THEN NULL ELSE NEW.occurred_at END "
            "WHERE true ON CONFLICT (cut, value, host) DO UPDATE SET "
            "panics = panic_place.panics + excluded.panics, tests = panic_place.tests + excluded.tests, "
            "last_at = CASE WHEN panic_place.last_at IS NULL OR excluded.last_at > panic_place.last_at "
            "THEN excluded.last_at ELSE panic_place.last_at END;"
        )


def _take(connection: Connection) -> Iterator[str]:
    day = _day(connection, "OLD.occurred_at")
    for given, cut in _paired():
        where = (
            f"given = '{given}' AND known = coalesce(OLD.{given}, '') AND cut = '{cut}' AND day = {day} "
            f"AND value = coalesce(OLD.{COLUMNS[cut]}, '')"
        )
        yield f"UPDATE panic_pair SET panics = panics - 1 WHERE NOT OLD.deliberate AND {where};"  # noqa: S608
        yield f"DELETE FROM panic_pair WHERE panics <= 0 AND {where};"  # noqa: S608
    for cut in SPREAD:
        where = f"signature_key = OLD.signature_key AND cut = '{cut}' AND value = coalesce(OLD.{COLUMNS[cut]}, '')"
        yield f"UPDATE panic_spread SET panics = panics - 1 WHERE {where};"  # noqa: S608
        yield f"DELETE FROM panic_spread WHERE panics <= 0 AND {where};"  # noqa: S608
    for cut, grain in _tallied():
        where = (
            f"cut = '{cut}' AND grain = '{grain}' AND period = substr({day}, 1, {LENGTHS[grain]}) "
            f"AND value = coalesce(OLD.{COLUMNS[cut]}, '')"
        )
        yield f"UPDATE panic_tally SET panics = panics - 1 WHERE NOT OLD.deliberate AND {where};"  # noqa: S608
        yield f"DELETE FROM panic_tally WHERE panics <= 0 AND {where};"  # noqa: S608
    for cut in PLACED:
        name = COLUMNS[cut]
        where = f"cut = '{cut}' AND value = coalesce(OLD.{name}, '') AND host = OLD.host"
        yield (
            "UPDATE panic_place SET panics = panics - CASE WHEN OLD.deliberate THEN 0 ELSE 1 END, "  # noqa: S608
            "tests = tests - CASE WHEN OLD.deliberate THEN 1 ELSE 0 END, "
            "last_at = CASE WHEN last_at > OLD.occurred_at THEN last_at ELSE "
            "(SELECT max(p.occurred_at) FROM panic p WHERE p.host = OLD.host AND NOT p.deliberate "
            f"AND coalesce(p.{name}, '') = coalesce(OLD.{name}, '')) END WHERE {where};"
        )
        yield f"DELETE FROM panic_place WHERE panics <= 0 AND tests <= 0 AND {where};"  # noqa: S608
