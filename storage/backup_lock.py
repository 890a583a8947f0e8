"""Who works on a database: on PostgreSQL a bot together with others, on SQLite by itself; a restore always alone.

The locks are the operating system's (SQLite: `flock` on `FILE.lock`) and the server's (PostgreSQL: an advisory
lock of a session), so a crash leaves none behind.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol

import structlog
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from storage.migrations.schema import SchemaError

log = structlog.get_logger(__name__)
_POSTGRES_KEY = 0x50414E4944  # the one beside the migrations'


class DatabaseInUse(SchemaError):
    """Somebody works on the database."""


class Hold(Protocol):
    def keep(self) -> bool:
        """Whether it is still held; one that a server has lost is taken again. Blocking."""
        ...

    def release(self) -> None: ...


def hold(url: str, *, alone: bool = False) -> Hold:
    """Raises DatabaseInUse when the others do not let us, OSError or SQLAlchemyError when there is no telling."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _FileHold(Path(str(parsed.database)), alone)
    return _ServerHold(url, alone)


def _refusal(alone: bool, by: str = "restore") -> DatabaseInUse:
    if alone:
        return DatabaseInUse("a bot runs on it. Stop the bot first.")
    if by == "bot":
        return DatabaseInUse(
            "another bot runs on it, and an SQLite file serves one. Stop that one, or give all of them the same "
            "PostgreSQL."
        )
    return DatabaseInUse("a restore is at work on it. Wait for its end.")


class _FileHold:
    """The lock's file says who has it; a lock without a file that says so is a restore's."""

    def __init__(self, database: Path, alone: bool) -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        path = database.with_name(database.name + ".lock")
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.geteuid() == 0:  # the bot's user must be able to open it, too
                owner = database if database.exists() else database.parent
                os.fchown(self._fd, owner.stat().st_uid, owner.stat().st_gid)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"restore" if alone else b"bot", 0)
        except BlockingIOError as error:
            by = os.pread(self._fd, 20, 0).decode("ascii", "replace")
            os.close(self._fd)
            raise _refusal(alone, by) from error
        except OSError:
            os.close(self._fd)
            raise

    def keep(self) -> bool:
        return True

    def release(self) -> None:
        os.close(self._fd)


class _ServerHold:
    def __init__(self, url: str, alone: bool) -> None:
        self._engine = create_engine(url, pool_size=1, max_overflow=0, isolation_level="AUTOCOMMIT")
        self._alone = alone
        try:
            self._take()
        except (SQLAlchemyError, DatabaseInUse):
            self._engine.dispose()
            raise

    def _take(self) -> None:
        self._connection = self._engine.connect()
        how = "" if self._alone else "_shared"
        asked = f"SELECT pg_try_advisory_lock{how}({_POSTGRES_KEY})"
        if not self._connection.exec_driver_sql(asked).scalar():
            self._connection.close()
            raise _refusal(self._alone)

    def keep(self) -> bool:
        try:
            self._connection.exec_driver_sql("SELECT 1")
        except SQLAlchemyError:
            self._connection.invalidate()
            self._connection.close()
            self._take()
            return False
        return True

    def release(self) -> None:
        try:
            # Who asks next must not have to wait until the server has seen that this session ended.
            self._connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        except SQLAlchemyError as error:
            log.info("database.lock_left", error=type(error).__name__)  # it goes with the session
        self._connection.invalidate()
        self._connection.close()
        self._engine.dispose()
