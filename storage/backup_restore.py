"""Filling a database from a backup file: made at the backup's own revision, filled, then upgraded.

SQLite: a new file beside, which takes the old one's name when it is whole. PostgreSQL: one transaction, after the
workflows' schema was filled. With `replace` the old one is kept: files `….before-TIME`, schemas `before_TIME` and
`dbos_before_TIME`. Whatever fails, what was there before is there again.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, inspect
from sqlalchemy.engine import make_url

from storage.backup import MAIN, WORKFLOWS, WorkflowTables, connect, quoted
from storage.backup_format import BackupFailed, BackupReader, BackupTooNew, Manifest, Part, Row, open_backup
from storage.backup_lock import DatabaseInUse, hold
from storage.migrations import schema
from storage.migrations.comparison import METADATA, OURS

VERB = "db.restore"  # of the audit rows
RESTORED, RECOVERED = "restored", "recovered"  # their outcomes
_PAGE = 2000


class DatabaseNotEmpty(BackupFailed):
    """The database is not empty. `--replace` keeps it beside and puts the backup in its place."""


@dataclass
class Restored:
    """What was done. `altered`: texts whose NUL characters PostgreSQL does not take. `kept`: where the old one is."""

    manifest: Manifest
    seconds: float = 0.0
    before: str = ""  # the backup's revision
    after: str = ""
    altered: int = 0
    kept: list[str] = field(default_factory=list)


def restore_backup(
    file: Path,
    url: str,
    workflows: WorkflowTables,
    *,
    make_workflows: Callable[[str], int],
    replace: bool,
    clock: Callable[[], datetime],
) -> Restored:
    """Blocking. `make_workflows(url)` makes DBOS's empty tables there and says their version.

    Raises BackupError, SchemaError, SQLAlchemyError or OSError; then the database is as it was.
    """
    began = time.monotonic()
    with open_backup(file) as backup:
        manifest = backup.manifest
        if manifest.revision not in schema.revisions():
            raise BackupTooNew(
                f"it holds schema revision {manifest.revision}; this version knows up to {schema.head()}. "
                "Restore it with the version that took it."
            )
        backup.verify()
        lock = hold(url, alone=True)
        try:
            done = Restored(manifest, before=manifest.revision, after=schema.head())
            now = clock()
            note = _note(file, manifest, now)
            if make_url(url).get_backend_name() == "sqlite":
                _into_files(backup, url, workflows, make_workflows, replace, note, done)
            else:
                _into_server(backup, url, workflows, make_workflows, replace, note, done)
        finally:
            lock.release()
    done.seconds = time.monotonic() - began
    return done


@dataclass(frozen=True)
class _Note:
    """The audit row of the restore, which the first start reads; and the stamp of what is kept beside."""

    subject: str
    detail: str
    at: datetime

    @property
    def stamp(self) -> str:
        return f"{self.at:%Y%m%d%H%M%S}"


def _note(file: Path, manifest: Manifest, now: datetime) -> _Note:
    told = {"taken_at": manifest.taken_at.isoformat(), "newest_report": manifest.newest_report}
    return _Note(file.name[:300], json.dumps(told), now)


# -- SQLite -----------------------------------------------------------------------------------------------


def _into_files(
    backup: BackupReader,
    url: str,
    workflows: WorkflowTables,
    make_workflows: Callable[[str], int],
    replace: bool,
    note: _Note,
    done: Restored,
) -> None:
    main, beside = Path(str(make_url(url).database)), Path(str(make_url(workflows.url).database))
    there = [file for file in (main, beside) if file.exists()]
    if not replace and any(_filled(file) for file in there):
        raise DatabaseNotEmpty(f"{main} is not empty. {_HINT}")
    for file in there:
        _settle(file)
    folder = main.parent / f".restoring-{secrets.token_hex(6)}"
    folder.mkdir(mode=0o700, parents=True)
    try:
        fresh_main, fresh_beside = folder / main.name, folder / beside.name
        if backup.manifest.workflows_revision is not None:
            beside_url = make_url(workflows.url).set(database=str(fresh_beside))
            _fill_workflows(backup, str(beside_url), None, make_workflows, done)
            _settle(fresh_beside)
        engine = connect(str(make_url(url).set(database=str(fresh_main))))
        try:
            with engine.connect().execution_options(panicroom_write=True) as connection, connection.begin():
                _fill_main(connection, backup, note, done)
        finally:
            engine.dispose()
        _settle(fresh_main)
        _swap([(fresh_beside, beside), (fresh_main, main)], note.stamp, done)
    finally:
        shutil.rmtree(folder)


_HINT = "`--replace` keeps it beside and puts the backup in its place."


def _filled(file: Path) -> bool:
    """Whether there is anything in it but an empty schema."""
    connection = sqlite3.connect(file, timeout=10)
    try:
        asked = "SELECT name FROM sqlite_master WHERE type='table'"
        names = {name for (name,) in connection.execute(asked)}
        ours = names & (OURS | {"workflow_status"})
        return any(connection.execute(f"SELECT 1 FROM {quoted(n)} LIMIT 1").fetchone() for n in ours)  # noqa: S608
    finally:
        connection.close()


def _settle(file: Path) -> None:
    """All of it into the one file, on the disk. Raises DatabaseInUse when another program reads or writes it."""
    connection = sqlite3.connect(file, timeout=2)
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    if busy:
        raise DatabaseInUse(f"another program works on {file}. End that one first.")


def _swap(pairs: list[tuple[Path, Path]], stamp: str, done: Restored) -> None:
    """The old files step aside, then the new ones take their names; undone when one of it fails."""
    undo: list[tuple[Path, Path]] = []
    try:
        for fresh, place in pairs:
            owner = (place if place.exists() else place.parent).stat()
            if fresh.exists():
                fresh.chmod(0o600)
                if os.geteuid() == 0:
                    os.chown(fresh, owner.st_uid, owner.st_gid)
            if place.exists():
                aside = place.with_name(f"{place.name}.before-{stamp}")
                if aside.exists():
                    raise FileExistsError(17, "File exists", str(aside))
                place.rename(aside)
                undo.append((aside, place))
        for fresh, place in pairs:
            if fresh.exists():
                fresh.rename(place)
                undo.append((place, fresh))
    except OSError:
        for now, before in reversed(undo):
            now.rename(before)
        raise
    done.kept += [str(aside) for aside, _ in undo if ".before-" in aside.name]
    fd = os.open(pairs[-1][1].parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# -- PostgreSQL -------------------------------------------------------------------------------------------


def _into_server(
    backup: BackupReader,
    url: str,
    workflows: WorkflowTables,
    make_workflows: Callable[[str], int],
    replace: bool,
    note: _Note,
    done: Restored,
) -> None:
    engine = connect(url)
    dbos = str(workflows.schema)
    kept_dbos = f"{dbos}_before_{note.stamp}"
    try:
        with engine.connect() as connection:
            known = inspect(connection)
            ours = sorted(set(known.get_table_names()) & schema.tables_kept())
            had_dbos = dbos in known.get_schema_names()
            if not replace and (
                any(_holds_rows(connection, quoted(name)) for name in ours if name in OURS)
                or (
                    known.has_table("workflow_status", dbos)
                    and _holds_rows(connection, f"{dbos}.workflow_status")
                )
            ):
                raise DatabaseNotEmpty(f"the database is not empty. {_HINT}")
        if had_dbos:
            _run(engine, f"ALTER SCHEMA {dbos} RENAME TO {kept_dbos}")
        try:
            if backup.manifest.workflows_revision is not None:
                _fill_workflows(backup, url, dbos, make_workflows, done)
            with engine.connect().execution_options(panicroom_write=True) as connection, connection.begin():
                if ours:
                    connection.exec_driver_sql(f"CREATE SCHEMA before_{note.stamp}")
                for name in ours:
                    connection.exec_driver_sql(f"ALTER TABLE {quoted(name)} SET SCHEMA before_{note.stamp}")
                _fill_main(connection, backup, note, done)
        except BaseException:
            _run(engine, f"DROP SCHEMA IF EXISTS {dbos} CASCADE")
            if had_dbos:
                _run(engine, f"ALTER SCHEMA {kept_dbos} RENAME TO {dbos}")
            raise
        done.kept += [f"schema before_{note.stamp}"] * bool(ours) + [f"schema {kept_dbos}"] * had_dbos
    finally:
        engine.dispose()


def _run(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def _holds_rows(connection: Connection, table: str) -> bool:
    return connection.exec_driver_sql(f"SELECT 1 FROM {table} LIMIT 1").first() is not None  # noqa: S608


# -- both -------------------------------------------------------------------------------------------------


def _fill_main(connection: Connection, backup: BackupReader, note: _Note, done: Restored) -> None:
    schema.create_at(connection, backup.manifest.revision)
    _fill(connection, None, [p for p in backup.manifest.parts if p.database == MAIN], backup, done)
    schema.complete(connection)
    connection.execute(
        sa.text(
            "INSERT INTO audit_entry (at, actor, verb, subject, outcome, detail) "
            "VALUES (:at, 'panicroom', :verb, :subject, :outcome, :detail)"
        ).bindparams(sa.bindparam("at", type_=METADATA.tables["audit_entry"].c.at.type)),
        {
            "at": note.at, "verb": VERB, "subject": note.subject, "outcome": RESTORED, "detail": note.detail,
        },
    )  # fmt: skip


def _fill_workflows(
    backup: BackupReader, url: str, place: str | None, make: Callable[[str], int], done: Restored
) -> None:
    """DBOS's tables as its own migrations make them now. Columns that are new there get their defaults."""
    has, holds = make(url), backup.manifest.workflows_revision or 0
    if holds > has:
        raise BackupTooNew(
            f"its workflows are of DBOS revision {holds}; this version knows up to {has}. "
            "Restore it with the version that took it."
        )
    engine = connect(url)
    parts = [p for p in backup.manifest.parts if p.database == WORKFLOWS]
    try:
        with engine.connect().execution_options(panicroom_write=True) as connection, connection.begin():
            _fill(connection, place, parts, backup, done, exact=holds == has)
    finally:
        engine.dispose()


def _fill(
    connection: Connection,
    place: str | None,
    parts: list[Part],
    backup: BackupReader,
    done: Restored,
    *,
    exact: bool = True,
) -> None:
    known = inspect(connection)
    by_table = {part.table: part for part in parts}
    order = [name for name, _ in known.get_sorted_table_and_fkc_names(place) if name]
    # DBOS's tables are not all the same on both databases; what is nowhere used may stay behind.
    strange = sorted(name for name in set(by_table) - set(order) if by_table[name].rows)
    if strange and exact:
        raise BackupFailed(
            f"there is no table {strange[0]} to put its part {by_table[strange[0]].name} into."
        )
    for table in order:
        part = by_table.get(table)
        if part is None:
            continue
        has = [c["name"] for c in known.get_columns(table, place)]
        kept = [i for i, name in enumerate(part.columns) if name in has]
        left = [i for i in range(len(part.columns)) if i not in kept] if exact else []
        where = quoted(table) if place is None else f"{quoted(place)}.{quoted(table)}"
        columns = [part.columns[i] for i in kept]
        if place is not None or connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"DELETE FROM {where}")  # noqa: S608 - what DBOS's migrations put there
        rows = _chosen(backup, part, kept, left)
        _load(connection, where, columns, rows, done)
        if connection.dialect.name == "postgresql" and "id" in columns:
            _continue_ids(connection, where)


def _chosen(backup: BackupReader, part: Part, kept: list[int], left: list[int]) -> Iterator[Row]:
    """The cells that have a column; one that would be lost is an error."""
    for row in backup.rows(part):
        lost = next((i for i in left if row[i] is not None), None)
        if lost is not None:
            raise BackupFailed(
                f"table {part.table} has no column {part.columns[lost]}, which the backup fills."
            )
        yield [row[i] for i in kept]


def _load(
    connection: Connection, where: str, columns: list[str], rows: Iterator[Row], done: Restored
) -> None:
    cells = ", ".join(map(quoted, columns))
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns))
        driver.executemany(f"INSERT INTO {where} ({cells}) VALUES ({marks})", rows)  # noqa: S608
        return
    with driver.cursor() as cursor:
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")
        with cursor.copy(f"COPY {where} ({cells}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row([_without_nul(value, done) for value in row])


def _without_nul(value: Any, done: Restored) -> Any:
    if isinstance(value, str) and "\0" in value:
        done.altered += 1
        return value.replace("\0", "\ufffd")
    return value


def _continue_ids(connection: Connection, where: str) -> None:
    """New rows go on after the last id."""
    sequence = connection.execute(sa.text("SELECT pg_get_serial_sequence(:t, 'id')"), {"t": where}).scalar()
    if sequence:
        connection.exec_driver_sql(
            f"SELECT setval('{sequence}', coalesce((SELECT max(id) FROM {where}), 0) + 1, false)"  # noqa: S608
        )
