"""Alembic's entry: runs on the connection that `storage.migrations` hands over."""

from __future__ import annotations

from alembic import context

from storage.migrations.comparison import compare_options

connection = context.config.attributes["connection"]
context.configure(connection=connection, **compare_options(connection.dialect.name))
with context.begin_transaction():
    context.run_migrations()
