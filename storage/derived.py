"""What the database keeps beside the tables by itself: the word index, the roll-ups, likely changes by key.

None of it is in the models or in Alembic's history: it follows from the tables, and is made again when its form
changed. `install` belongs after every upgrade, for SQLite loses a table's triggers when a migration rebuilds it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, event, inspect
from sqlmodel import SQLModel

from storage import rollups, suspects, wordindex
from storage.rollups import DERIVED

__all__ = ["DERIVED", "install", "rebuild", "suspend"]

VERSION = 2  # of the form of all that is made here; a database with another one gets it anew
_PARTS = (wordindex, rollups, suspects)


def install(connection: Connection, *, again: bool = False) -> None:
    """Makes what is missing and, where the form is another one or `again`, all of it from the tables."""
    there = inspect(connection).has_table("panic_derived")
    known = connection.exec_driver_sql("SELECT version FROM panic_derived").scalar() if there else None
    if known != VERSION:
        for part in _PARTS:
            part.remove(connection)
    for part in _PARTS:
        part.install(connection)
    if known != VERSION:
        connection.exec_driver_sql("DROP TABLE IF EXISTS panic_derived")
        connection.exec_driver_sql("CREATE TABLE panic_derived (version INTEGER NOT NULL)")
        connection.exec_driver_sql(f"INSERT INTO panic_derived VALUES ({VERSION})")  # noqa: S608
    if known != VERSION or again:
        rebuild(connection)


def suspend(connection: Connection) -> None:
    """For a loader: nothing is kept until `install` and `rebuild`."""
    wordindex.remove(connection)
    rollups.suspend(connection)
    suspects.suspend(connection)


def rebuild(connection: Connection) -> None:
    """Makes all of it again from the tables."""
    for part in _PARTS:
        part.rebuild(connection)


@event.listens_for(SQLModel.metadata, "after_create")
def _with_the_tables(_target: Any, connection: Connection, **_more: Any) -> None:
    install(connection)
