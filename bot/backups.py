"""Backups as the bot takes them: of its database with the workflows' own, at a terminal and by the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from dbos import DBOS
from sqlalchemy.engine import make_url

from bot.backup_summary import backup_name
from bot.settings import Settings
from bot.version import VERSION
from bot.workflows import workflow_engine, workflow_url
from storage.backup import Taken, WorkflowTables, take_backup
from storage.backup_restore import Restored, restore_backup
from storage.types import utc_now

_SCHEMA = "dbos"


def workflow_tables(url: str) -> WorkflowTables:
    beside = workflow_url(url)
    return WorkflowTables(beside, None if make_url(beside).get_backend_name() == "sqlite" else _SCHEMA)


def make_workflow_tables(url: str) -> int:
    """DBOS's own tables, empty, by its own migrations; their version. Blocking."""
    DBOS.migrate(url)
    engine = workflow_engine(url)
    place = "" if engine.dialect.name == "sqlite" else f"{_SCHEMA}."
    try:
        with engine.connect() as connection:
            asked = sa.text(f"SELECT max(version) FROM {place}dbos_migrations")  # noqa: S608
            return int(connection.execute(asked).scalar() or 0)
    finally:
        engine.dispose()


def backup_now(url: str, target: Path, *, clock: Callable[[], datetime] = utc_now) -> Taken:
    """Blocking. Into the file `target`, or into a file of its own in the directory `target`."""
    place = target / backup_name(clock()) if target.is_dir() else target
    return take_backup(url, workflow_tables(url), place, version=VERSION, clock=clock)


def restore_now(file: Path, settings: Settings, *, replace: bool) -> Restored:
    """Blocking."""
    url = settings.database.url
    return restore_backup(
        file, url, workflow_tables(url), make_workflows=make_workflow_tables, replace=replace, clock=utc_now
    )
