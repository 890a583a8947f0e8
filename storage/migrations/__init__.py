"""The schema's history: `upgrade(url)`, `current(url)`, `check(url)`, for SQLite and PostgreSQL."""

from __future__ import annotations

from storage.migrations.schema import (
    DatabaseTooNew,
    MigrationFailed,
    SchemaError,
    UnknownSchema,
    check,
    current,
    head,
    revise,
    rewrite_first,
    upgrade,
)

__all__ = [
    "DatabaseTooNew",
    "MigrationFailed",
    "SchemaError",
    "UnknownSchema",
    "check",
    "current",
    "head",
    "revise",
    "rewrite_first",
    "upgrade",
]
