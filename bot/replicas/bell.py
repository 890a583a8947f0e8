"""Followers tell the leader that there is something to do; the leader hears it within milliseconds.

PostgreSQL's NOTIFY, which a lost connection loses: whoever is rung looks for himself every few seconds, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import psycopg
import structlog
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from storage import Database
from storage.lease import CHANNEL

log = structlog.get_logger(__name__)

_AGAIN = 1.0
_EVERY = 1.0


class Bell:
    """`ring(what)` from a follower; `listen(ears)` calls `ears[what]()` where the leader, or a follower, hears it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._rung: set[str] = set()
        self._news = asyncio.Event()

    def ring(self, what: str) -> None:
        """Many calls while one is under way are one more."""
        self._rung.add(what)
        self._news.set()

    async def run(self) -> None:
        """Until cancelled: hands on what was rung."""
        while True:
            await self._news.wait()
            self._news.clear()
            rung, self._rung = sorted(self._rung), set()

            def tell(session: Session, rung: list[str] = rung) -> None:
                for what in rung:
                    session.execute(text("SELECT pg_notify(:c, :w)"), {"c": CHANNEL, "w": what})

            try:
                await self._db.write(tell)
            except SQLAlchemyError as error:
                log.warning("bell.not_rung", what=rung, error=str(error).splitlines()[0][:300])

    async def listen(self, ears: Mapping[str, Callable[[], None]], *, looking: Collection[str] = ()) -> None:
        """Until cancelled. All are rung when the connection is there (again), those in `looking` once a second, too."""
        url = make_url(self._db.url).set(drivername="postgresql").render_as_string(hide_password=False)
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    url, autocommit=True, connect_timeout=5, application_name="panicroom-bell"
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    due: Collection[str] = ears
                    while True:
                        for what in due:
                            ears[what]()
                        due = looking
                        async for note in connection.notifies(timeout=_EVERY):
                            if note.payload in ears:
                                ears[note.payload]()
            except (psycopg.Error, OSError) as error:
                log.warning("bell.not_heard", error=str(error).splitlines()[0][:300] if str(error) else "")
                await asyncio.sleep(_AGAIN)
