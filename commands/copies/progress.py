"""How far a copy is, for its readers: written every few seconds while it is at work, told when it is worth an edit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmodel import Session

from commands.copies import rows
from commands.copies.transfer import Flow
from storage import CopyState, DumpCopy
from storage.copies import UNDER_WAY

if TYPE_CHECKING:
    from commands.context import Context

SLOW_STORE = "the store takes it slower than the host gives it"
TELL_EVERY = 3.0  # seconds
_AT_MOST = 15.0  # seconds between edits of a copy that hardly moves
_PARENT = 15.0  # seconds between edits of the parent, which all of the incident shares
_SMOOTH = 0.3  # weight of the newest rate


@dataclass
class Progress:
    """Looks at a flow until it is cancelled; halts it when somebody else than this process ended or paused the copy."""

    context: Context
    copy_id: int
    flow: Flow
    every: float = TELL_EVERY
    monotonic: Callable[[], float] = time.monotonic

    async def run(self) -> None:
        moved, blocked, at = self.flow.moved, self.flow.store_seconds, self.monotonic()
        rate: float | None = None
        told_at, parent_at, told_share = at, at, -1.0
        state: CopyState | None = None
        while True:
            await asyncio.sleep(self.every)
            now = self.monotonic()
            came, waited = self.flow.moved - moved, self.flow.store_seconds - blocked
            latest = max(came, 0) / (now - at)
            slow = waited > 0.7 * (now - at) and rate is not None
            moved, blocked, at = self.flow.moved, self.flow.store_seconds, now
            copy = await self.context.db.read(lambda s: s.get_one(DumpCopy, self.copy_id))
            if copy.state not in UNDER_WAY or copy.paused:
                self.flow.halt.set()
                return
            if copy.state not in (CopyState.COPYING, CopyState.CHECKING):
                continue
            if copy.state is not state:
                state, rate = copy.state, None
            rate = latest if rate is None else (1 - _SMOOTH) * rate + _SMOOTH * latest
            share = self._done(copy) / max(copy.size or 1, 1)
            tell = share - told_share >= 0.01 or now - told_at >= _AT_MOST
            parent = now - parent_at >= _PARENT
            await self._write(rate, SLOW_STORE if slow else "", tell=tell, parent=parent)
            told_at, told_share = (now, share) if tell else (told_at, told_share)
            parent_at = now if parent else parent_at

    def _done(self, copy: DumpCopy) -> int:
        return (self.flow.base if copy.state is CopyState.COPYING else 0) + self.flow.moved

    async def _write(self, rate: float, note: str, *, tell: bool, parent: bool) -> None:
        def write(session: Session) -> None:
            copy = session.get_one(DumpCopy, self.copy_id)
            if copy.state not in (CopyState.COPYING, CopyState.CHECKING):
                return
            copy.bytes_done = min(self._done(copy), copy.size or 0)
            copy.rate, copy.note = rate, note
            session.add(copy)
            if tell:
                rows.change(session, self.copy_id)
            if parent:
                rows.touch(session, copy)

        await self.context.db.write(write)
        if tell or parent:
            self.context.wake()
