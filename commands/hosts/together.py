"""Writes of many runs at once, committed together.

A commit waits for the disk, and SQLite takes one writer at a time: fifty runs side by side would wait for each other's
disks. What is asked for while a commit is under way goes into the next one, all of it; each write still returns
only when it is on the disk, and one that fails takes back itself alone: the others are done once more, so what is asked
for must have no effect but on the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlmodel import Session

from storage import Database

T = TypeVar("T")
_SOON = 0.05
_MOST = 64  # writes in one transaction: others wait for its lock


class Together:
    """`await together.write(fn)`, as `Database.write`; `soon(fn)` for what can wait a moment for another's commit."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._asked: list[tuple[Callable[[Session], Any], asyncio.Future[Any]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def write(self, fn: Callable[[Session], T]) -> T:
        answer = self._ask(fn)
        self._begin()
        return await answer

    def soon(self, fn: Callable[[Session], T]) -> asyncio.Future[T]:
        """Written with the next write of anybody, after `_SOON` seconds at the latest. In the order of asking."""
        answer = self._ask(fn)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SOON, self._begin)
        return answer

    def _ask(self, fn: Callable[[Session], T]) -> asyncio.Future[T]:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.append((fn, answer))
        return answer

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all(), name="writes together")

    async def _write_all(self) -> None:
        while self._asked:
            batch, self._asked = self._asked[:_MOST], self._asked[_MOST:]
            work = [fn for fn, _ in batch]
            try:
                done = await self._do(work)
            except BaseException as error:
                _settle(batch, [(None, error)] * len(batch))
                if not isinstance(error, Exception):
                    _settle(self._asked, [(None, error)] * len(self._asked))
                    raise
            else:
                _settle(batch, done)

    async def _do(self, work: list[Callable[[Session], Any]]) -> list[tuple[Any, Exception | None]]:
        try:
            return await self._db.write(lambda s: _do_all(s, work))
        except Exception:
            if len(work) == 1:
                raise
            # Nothing of it is written. Once more, each on its own ground: a savepoint costs as much as a small write.
            return await self._db.write(lambda s: _do_each(s, work))


def _do_all(session: Session, work: list[Callable[[Session], Any]]) -> list[tuple[Any, Exception | None]]:
    done: list[tuple[Any, Exception | None]] = []
    for fn in work:
        done.append((fn(session), None))
        session.flush()
    return done


def _do_each(session: Session, work: list[Callable[[Session], Any]]) -> list[tuple[Any, Exception | None]]:
    done: list[tuple[Any, Exception | None]] = []
    for fn in work:
        try:
            with session.begin_nested():
                done.append((fn(session), None))
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            done.append((None, error))
    return done


def _settle(
    batch: Sequence[tuple[Any, asyncio.Future[Any]]], done: Sequence[tuple[Any, BaseException | None]]
) -> None:
    for (_, answer), (value, error) in zip(batch, done, strict=True):
        if answer.done():
            continue  # nobody waits for it any more
        if error is None:
            answer.set_result(value)
        elif isinstance(error, asyncio.CancelledError):
            answer.cancel()
        else:
            answer.set_exception(error)
