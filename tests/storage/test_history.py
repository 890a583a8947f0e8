"""Every revision of the history, filled in every table, brought to the head: each row and value is there again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Table

from storage import derived, migrations, rollups, suspects, wordindex
from storage.database import make_engine
from storage.migrations import schema

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
ROWS = 3
REVISIONS = sorted(schema.revisions())
Rows = dict[str, list[dict[str, Any]]]


def tables_of(connection: Connection) -> list[Table]:
    """As the database has them, those that others point to first; without what it keeps by itself."""
    found = sa.MetaData()
    found.reflect(connection)
    apart = {"alembic_version", "panic_derived", *derived.DERIVED.tables}
    return [t for t in found.sorted_tables if t.name not in apart and not t.name.startswith("panic_words")]


def value(column: Any, number: int) -> Any:
    """A value of the column's type that is another one in each row and column."""
    kind = column.type
    points = next(iter(column.foreign_keys), None)
    if points is not None:  # the row of the same number, whose key is made by the same rule
        return value(points.column, number)
    if column.primary_key and isinstance(kind, sa.Integer):
        return number + 1
    mark = sum(map(ord, f"{column.table.name}.{column.name}")) + number
    if isinstance(kind, sa.Boolean):
        return mark % 2 == 0
    if isinstance(kind, sa.Integer):
        return mark
    if isinstance(kind, (sa.Numeric, sa.Float)):
        return mark + 0.5
    if isinstance(kind, sa.DateTime):
        return AT + timedelta(minutes=mark)
    if isinstance(kind, sa.LargeBinary):
        return bytes([number, 0, 255])
    if isinstance(kind, sa.JSON) or str(kind).upper() == "JSON":
        return [{"key": f"OPS-{mark}", "text": "naïve 日本"}]
    assert isinstance(kind, sa.String), f"{column}: no rule for {kind!r}"
    text = f"{column.name} é日 {number}"
    return text[-kind.length :] if kind.length else text


def fill(connection: Connection) -> Rows:
    filled: Rows = {}
    for table in tables_of(connection):
        rows = [{c.name: value(c, number) for c in table.columns} for number in range(ROWS)]
        if connection.dialect.name == "sqlite":  # as the application writes: in UTC, without a zone
            for row in rows:
                row.update({k: v.replace(tzinfo=None) for k, v in row.items() if isinstance(v, datetime)})
        connection.execute(table.insert(), rows)
        filled[table.name] = rows
    return filled


def found(connection: Connection, like: Rows) -> Rows:
    """The same columns, in the order of the rows that were written."""
    tables = {t.name: t for t in tables_of(connection)}
    answer: Rows = {}
    for name, rows in like.items():
        columns = [tables[name].c[column] for column in rows[0]]
        read = [dict(row._mapping) for row in connection.execute(sa.select(*columns))]
        for row in read:
            for key, held in row.items():
                if isinstance(held, datetime) and held.tzinfo is not None:
                    row[key] = held.astimezone(UTC)
        answer[name] = sorted(read, key=_order)
    return answer


def _order(row: dict[str, Any]) -> str:
    return json.dumps(row, default=str, sort_keys=True)


def told_of(connection: Connection) -> dict[str, list[str]]:
    """All that is derived, row by row."""
    return {
        name: sorted(map(repr, connection.exec_driver_sql(f"SELECT * FROM {name}").all()))
        for name in derived.DERIVED.tables
    }


def lose(connection: Connection) -> None:
    """What a database from before there was anything derived lacks; and rows in it are not counted."""
    for part in (wordindex, rollups, suspects):
        part.remove(connection)
    connection.exec_driver_sql("DROP TABLE IF EXISTS panic_derived")


@pytest.mark.parametrize("revision", REVISIONS)
def test_each_row_and_value_is_there_again(empty_url: str, revision: str) -> None:
    engine = make_engine(empty_url)
    with engine.connect().execution_options(panicroom_write=True) as connection, connection.begin():
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        schema.create_at(connection, revision)
        filled = fill(connection)
    with engine.connect() as connection:
        assert schema._revision(connection) == revision
        wanted = {name: sorted(rows, key=_order) for name, rows in filled.items()}
        assert found(connection, filled) == wanted, "the test itself: what was written is not what is read"
    assert migrations.upgrade(empty_url) == (revision, migrations.head())
    assert migrations.check(empty_url) == []
    with engine.connect() as connection:
        assert found(connection, filled) == wanted
        kept = told_of(connection)
        assert kept["panic_place"], "the panics that were there are not counted"
        assert kept["change_suspect"]
    with engine.connect().execution_options(panicroom_write=True) as connection, connection.begin():
        derived.rebuild(connection)
        assert told_of(connection) == kept
    engine.dispose()


def test_a_database_without_what_is_derived_gets_it_filled_and_kept(empty_url: str) -> None:
    """At the head already, from a version that derived nothing, or something else."""
    migrations.upgrade(empty_url)
    engine = make_engine(empty_url)
    with engine.connect().execution_options(panicroom_write=True) as connection, connection.begin():
        lose(connection)
        fill(connection)
        connection.exec_driver_sql("CREATE TABLE panic_day (day VARCHAR(10))")  # of an earlier form
        assert not set(derived.DERIVED.tables) & set(sa.inspect(connection).get_table_names())
    assert migrations.upgrade(empty_url) == (migrations.head(), migrations.head())
    with engine.connect().execution_options(panicroom_write=True) as connection, connection.begin():
        before = told_of(connection)
        assert all(before.values()), [name for name, rows in before.items() if not rows]
        assert not sa.inspect(connection).has_table("panic_day")
        panic = next(t for t in tables_of(connection) if t.name == "panic")
        connection.execute(panic.update().where(panic.c.id == ROWS).values(kernel="6.1.0-31"))
        after = told_of(connection)
        assert after != before, "the triggers are not there"
        derived.rebuild(connection)
        assert told_of(connection) == after
    engine.dispose()


def test_a_revision_that_loses_a_value_would_be_told(empty_url: str) -> None:
    """The test above can fail: a column emptied, or a row gone, is seen."""
    migrations.upgrade(empty_url)
    engine = make_engine(empty_url)
    with engine.connect().execution_options(panicroom_write=True) as connection, connection.begin():
        filled = fill(connection)
        wanted = {name: sorted(rows, key=_order) for name, rows in filled.items()}
        assert found(connection, filled) == wanted
        connection.exec_driver_sql("UPDATE host SET owner = NULL WHERE id = 1")
        assert found(connection, filled) != wanted
    engine.dispose()
