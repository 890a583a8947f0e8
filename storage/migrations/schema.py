"""Bringing a database to the schema of this version, under a lock, in one transaction.

SchemaError
├── DatabaseTooNew    the database was written by a newer version
├── UnknownSchema     there are tables, but nothing says which version they are
└── MigrationFailed   a revision failed; nothing of it was kept
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from storage import derived
from storage.database import make_engine
from storage.migrations.comparison import METADATA, OURS, compare_options

HERE = Path(__file__).parent
VERSIONS = HERE / "versions"
FIRST = "0001"
_POSTGRES_LOCK = 0x50414E4943  # "PANIC": replicas that start together upgrade one after the other


class SchemaError(Exception):
    """The database's schema cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class DatabaseTooNew(SchemaError):
    """The database was written by a newer version of Panicroom. Start that version, or restore an older backup."""


class UnknownSchema(SchemaError):
    """The database has tables of Panicroom, but no version. Give an empty database, or restore a backup."""


class MigrationFailed(SchemaError):
    """The schema could not be upgraded, and the database is as it was before."""


def head() -> str:
    """The revision that this version of the code needs."""
    revision = _scripts().get_current_head()
    assert revision is not None
    return revision


def current(url: str) -> str | None:
    """The database's revision; None for an empty one. A SQLite file that is not there is not made."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database and not Path(parsed.database).exists():
        return None
    with _engine(url) as engine, engine.connect() as connection:
        return _revision(connection)


def upgrade(url: str) -> tuple[str | None, str]:
    """Brings the database to `head()`; returns (revision before, revision after).

    One transaction under a lock: of two processes that start together one upgrades, the other finds it done.
    Raises DatabaseTooNew, UnknownSchema or MigrationFailed; after any of them nothing was changed.
    """
    with _engine(url) as engine, engine.connect() as plain:
        connection = plain.execution_options(panicroom_write=True)
        with connection.begin():
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRES_LOCK})")
            before = _revision(connection)
            _refuse_strangers(connection, before)
            try:
                if before == head():
                    derived.install(connection)
                    return before, before
                command.upgrade(_config(connection), "head")
                _check_foreign_keys(connection)
                derived.install(connection, again=before is not None)
            except SQLAlchemyError as error:
                raise MigrationFailed(
                    f"{(MigrationFailed.__doc__ or '').strip()} From {before or 'nothing'} to {head()}: "
                    f"{type(error).__name__}: {str(error)[:500]}"
                ) from error
            return before, head()


def revisions() -> frozenset[str]:
    """Those that this version of the code knows."""
    return frozenset(script.revision for script in _scripts().walk_revisions())


def tables_of(revision: str) -> frozenset[str]:
    """The tables that this revision has, without those that the database keeps by itself."""
    if revision == head():
        return OURS
    with (
        tempfile.TemporaryDirectory() as scratch,
        _engine(f"sqlite:///{scratch}/history.db") as engine,
        engine.connect().execution_options(panicroom_write=True) as connection,
        connection.begin(),
    ):
        create_at(connection, revision)
        return frozenset(inspect(connection).get_table_names()) - {"alembic_version"}


def tables_kept() -> frozenset[str]:
    """All that is ours in a database of this revision: the tables, what is derived of them, and the versions."""
    return OURS | frozenset(derived.DERIVED.tables) | {"alembic_version", "panic_derived"}


def create_at(connection: Connection, revision: str) -> None:
    """The empty tables of a revision, in the caller's transaction; nothing is derived yet."""
    command.upgrade(_config(connection), revision)


def complete(connection: Connection) -> None:
    """From an earlier revision whose tables were filled to this version's, with all that is derived."""
    command.upgrade(_config(connection), "head")
    _check_foreign_keys(connection)
    derived.install(connection, again=True)


def check(url: str) -> list[str]:
    """How the database's schema differs from the tables in the code, a line each; none when it is the same."""
    with _engine(url) as engine, engine.connect() as connection:
        revision = _revision(connection)
        lines = (
            [] if revision == head() else [f"the database is at revision {revision}, the code needs {head()}"]
        )
        context = MigrationContext.configure(connection, opts=compare_options(connection.dialect.name))
        return lines + [_told(difference) for difference in _flat(compare_metadata(context, METADATA))]


def revise(message: str, *, directory: Path = VERSIONS) -> Path:
    """Writes the next revision: what the tables in the code have that the history in `directory` has not."""
    number = f"{len(list(directory.glob('[0-9]*.py'))) + 1:04d}"
    with (
        tempfile.TemporaryDirectory() as scratch,
        _engine(f"sqlite:///{scratch}/history.db") as engine,
        engine.connect().execution_options(panicroom_write=True) as connection,
        connection.begin(),
    ):
        config = _config(connection, directory)
        if number != FIRST:
            command.upgrade(config, "head")
        command.revision(config, message=message, rev_id=number, autogenerate=True)
    return next(directory.glob(f"{number}_*.py"))


def rewrite_first(*, directory: Path = VERSIONS) -> Path:
    """Makes the first revision anew from the tables. Only while no database in use has been made with it."""
    others = [p for p in directory.glob("[0-9]*.py") if not p.name.startswith(FIRST)]
    if others:
        raise SchemaError(f"there are later revisions ({others[0].name}): add one instead, with `revise`")
    for old in directory.glob(f"{FIRST}_*.py"):
        old.unlink()
    return revise("first tables", directory=directory)


# -- below the verbs --------------------------------------------------------------------------------------


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _rebuilding_tables_must_not_cascade(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA foreign_keys=OFF")  # checked as a whole before the commit instead
            cursor.close()

    try:
        yield engine
    finally:
        engine.dispose()


def _config(connection: Connection | None = None, directory: Path = VERSIONS) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("version_locations", str(directory).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_strangers(connection: Connection, revision: str | None) -> None:
    if revision is None:
        present = sorted(OURS.intersection(inspect(connection).get_table_names()))
        if present:
            raise UnknownSchema(f"{(UnknownSchema.__doc__ or '').strip()} Found: {', '.join(present[:5])}.")
        return
    if revision not in revisions():
        raise DatabaseTooNew(
            f"{(DatabaseTooNew.__doc__ or '').strip()} It is at revision {revision}; this version knows up to {head()}."
        )


def _check_foreign_keys(connection: Connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise MigrationFailed(f"{len(broken)} rows would point to nothing, first in table {broken[0][0]}.")


def _flat(differences: Any) -> Iterator[tuple[Any, ...]]:
    """Alembic groups the changes of a column in lists of their own."""
    for difference in differences:
        if isinstance(difference, list):
            yield from _flat(difference)
        else:
            yield difference


def _told(difference: tuple[Any, ...]) -> str:
    words = [str(difference[0])]
    for part in difference[1:]:
        name = getattr(part, "name", None)
        if isinstance(part, str) or name:
            words.append(str(name or part))
    return " ".join(words)
