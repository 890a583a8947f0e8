"""The erasure desk: carries out what two admins said, stage by stage, and goes on with it after a crash.

The rows are the truth. Each stage can be done again: what went is found gone, what was replaced is not found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Table, func
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, SQLModel, select

from commands.access import Role
from commands.context import Context
from commands.errors import Refused
from commands.forget import extent, ledger, rows
from commands.forget.extent import Extent
from commands.forget.hands import Hands
from commands.incident import thread
from storage import Erasure, ErasureItem, ErasureStage, ErasureState, ItemOutcome, Panic, SlackMessage
from storage.names import HostName
from storage.scrubbing import compact, delete_doomed, replace_names

log = structlog.get_logger(__name__)

_TICK = 60.0
_LATER = 300.0  # seconds, until an obstacle is looked at again
_PATIENCE = timedelta(hours=24)  # for a neighbour that does not let something go
_DRAWN = 50  # messages that are drawn in one read
_SOON = 1.0


@dataclass(frozen=True)
class Wait:
    """The stage is not over; it is looked at again after `seconds`."""

    note: str
    seconds: float


class ErasureDesk:
    """`run` for the process's life. `compact_more`: the same as for the database, for what else the bot keeps."""

    def __init__(
        self,
        context: Context,
        hands: Hands,
        *,
        channel: str,
        compact_more: Callable[[], None] = lambda: None,
        tick: float = _TICK,
        soon: float = _SOON,
    ) -> None:
        self.context = context
        self.hands = hands
        self.channel = channel
        self._compact_more = compact_more
        self._tick = tick
        self._soon = soon
        self._event = asyncio.Event()
        self._stages: dict[ErasureStage, Callable[[Erasure], Awaitable[Wait | None]]] = {
            ErasureStage.LISTING: self._list,
            ErasureStage.OUTSIDE: self._outside,
            ErasureStage.ROWS: self._rows,
            ErasureStage.NAMES: self._names,
            ErasureStage.MESSAGES: self._messages,
            ErasureStage.PAGES: self._pages,
        }

    # -- asking -------------------------------------------------------------------------------------------

    async def survey(self, host: str) -> tuple[Extent, list[str], list[str]]:
        """What would go, what forbids it, what cannot be reached. Nothing is written."""
        name, inventory, sqlite = host.lower(), self.context.inventory, self.context.db.is_sqlite

        def read(session: Session) -> tuple[Extent, list[str], list[str]]:
            found = extent.extent(session, name)
            beyond = extent.beyond(session, found, inventory, sqlite=sqlite)
            return found, extent.obstacles(session, name), beyond

        return await self.context.db.read(read)

    async def ask(self, host: str, mark: str, *, by: str, request_id: str) -> Erasure:
        now = self.context.clock()
        made = await self.context.db.write(
            lambda s: ledger.ask(
                s, host.lower(), mark, by=by, request_id=request_id, channel=self.channel, now=now
            )
        )
        self.context.wake()
        return made

    async def confirm(self, erasure_id: int, *, by: str, request_id: str) -> Erasure:
        """Both roles are looked at now: that of `by` by the router, the other here. Raises Refused, Impossible."""
        asked = await self.context.db.read(lambda s: s.get(Erasure, erasure_id))
        if asked is not None and await self.context.access.role_of(asked.asked_by) < Role.ADMIN:
            raise Refused("who asked for this erasure is no admin any more: another one has to ask for it.")
        now = self.context.clock()
        row = await self.context.db.write(
            lambda s: ledger.confirm(s, erasure_id, by=by, request_id=request_id, now=now)
        )
        await self._redraw(erasure_id)
        if row is None:
            raise ledger.Changed
        self._event.set()
        return row

    async def cancel(self, erasure_id: int, *, by: str, request_id: str) -> Erasure:
        now = self.context.clock()
        row = await self.context.db.write(
            lambda s: ledger.cancel(s, erasure_id, by=by, request_id=request_id, now=now)
        )
        await self._redraw(erasure_id)
        return row

    async def _redraw(self, erasure_id: int) -> None:
        await self.context.db.write(lambda s: thread.redraw(s, ledger.message_key(erasure_id)))
        self.context.wake()

    # -- the work -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled: takes up what an earlier process began, and what is confirmed."""
        while True:
            self._event.clear()
            wait = self._tick
            try:
                for erasure_id in await self.context.db.write(lambda s: ledger.due(s, self.context.clock())):
                    wait = min(wait, await self.work(erasure_id))
            except Exception:
                log.exception("erasure.failed")
            try:
                async with asyncio.timeout(wait):
                    await self._event.wait()
            except TimeoutError:
                continue

    async def work(self, erasure_id: int) -> float:
        """As far as it goes now; returns seconds until it is worth looking again. Raises what is a defect of ours."""
        while True:
            row = await self.context.db.read(lambda s: s.get_one(Erasure, erasure_id))
            if row.state is not ErasureState.CONFIRMED:
                return self._tick
            waits = await self._stages[row.stage](row)
            if waits is not None:
                await self._note(erasure_id, waits)
                return waits.seconds
            log.info("erasure.stage_done", erasure=erasure_id, stage=row.stage.value)

    async def _note(self, erasure_id: int, waits: Wait) -> None:
        """Soon: the process itself comes back; what is longer is said."""
        at = self.context.clock() + timedelta(seconds=waits.seconds)

        def write(session: Session) -> None:
            row = session.get_one(Erasure, erasure_id)
            changed = row.note != waits.note
            row.note, row.next_at = waits.note, at
            session.add(row)
            if changed:
                thread.redraw(session, ledger.message_key(erasure_id))

        await self.context.db.write(write)
        self.context.wake()

    async def _list(self, row: Erasure) -> Wait | None:
        drawn = await self._drawn(row)
        url = self.hands.store.url if self.hands.store is not None else None
        inventory, sqlite = self.context.inventory, self.context.db.is_sqlite

        def write(session: Session) -> Wait | None:
            fresh = session.get_one(Erasure, row.id)
            if fresh.state is not ErasureState.CONFIRMED:
                return None
            kept = extent.obstacles(session, row.host)
            if kept:
                return Wait("; ".join(kept), _LATER)
            found = extent.extent(session, row.host)
            ledger.list_items(session, fresh, found, ledger.host_name(session, row), drawn, url)
            fresh.record = {"beyond": extent.beyond(session, found, inventory, sqlite=sqlite)}
            fresh.stage, fresh.mark, fresh.summary = (
                ErasureStage.OUTSIDE,
                found.mark,
                ledger.summary_of(found),
            )
            session.add(fresh)
            return None

        return await self.context.db.write(write)

    async def _drawn(self, row: Erasure) -> list[int]:
        """Messages in Slack that are drawn from the tables and name the host."""

        def first(session: Session) -> tuple[HostName, datetime]:
            query = select(func.min(Panic.reported_at)).where(func.lower(Panic.host) == row.host)
            since = session.exec(query).one() or row.asked_at
            return ledger.host_name(session, row), min(since, row.asked_at) - timedelta(days=1)

        name, since = await self.context.db.read(first)
        found: list[int] = []
        after: int | None = 0
        while after is not None:
            look = partial(rows.naming, name=name, since=since, after=after, limit=_DRAWN)
            more, after = await self.context.db.read(look)
            found += more
        return found

    async def _outside(self, row: Erasure) -> Wait | None:
        left = await self._each(row, self.hands.do, *ledger.OUTSIDE)
        if left is not None:
            return left
        await self._go_on(row, ErasureStage.ROWS)
        return None

    async def _each(
        self, row: Erasure, do: Callable[[ErasureItem], Awaitable[tuple[ItemOutcome, str]]], *kinds: str
    ) -> Wait | None:
        """What is still open of these kinds is tried; None when nothing is."""
        late = self.context.clock() - (row.confirmed_at or row.asked_at) > _PATIENCE
        why, tries = "", 0
        for item in await self.context.db.read(lambda s: ledger.items_of(s, row.id or 0, *kinds)):
            outcome, note = await do(item)
            if outcome is ItemOutcome.OPEN and late:
                outcome = ItemOutcome.UNREACHED
            await self.context.db.write(partial(_came, item_id=item.id, outcome=outcome, note=note))
            if outcome is ItemOutcome.OPEN:
                why, tries = f"{item.shown}: {note}", max(tries, item.attempts + 1)
        return Wait(why, min(_LATER, self._soon * 2 ** min(tries, 10))) if why else None

    async def _go_on(self, row: Erasure, stage: ErasureStage) -> None:
        def write(session: Session) -> None:
            fresh = session.get_one(Erasure, row.id)
            fresh.stage, fresh.note, fresh.next_at = stage, "", None
            session.add(fresh)

        await self.context.db.write(write)

    async def _rows(self, row: Erasure) -> Wait | None:
        """In one transaction: nobody ever sees half of it."""
        now = self.context.clock()

        def write(session: Session) -> Wait | None:
            fresh = session.get_one(Erasure, row.id)
            found = extent.extent(session, row.host)
            if found.mark != row.mark:  # it panicked again meanwhile
                fresh.stage = ErasureStage.LISTING
                session.add(fresh)
                return None
            if ledger.on_their_way(session, found):
                return Wait("a message is on its way to Slack", self._soon)
            name = ledger.host_name(session, row)
            rows.erase_audit(session, found)
            rows.erase_incidents(session, found)
            rows.erase_runs(session, found, name)
            session.flush()
            gone = delete_doomed(session, row.host)
            session.expire_all()
            rows.erase_panics(session, found, name)
            session.flush()
            ledger.note_messages(session, row.id or 0, rows.erase_messages(session, found, name, now))
            drawn = [int(i.key) for i in ledger.items_of(session, row.id or 0, ledger.MESSAGE)]
            rows.redraw(session, drawn, now)
            fresh.record = {**fresh.record, "rows": gone}
            fresh.stage = ErasureStage.NAMES
            session.add(fresh)
            for incident_id in found.incidents:
                said = f"{row.placeholder} stands for a host that was erased, with what it had told"
                thread.note(session, incident_id, "forget", said, at=now)
            return None

        return await self.context.db.write(write)

    async def _names(self, row: Erasure) -> Wait | None:
        await self._replace(row)
        await self._go_on(row, ErasureStage.MESSAGES)
        self.context.wake()
        return None

    async def _replace(self, row: Erasure) -> None:
        """In all tables, in small transactions."""
        name = await self.context.db.read(lambda s: ledger.host_name(s, row))
        for table in SQLModel.metadata.sorted_tables:
            after: Any = None
            while True:
                batch = partial(self._batch, row=row, table=table, name=name, after=after)
                after = await self.context.db.write(batch)
                if after is None:
                    break

    def _batch(self, session: Session, row: Erasure, table: Table, name: HostName, after: Any) -> Any:
        last, changed = replace_names(session, table, name, after)
        if changed and table.name == SlackMessage.__tablename__:
            ids = [key[0] for key in changed]
            rows.redraw(session, ids, self.context.clock())
            ledger.note_messages(session, row.id or 0, ids)
        return last

    async def _messages(self, row: Erasure) -> Wait | None:
        self.context.wake()
        left = await self._each(row, self.hands.message, ledger.MESSAGE)
        if left is not None:
            return left
        await self._replace(row)  # what was written meanwhile
        name = await self.context.db.read(lambda s: ledger.host_name(s, row))

        def write(session: Session) -> None:
            ledger.bury(session, session.get_one(Erasure, row.id), name)
            thread.redraw(session, ledger.message_key(row.id))

        await self.context.db.write(write)
        self.context.wake()
        return None

    async def _pages(self, row: Erasure) -> Wait | None:
        try:
            await asyncio.to_thread(compact, self.context.db.engine)
            await asyncio.to_thread(self._compact_more)
        except (SQLAlchemyError, OSError) as error:
            return Wait(f"the database's files could not be cleared yet: {type(error).__name__}", _LATER)
        now = self.context.clock()

        def write(session: Session) -> None:
            ledger.finish(session, session.get_one(Erasure, row.id), self.channel, now)
            thread.redraw(session, ledger.message_key(row.id))

        await self.context.db.write(write)
        self.context.wake()
        log.info("erasure.done", erasure=row.id)
        return None


def _came(session: Session, item_id: int | None, outcome: ItemOutcome, note: str) -> None:
    item = session.get_one(ErasureItem, item_id)
    item.outcome, item.note, item.attempts = outcome, note[:1000], item.attempts + 1
    session.add(item)
