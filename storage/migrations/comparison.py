"""How the tables are compared with a database, and how a column's type is written in a revision."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.schema import SchemaItem
from sqlmodel import SQLModel

from storage import wordindex

METADATA = SQLModel.metadata
OURS = frozenset(
    str(table.name)
    for mapper in SQLModel._sa_registry.mappers
    if mapper.class_.__module__.startswith("storage.")
    for table in mapper.tables
)


def compare_options(dialect: str) -> dict[str, Any]:
    """For Alembic's `configure`: only our own tables (others, such as DBOS's, may live beside them)."""
    return {
        "target_metadata": METADATA,
        "compare_type": True,
        "compare_server_default": False,
        "include_name": _include_name,
        "include_object": _include_object,
        "render_item": _render_item,
        "render_as_batch": dialect == "sqlite",  # SQLite cannot alter a column: the table is rebuilt
        "transactional_ddl": True,
        "transaction_per_migration": False,
    }


def _include_name(name: str | None, kind: str, _parents: Any) -> bool:
    if kind == "index":
        return name != wordindex.INDEX  # kept by storage.derived
    return kind != "table" or name in OURS


def _include_object(item: SchemaItem, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
    return kind != "table" or name in OURS


def _render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Plain SQLAlchemy types: a revision must mean the same when the application's own types change."""
    if kind == "type" and isinstance(item, sa.types.TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    return False
