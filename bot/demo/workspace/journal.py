"""The workspace's memory on disk: documents in one SQLite table, written behind the answers."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger(__name__)

#: Seconds between a change and its write: a kill -9 of the workspace loses at most this much.
FLUSH_AFTER = 0.05

_SCHEMA = "CREATE TABLE IF NOT EXISTS document (kind TEXT, key TEXT, body TEXT, PRIMARY KEY (kind, key))"
_PUT = (
    "INSERT INTO document (kind, key, body) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body"
)


class Journal:
    """Documents by (kind, key). `path` None keeps nothing: a workspace in memory."""

    def __init__(self, path: Path | None) -> None:
        self._dirty: dict[tuple[str, str], Any] = {}
        self._writer: ThreadPoolExecutor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._database: sqlite3.Connection | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(_SCHEMA)
            self._database.commit()
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="workspace-journal")

    def load(self, kind: str) -> list[tuple[str, Any]]:
        """All documents of a kind, by ascending key."""
        if self._database is None:
            return []
        rows = self._database.execute("SELECT key, body FROM document WHERE kind = ? ORDER BY key", (kind,))
        return [(key, json.loads(body)) for key, body in rows]

    def put(self, kind: str, key: str, document: Any) -> None:
        """Keep `document`, as it stands when it is written (a moment later)."""
        if self._database is not None:
            self._dirty[kind, key] = document
            self._schedule()

    def delete(self, kind: str, key: str) -> None:
        self.put(kind, key, None)

    async def close(self) -> None:
        """Write what is left and close the file."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._database is None or self._writer is None:
            return
        database, rows = self._database, self._take()
        self._database = None
        await asyncio.get_running_loop().run_in_executor(self._writer, _write, database, rows)
        self._writer.shutdown()
        database.close()

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER, self._flush)

    def _take(self) -> list[tuple[str, str, str | None]]:
        rows = [
            (kind, key, None if document is None else json.dumps(document, separators=(",", ":")))
            for (kind, key), document in self._dirty.items()
        ]
        self._dirty.clear()
        return rows

    def _flush(self) -> None:
        self._timer = None
        if self._database is not None and self._writer is not None:
            written = self._writer.submit(_write, self._database, self._take())
            written.add_done_callback(lambda future: _report(future.exception()))


def _write(database: sqlite3.Connection, rows: list[tuple[str, str, str | None]]) -> None:
    with database:
        database.executemany(_PUT, [row for row in rows if row[2] is not None])
        database.executemany(
            "DELETE FROM document WHERE kind = ? AND key = ?", [row[:2] for row in rows if row[2] is None]
        )


def _report(error: BaseException | None) -> None:
    if error is not None:
        log.error("workspace_journal_write_failed", error=str(error))
