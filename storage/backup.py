"""Taking a backup of a database in use: one read of it as it stood at one moment, which nobody waits for.

PostgreSQL: a repeatable-read transaction, streamed by COPY. SQLite: a read transaction in WAL mode, which sees one
moment and holds up no writer; meanwhile the write-ahead file is not shortened. The tables that the database keeps
by itself (word index, roll-ups: `storage.derived`) are left out and made again by a restore.

The workflows' snapshot is taken first: it is never newer than the bot's tables. A run that its workflow does not
know yet is begun at the start, and a step whose checkpoint is missing is made again, as after a crash. The other way
round, a workflow could count as done what the tables do not hold.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import Engine, inspect
from sqlalchemy.engine import make_url

from storage.backup_format import BackupFailed, BackupWriter, Manifest, Row
from storage.database import make_engine
from storage.migrations import schema

MAIN, WORKFLOWS = "panicroom", "workflows"
_FETCH = 500


@dataclass(frozen=True)
class WorkflowTables:
    """Where DBOS keeps its own. `url` is the bot's for PostgreSQL, where they stand in `schema`."""

    url: str
    schema: str | None
    version_table: str = "dbos_migrations"


@dataclass(frozen=True)
class Taken:
    """A backup that was made. `seconds` for all of it; `held`: how long the snapshot was kept open."""

    path: Path
    size: int
    manifest: Manifest
    seconds: float
    held: float


def take_backup(
    url: str, workflows: WorkflowTables, target: Path, *, version: str, clock: Callable[[], datetime]
) -> Taken:
    """Blocking. `target` must not be there. Raises BackupError, SchemaError, SQLAlchemyError or OSError."""
    revision = schema.current(url)
    if revision is None:
        raise BackupFailed("the database is empty: there is nothing to back up.")
    if revision not in schema.revisions():
        raise schema.DatabaseTooNew((schema.DatabaseTooNew.__doc__ or "").strip())
    if target.exists():
        raise FileExistsError(17, "File exists", str(target))
    began = time.monotonic()
    writer = BackupWriter(target)
    try:
        with _open(url, workflows) as (main, beside):
            opened, taken_at = time.monotonic(), clock()
            _copy(main, MAIN, schema.tables_of(revision), writer)
            if beside is not None:
                _copy(beside, WORKFLOWS, frozenset(beside.tables()) - {workflows.version_table}, writer)
            version_of = (
                beside.scalar(workflows.version_table, "max(version)") if beside is not None else None
            )
            manifest = Manifest(
                version=version,
                taken_at=taken_at,
                source=make_url(url).get_backend_name(),
                revision=revision,
                workflows_revision=version_of,
                newest_report=main.scalar("report", "max(id)") or 0,
                artefacts=main.scalar("artefact", "count(*)") or 0,
                artefact_bytes=int(main.scalar("artefact", "sum(size)") or 0),
                parts=tuple(writer.parts),
            )
            held = time.monotonic() - opened
        size = writer.finish(manifest)
    finally:
        writer.abandon()
    return Taken(target, size, manifest, time.monotonic() - began, held)


def _copy(snapshot: Snapshot, database: str, wanted: frozenset[str], writer: BackupWriter) -> None:
    for table in snapshot.tables():
        if table in wanted:
            columns = snapshot.columns(table)
            writer.table(database, table, [name for name, _ in columns], snapshot.rows(table, columns))


Columns = Sequence[tuple[str, str]]  # name, kind: integer, number, truth, time, instant, json, text


class Snapshot(Protocol):
    def tables(self) -> list[str]: ...
    def columns(self, table: str) -> Columns: ...
    def rows(self, table: str, columns: Columns) -> Iterator[Row]: ...
    def scalar(self, table: str, what: str) -> Any: ...


@contextmanager
def _open(url: str, workflows: WorkflowTables) -> Iterator[tuple[Snapshot, Snapshot | None]]:
    with ExitStack() as stack:
        if make_url(url).get_backend_name() == "sqlite":
            beside_file = Path(str(make_url(workflows.url).database))
            beside = stack.enter_context(_sqlite(beside_file)) if beside_file.exists() else None
            main = stack.enter_context(_sqlite(Path(str(make_url(url).database))))
            if beside is not None and not beside.has(workflows.version_table):
                beside = None
            yield main, beside
            return
        engine = make_engine(url)
        stack.callback(engine.dispose)
        connection = stack.enter_context(engine.connect())
        driver = connection.connection.driver_connection
        assert driver is not None
        with driver.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL TIME ZONE 'UTC'")
            cursor.execute("SELECT 1")
        known = inspect(connection)
        there = workflows.schema is not None and known.has_table(workflows.version_table, workflows.schema)
        yield _Server(driver, known, None), _Server(driver, known, workflows.schema) if there else None


@contextmanager
def _sqlite(file: Path) -> Iterator[_File]:
    """The moment that is seen is that of the first read, which is made here."""
    connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True, timeout=30)
    try:
        connection.isolation_level = None
        connection.execute("PRAGMA query_only=ON")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield _File(connection)
    finally:
        connection.close()


class _File:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def has(self, table: str) -> bool:
        asked = "SELECT 1 FROM sqlite_master WHERE type='table' AND name=?"
        return self._connection.execute(asked, (table,)).fetchone() is not None

    def tables(self) -> list[str]:
        asked = "SELECT name FROM sqlite_master WHERE type='table' ORDER BY name"
        names = [name for (name,) in self._connection.execute(asked).fetchall()]
        return [name for name in names if not name.startswith("sqlite_")]

    def columns(self, table: str) -> Columns:
        return [(row[1], "") for row in self._connection.execute(f"PRAGMA table_info({quoted(table)})")]

    def rows(self, table: str, columns: Columns) -> Iterator[Row]:
        cells = ", ".join(quoted(name) for name, _ in columns)
        cursor = self._connection.execute(f"SELECT {cells} FROM {quoted(table)}")  # noqa: S608
        while rows := cursor.fetchmany(_FETCH):
            for row in rows:
                if any(isinstance(value, bytes) for value in row):
                    raise BackupFailed(f"table {table} holds bytes where it should hold text.")
                yield list(row)

    def scalar(self, table: str, what: str) -> Any:
        return self._connection.execute(f"SELECT {what} FROM {quoted(table)}").fetchone()[0]  # noqa: S608


class _Server:
    def __init__(self, driver: Any, known: sa.Inspector, schema: str | None) -> None:
        self._driver = driver
        self._known = known
        self._schema = schema

    def tables(self) -> list[str]:
        return sorted(self._known.get_table_names(self._schema))

    def columns(self, table: str) -> Columns:
        return [(c["name"], kind_of(c["type"])) for c in self._known.get_columns(table, self._schema)]

    def rows(self, table: str, columns: Columns) -> Iterator[Row]:
        cells = ", ".join(_READ.get(kind, "{}").format(quoted(name)) for name, kind in columns)
        with (
            self._driver.cursor() as cursor,
            cursor.copy(f"COPY (SELECT {cells} FROM {self._place(table)}) TO STDOUT") as copy,  # noqa: S608
        ):
            copy.set_types([_TYPES.get(kind, "text") for _, kind in columns])
            for row in copy.rows():
                yield list(row)

    def scalar(self, table: str, what: str) -> Any:
        with self._driver.cursor() as cursor:
            cursor.execute(f"SELECT {what} FROM {self._place(table)}")  # noqa: S608
            return cursor.fetchone()[0]

    def _place(self, table: str) -> str:
        return quoted(table) if self._schema is None else f"{quoted(self._schema)}.{quoted(table)}"


_READ = {
    "truth": "{}::int",
    "instant": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')",
    "time": "to_char({}, 'YYYY-MM-DD HH24:MI:SS.US')",
    "json": "{}::text",
    "number": "{}::float8",
}
_TYPES = {"truth": "int8", "integer": "int8", "number": "float8"}


def kind_of(column: Any) -> str:
    """The kind of a reflected column's type."""
    if isinstance(column, sa.Boolean):
        return "truth"
    if isinstance(column, sa.DateTime):
        return "instant" if column.timezone else "time"
    if isinstance(column, sa.JSON):
        return "json"
    if isinstance(column, sa.Integer):
        return "integer"
    return "number" if isinstance(column, sa.Numeric | sa.Float) else "text"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def connect(url: str) -> Engine:
    """For what a restore fills: foreign keys are checked as a whole at the end."""
    engine = make_engine(url)
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def _unchecked(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA foreign_keys=OFF")

    return engine
