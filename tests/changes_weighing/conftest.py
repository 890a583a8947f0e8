from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from storage import Database
from tests.support_postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


@pytest.fixture
def db(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """SQLite, or with `on_both` PostgreSQL, too."""
    url = f"sqlite:///{tmp_path}/panicroom.db"
    if getattr(request, "param", "sqlite") == "postgresql":
        url = request.getfixturevalue("postgres_url")
    database = Database(url)
    SQLModel.metadata.create_all(database.engine)
    yield database
    database.close()


on_both = pytest.mark.parametrize("db", ["sqlite", "postgresql"], indirect=True)
