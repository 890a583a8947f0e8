"""The engine, and a thread pool in front of it: no query ever runs in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlmodel import Session

T = TypeVar("T")


def make_engine(url: str, *, called: str | None = None) -> Engine:
    """An engine for `sqlite:///file` or `postgresql+psycopg://…`; `called`: the name of its sessions at the server.

    SQLite: WAL, `synchronous=FULL` (a commit that was acknowledged survives a power loss; with NORMAL the
    last commits of a WAL database may be lost with the power), 10 s busy time-out, foreign keys on. The
    driver's own transaction handling is switched off so that a writing transaction can start with
    `BEGIN IMMEDIATE`: a read that turns into a write half-way cannot wait for the lock, it fails.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        named = {"application_name": called} if called else {}
        server = create_engine(url, pool_size=8, max_overflow=4, pool_pre_ping=True, connect_args=named)

        @event.listens_for(server, "connect")
        def _without_compiling(connection: Any, _record: Any) -> None:
            # Our queries read some thousand rows; to compile one takes PostgreSQL longer than to run it.
            connection.execute("SET jit = off")
            # A plan for any ring is none for a rare one: values are as unevenly spread as panics are.
            connection.execute("SET plan_cache_mode = force_custom_plan")
            connection.commit()

        return server
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": 10}, pool_size=8)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get("panicroom_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


class Database:
    """Sessions in threads: `await db.read(fn)` and `await db.write(fn)`, where `fn(session)` is plain code.

    A write is one transaction, committed when `fn` returns and rolled back when it raises. SQLite has one
    writer at a time anyway, so writes queue in one thread instead of fighting for the lock.
    """

    def __init__(self, url: str, *, threads: int = 4, called: str | None = None) -> None:
        self.url = url
        self.engine = make_engine(url, called=called)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="db-read")
        self._writers = ThreadPoolExecutor(1 if self.is_sqlite else threads, thread_name_prefix="db-write")

    async def read(self, fn: Callable[[Session], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, fn)

    async def write(self, fn: Callable[[Session], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writers, self.write_now, fn)

    def read_now(self, fn: Callable[[Session], T]) -> T:
        """The same in the caller's own thread, for command-line tools."""
        with Session(self.engine, expire_on_commit=False) as session:
            return fn(session)

    def write_now(self, fn: Callable[[Session], T]) -> T:
        with (
            self.engine.connect().execution_options(panicroom_write=True) as connection,
            Session(connection, expire_on_commit=False) as session,
        ):
            result = fn(session)
            session.commit()
            return result

    def close(self) -> None:
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._writers.shutdown(wait=True, cancel_futures=True)
        self.engine.dispose()
