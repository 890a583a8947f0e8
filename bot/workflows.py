"""DBOS, which carries runs over restarts: started with our engine, a pinned version and a quiet voice.

What is a workflow is said where it happens (`commands/triage/workflow.py`, `commands/evidence/workflow.py`). Desks are
made before `start()`, because DBOS recovers what was under way as soon as it starts and looks for them by name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from dbos import DBOS, DBOSConfig
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url

log = structlog.get_logger(__name__)

# DBOS recovers only workflows of its own application version, by default a hash of the code, which would
# strand what runs at each deploy. Raise this number when the order of steps in a workflow changes: what another version
# was at begins anew then, from what its rows say is done (`begin_anew`).
APPLICATION_VERSION = "panicroom-3"


def workflow_url(database_url: str) -> str:
    """Where workflows are kept: beside the bot's SQLite file in one of its own, or in the same PostgreSQL database.

    `sqlite:////srv/panicroom.db` -> `sqlite:////srv/panicroom-workflows.db`. A file of its own, so that a
    workflow's checkpoint never waits for the bot's writer; in PostgreSQL, DBOS has its own schema.
    """
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return database_url
    path = Path(url.database)
    beside = path.with_name(f"{path.stem}-workflows{path.suffix or '.db'}")
    return url.set(database=str(beside)).render_as_string(hide_password=False)


def workflow_engine(url: str, *, called: str | None = None) -> Engine:
    """Like storage's engine (WAL, synchronous=FULL), but with the driver's own `BEGIN IMMEDIATE`.

    DBOS writes that statement itself when it migrates, so an engine that begins transactions on its own
    would nest them.
    """
    if make_url(url).get_backend_name() != "sqlite":
        named = {"application_name": called} if called else {}
        return create_engine(url, pool_size=8, max_overflow=4, pool_pre_ping=True, connect_args=named)
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": 30}, pool_size=8)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=30000",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


class Workflows:
    """Start and stop of DBOS, once a process at a time (DBOS is a singleton).

    All replicas are the same `executor`, because DBOS recovers only what the same executor had begun; that it is
    started by the one that leads alone, and writes nothing when that is another one, is up to `guard(engine)`.
    `called`: the name of its sessions at the server.
    """

    def __init__(
        self,
        database_url: str,
        *,
        executor: str = "panicroom",
        called: str | None = None,
        guard: Callable[[Engine], None] = lambda _engine: None,
    ) -> None:
        self.url = workflow_url(database_url)
        self.executor = executor
        self.called = called
        self.guard = guard
        self._dbos: DBOS | None = None
        self._engine: Engine | None = None

    @property
    def running(self) -> bool:
        return self._dbos is not None

    def start(self) -> None:
        """Start, and go on with what was under way. Call it in the bot's event loop: workflows run there.

        Blocks for the time of a migration check (tens of milliseconds; about a second the very first time).
        """
        if make_url(self.url).get_backend_name() == "sqlite":
            Path(str(make_url(self.url).database)).parent.mkdir(parents=True, exist_ok=True)
        _quieten()
        self._engine = workflow_engine(self.url, called=self.called)
        self.guard(self._engine)
        config: DBOSConfig = {
            "name": "panicroom",
            "system_database_url": self.url,
            "system_database_engine": self._engine,
            "application_version": APPLICATION_VERSION,
            "executor_id": self.executor,
            "enable_otlp": False,
            "log_level": "WARNING",
            "max_executor_threads": 32,
        }
        self._dbos = DBOS(config=config)
        DBOS.launch()

    async def begin_anew(self) -> int:
        """Forget how far workflows of another version are; how many. Before the desks `resume`: they start them again.

        DBOS would leave them alone for ever. A desk's own rows say which of its steps are done.
        """
        found = await DBOS.list_workflows_async(
            status=["PENDING", "ENQUEUED", "DELAYED"], load_input=False, load_output=False
        )
        ids = [w.workflow_id for w in found if w.app_version != APPLICATION_VERSION]
        if ids:
            log.info("workflows.anew", count=len(ids), version=APPLICATION_VERSION)
            await DBOS.delete_workflows_async(ids)
        return len(ids)

    async def stop(self) -> None:
        """Stop. What is under way is left where it stands and goes on at the next start."""
        dbos, self._dbos = self._dbos, None
        if dbos is None:
            return
        # Workflows run as tasks of our loop. Cancelled ones record no outcome, so they stay pending.
        tasks = [task for task in dbos._workflow_tasks if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: DBOS.destroy(workflow_completion_timeout_sec=0))
        # DBOS made its own pool the loop's default one, and has just shut that down.
        loop.set_default_executor(_fresh_pool())
        # Desks are looked up by name in a registry that outlives DBOS: another bot in this process brings its own.
        dbos._registry.instance_info_map.clear()
        dbos._registry.dbos = None
        if self._engine is not None:
            self._engine.dispose()


def _fresh_pool() -> Any:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(thread_name_prefix="loop")


class _ToStructlog(logging.Handler):
    """DBOS's warnings and errors, in the bot's own log."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Asyncio task cancelled"):
            return  # by our own stop()
        level = log.error if record.levelno >= logging.ERROR else log.warning
        level("workflows", message=record.getMessage(), exc_info=record.exc_info)


def _quieten() -> None:
    """With a handler in place, DBOS does not install its own on the console."""
    logger = logging.getLogger("dbos")
    logger.propagate = False
    if not any(isinstance(h, _ToStructlog) for h in logger.handlers):
        logger.addHandler(_ToStructlog())
