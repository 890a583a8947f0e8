"""Group commit: whatever arrives at the same time is committed together, and answered only after that.

A commit to disk costs milliseconds, a row in it microseconds. One writer takes all that waits, stores it in
one transaction and only then tells each caller: under load the batches grow by themselves, and a lone
arrival waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Table, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlmodel import Session, SQLModel, select

from storage.database import Database
from storage.tables import Report, ReportState
from storage.types import utc_now
from storage.work import SlackRequest

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class InboxError(Exception):
    """Nothing was stored."""


class InboxFull(InboxError):
    """More waits to be stored than the inbox holds: the database does not keep up. Send it again later."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"{(type(self).__doc__ or '').strip()} Retry after {retry_after} s.")


class InboxClosed(InboxError):
    """The bot is stopping and takes nothing more. Send it again later."""


@dataclass(frozen=True)
class Stored:
    """A committed row. `duplicate`: it was there before; `id` is the first one's."""

    id: int
    duplicate: bool


class GroupCommit(Generic[Item, Result]):
    """Stores items in batches: `store(session, items)` returns one result an item, in order.

    `await add(item)` returns after the commit, or raises what the transaction raised. When a batch fails for
    another reason than the database's own state, its items are tried one by one: one that cannot be stored
    does not take its neighbours with it.
    """

    def __init__(
        self,
        db: Database,
        store: Callable[[Session, Sequence[Item]], Sequence[Result]],
        *,
        capacity: int = 5000,
        capacity_bytes: int = 128 * 1024 * 1024,
        max_batch: int = 250,
        retry_after: int = 5,
        on_batch: Callable[[int], None] = lambda _size: None,
    ) -> None:
        self._db = db
        self._store = store
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._max_batch = max_batch
        self._retry_after = retry_after
        self._on_batch = on_batch
        self._queue: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self._bytes = 0
        self._unstored = 0  # waiting or in the transaction under way
        self._arrived = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Items not yet committed."""
        return self._unstored

    def start(self) -> None:
        self._writer = asyncio.create_task(self._write(), name="inbox-writer")

    async def close(self) -> None:
        """Takes nothing more, stores what waits, and ends."""
        self._closing = True
        self._arrived.set()
        if self._writer is not None:
            await self._writer

    async def add(self, item: Item, *, size: int = 0) -> Result:
        """Returns once the item is committed. `size`: about how many bytes it holds in memory.

        Raises InboxFull at once when there is no room, InboxClosed when the bot is stopping, and the
        database's own error when it cannot commit. A caller that is cancelled may find its item stored.
        """
        if self._closing or self._writer is None or self._writer.done():
            raise InboxClosed((InboxClosed.__doc__ or "").strip())
        if self._unstored >= self._capacity or (self._unstored and self._bytes + size > self._capacity_bytes):
            raise InboxFull(self._retry_after)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((item, size, future))
        self._unstored += 1
        self._bytes += size
        self._arrived.set()
        return await future

    async def _write(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))]
            try:
                await self._commit([(item, future) for item, _, future in batch])
            except asyncio.CancelledError:
                self._closing = True
                for _, _, future in (*batch, *self._queue):
                    if not future.done():
                        future.set_exception(InboxClosed("the writer was stopped before it could commit"))
                raise
            self._unstored -= len(batch)
            self._bytes -= sum(size for _, size, _ in batch)

    async def _commit(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        items = [item for item, _ in batch]
        try:
            results = await self._db.write(lambda session: list(self._store(session, items)))
            if len(results) != len(items):
                raise RuntimeError(f"{len(items)} items stored, {len(results)} results")
        except Exception as error:  # noqa: BLE001 - handed to each caller
            if len(batch) > 1 and not _is_about_the_database(error):
                log.warning(
                    "inbox.batch_split", items=len(batch), error=f"{type(error).__name__}: {error}"[:500]
                )
                for one in batch:
                    await self._commit([one])
                return
            log.error("inbox.not_stored", items=len(batch), error=f"{type(error).__name__}: {error}"[:500])
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        self._on_batch(len(batch))
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():  # its caller may have gone away; the row stays
                future.set_result(result)


def _is_about_the_database(error: Exception) -> bool:
    """Locked, full, gone: every item would fail alike, and trying each would only take longer."""
    return isinstance(error, (OperationalError, InterfaceError, OSError, RuntimeError)) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


class ReportInbox:
    """Raw notifications, committed before they are acknowledged; (host, external_id) makes them unique."""

    def __init__(
        self, db: Database, *, on_batch: Callable[[int], None] = lambda _size: None, **limits: int
    ) -> None:
        self._group: GroupCommit[dict[str, Any], Stored] = GroupCommit(
            db, _store_reports, on_batch=on_batch, **limits
        )

    @property
    def waiting(self) -> int:
        return self._group.waiting

    def start(self) -> None:
        self._group.start()

    async def close(self) -> None:
        await self._group.close()

    async def add(
        self,
        *,
        host: str,
        external_id: str,
        body: dict[str, Any],
        source: str = "report",
        state: ReportState = ReportState.NEW,
        size: int = 0,
    ) -> Stored:
        """The row's id after its commit; a repeated (host, external_id) gives the first one's and stores nothing."""
        now = utc_now()
        row = _BLANK_REPORT | {
            "host": host, "external_id": external_id, "body": body, "source": source, "state": state,
            "received_at": now, "next_at": now,
        }  # fmt: skip
        return await self._group.add(row, size=size)


class RequestInbox:
    """Commands, clicks, submissions and events from Slack, committed before they are acknowledged."""

    def __init__(
        self, db: Database, *, on_batch: Callable[[int], None] = lambda _size: None, **limits: int
    ) -> None:
        self._group: GroupCommit[dict[str, Any], Stored] = GroupCommit(
            db, _store_requests, on_batch=on_batch, **limits
        )

    @property
    def waiting(self) -> int:
        return self._group.waiting

    def start(self) -> None:
        self._group.start()

    async def close(self) -> None:
        await self._group.close()

    async def add(self, *, dedupe: str, kind: str, body: str) -> Stored:
        """The row's id after its commit; a repeated `dedupe` gives the first one's and stores nothing."""
        row = SlackRequest(dedupe=dedupe, kind=kind, body=body, received_at=utc_now())
        return await self._group.add(row.model_dump(exclude={"id"}), size=len(body))


# To make a model of each one only to take it apart again costs more than all the rest of `add`.
_BLANK_REPORT = Report(host="", external_id="").model_dump(exclude={"id"})


def _store_reports(session: Session, rows: Sequence[dict[str, Any]]) -> list[Stored]:
    return insert_once(session, Report, rows, ("host", "external_id"))


def _store_requests(session: Session, rows: Sequence[dict[str, Any]]) -> list[Stored]:
    return insert_once(session, SlackRequest, rows, ("dedupe",))


def insert_once(
    session: Session, table: type[SQLModel], rows: Sequence[dict[str, Any]], unique: tuple[str, ...]
) -> list[Stored]:
    """Inserts the rows whose unique columns are new, inside the caller's transaction; one answer a row.

    Two rows alike within `rows`, a row that is there already, and one that another replica inserts at this
    moment (PostgreSQL waits for it) all answer the first one's id.
    """
    sheet: Table = table.__table__  # type: ignore[attr-defined]
    key_columns = [sheet.c[name] for name in unique]

    def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in unique)

    firsts = {key_of(row): row for row in reversed(rows)}
    wanted = sorted(
        firsts, key=lambda key: tuple(map(str, key))
    )  # one order for all: replicas cannot deadlock
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = (
        dialect.insert(sheet)
        .on_conflict_do_nothing(index_elements=key_columns)
        .returning(sheet.c.id, *key_columns)
    )
    inserted = {
        tuple(row[1:]): int(row[0]) for row in session.execute(statement, [firsts[key] for key in wanted])
    }
    known = dict(inserted)
    missing = [key for key in wanted if key not in inserted]
    if missing:
        found = session.execute(select(sheet.c.id, *key_columns).where(tuple_(*key_columns).in_(missing)))
        known.update({tuple(row[1:]): int(row[0]) for row in found})
    answers = []
    for row in rows:
        key = key_of(row)
        answers.append(Stored(known[key], duplicate=key not in inserted))
        inserted.pop(key, None)  # the second one alike is a duplicate of the first
    return answers
