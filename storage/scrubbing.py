"""Taking a host out of the tables: what hangs on its panics goes, what names it says a placeholder instead.

The tables are found in the metadata, so that one that is added later is not forgotten. What the database derives (word
index, roll-ups) follows by its triggers; `compact` frees the database's files of what stood in them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import (
    JSON,
    ColumnElement,
    Engine,
    String,
    Table,
    Text,
    TypeDecorator,
    and_,
    cast,
    delete,
    exists,
    false,
    func,
    or_,
    select,
    tuple_,
    update,
)  # fmt: skip
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, SQLModel

from storage.names import HostName
from storage.types import EnumText

log = structlog.get_logger(__name__)

# Kept without what was said there: a timeline is the incident's, and an erasure tells of itself.
_KEPT = frozenset({"panic", "timeline_entry", "erasure", "erasure_item", "audit_entry"})
_OWN = frozenset({"erasure", "erasure_item"})  # emptied when it is over
BATCH = 100
_PAUSE, _WAIT = 0.2, 30.0  # seconds: between two tries to empty the WAL, and for how long


def doomed(host: str) -> list[tuple[Table, ColumnElement[bool]]]:
    """The rows that are nothing without the host: those of its panics, of its runs and copies, and of itself.

    In the order in which they can be deleted.
    """
    panic = SQLModel.metadata.tables["panic"]
    found: dict[Table, ColumnElement[bool]] = {}
    for table in SQLModel.metadata.sorted_tables:
        if table.name in _KEPT:
            continue
        which: list[ColumnElement[bool]] = []
        for key in table.foreign_keys:
            parent = key.column.table
            if parent is panic:
                which.append(key.parent.in_(select(panic.c.id).where(func.lower(panic.c.host) == host)))
            elif parent is not table and parent in found:
                which.append(
                    exists(select(1).select_from(parent).where(key.column == key.parent, found[parent]))
                )
        if "host" in table.c:
            which.append(func.lower(table.c.host) == host)
        if table.name == "host":
            which.append(func.lower(table.c.name) == host)
        if table.name == "sweep_place":
            which.append(and_(table.c.kind == "host", func.lower(table.c.name) == host))
        if table.name == "change_record":
            which.append(func.lower(table.c.source) == f"host:{host}")
        if which:
            found[table] = or_(*which)
    return [(table, found[table]) for table in reversed(SQLModel.metadata.sorted_tables) if table in found]


def delete_doomed(session: Session, host: str) -> dict[str, int]:
    """{table: rows that went}."""
    gone = {}
    for table, which in doomed(host):
        count: Any = session.execute(delete(table).where(which))
        if count.rowcount:
            gone[table.name] = int(count.rowcount)
    return gone


def replace_names(
    session: Session, table: Table, name: HostName, after: Sequence[Any] | None, *, batch: int = BATCH
) -> tuple[tuple[Any, ...] | None, list[tuple[Any, ...]]]:
    """One batch of a table's rows that hold the name, behind the key `after`: (last key or None at the end, the keys
    of the rows that were changed)."""
    key = list(table.primary_key)
    texts = [c for c in table.c if _is_text(c) and not c.primary_key and not c.foreign_keys]
    if not texts or not key or table.name in _OWN:
        return None, []
    holds = [func.lower(cast(c, Text)).contains(name.name, autoescape=True) for c in texts]
    query = select(*key, *texts).where(or_(false(), *holds)).order_by(*key).limit(batch)
    if after is not None:
        query = query.where(tuple_(*key) > tuple_(*after))
    rows = session.execute(query).all()
    changed = []
    for row in rows:
        values = {}
        for column, value in zip(texts, row[len(key) :], strict=True):
            if value is not None and (new := name.replaced_in(value)) != value:
                values[column.name] = new
        if values:
            where = and_(*(c == v for c, v in zip(key, row[: len(key)], strict=True)))
            session.execute(update(table).where(where).values(**values))
            changed.append(tuple(row[: len(key)]))
    return (tuple(rows[-1][: len(key)]) if len(rows) == batch else None), changed


def _is_text(column: Any) -> bool:
    kind = column.type
    if isinstance(kind, TypeDecorator):  # SQLModel's own kind of text is one
        kind = kind.impl_instance
    return isinstance(kind, (String, JSON)) and not isinstance(column.type, EnumText)


def compact(engine: Engine) -> None:
    """Nothing of what was deleted or written over stands in SQLite's files any more: not in the word index, not in
    free pages, not in the WAL. PostgreSQL is told to reuse the space; its files keep what stood there until then.

    Blocks, in SQLite everybody who writes. Raises OperationalError where the database is in use for too long.
    """
    if engine.dialect.name != "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM")
        return
    pooled = engine.raw_connection()
    try:
        cursor = pooled.cursor()
        cursor.execute("INSERT INTO panic_words(panic_words) VALUES ('optimize')")
        cursor.execute("VACUUM")
        deadline = time.monotonic() + _WAIT
        while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                raise OperationalError(
                    "wal_checkpoint", None, TimeoutError("the WAL is being read all the time")
                )
            time.sleep(_PAUSE)
        cursor.close()
    finally:
        pooled.close()
