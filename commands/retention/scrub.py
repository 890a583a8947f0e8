"""Reading copies back, whole: a store that has lost, cut or changed what it was given is found in time.

Each copy is read at least once in its term, a few more are picked at random. What does not read back as it was sent is
no verified copy any more; one that reads back right again (a mount that was missing) is one again.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlmodel import Session, col, select

from commands.context import Context
from commands.incident import thread
from commands.retention import ledger
from commands.retention.items import Copy, Inventory, Standing
from commands.retention.plan import ends
from commands.retention.policy import RetentionConfig
from integrations.slack.text import code, escape
from integrations.stores import CentralStore, NotKept, StoreError
from storage import AuditEntry, CopyCare, CopyState, DumpCopy, DumpPart, Panic, panic_ref

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What reading a copy back said. `problem` is None where all is as it was sent; `unread`: the store did not
    answer, so nothing is known."""

    copy_id: int
    problem: str | None = None
    unread: str | None = None


def choose(
    inventory: Inventory,
    policy: RetentionConfig,
    checked: dict[int, datetime],
    now: datetime,
    chance: random.Random,
) -> list[Copy]:
    """Which copies a sweep reads: those past the middle of their term that were never read since it began, then
    `policy.scrub` others at random, within `policy.scrub_most` bytes. At least one, where there is any."""
    known = [
        c for c in inventory.copies if c.standing in (Standing.VERIFIED, Standing.DAMAGED) and c.reachable
    ]
    due = [c for c in known if _due(c, policy, checked.get(c.id), now)]
    due.sort(key=lambda c: (ends(c, policy), c.id))
    rest = [c for c in known if c not in due]
    picked = chance.sample(rest, min(policy.scrub, len(rest)))
    made: list[Copy] = []
    left = policy.scrub_most
    for copy in [*due, *picked]:
        if not made or copy.size <= left:
            made.append(copy)
            left -= copy.size
    return made


def _due(copy: Copy, policy: RetentionConfig, checked: datetime | None, now: datetime) -> bool:
    """Once in its term, in the second half of it; what stays longer, again each such half."""
    half = policy.terms(copy.criticality).central / 2
    return now - max(copy.since, checked or copy.since) >= half


class Scrubber:
    """`stop()` ends a reading within a piece."""

    def __init__(self, context: Context, store: CentralStore, threads: Executor) -> None:
        self.context = context
        self.store = store
        self.threads = threads
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    async def look(self, copies: Sequence[Copy], asked_by: str) -> list[Verdict]:
        """Reads them one after the other; each verdict is in the rows before the next is read."""
        made = []
        for copy in copies:
            verdict = await self.check(copy.id, asked_by)
            if verdict is None:
                break
            made.append(verdict)
        return made

    async def check(self, copy_id: int, asked_by: str) -> Verdict | None:
        """One copy. None: stopped, or it is not there to be read any more."""
        row, parts = await self.context.db.read(lambda s: _of(s, copy_id))
        if row is None:
            return None
        try:
            problem = await asyncio.get_running_loop().run_in_executor(self.threads, self._read, row, parts)
        except StoreError as error:
            log.warning("retention.scrub_failed", copy=copy_id, error=str(error))
            return Verdict(copy_id, unread=str(error))
        if self._stop.is_set():
            return None
        now = self.context.clock()
        await self.context.db.write(lambda s: _note(s, copy_id, problem, asked_by, now))
        self.context.wake()
        return Verdict(copy_id, problem)

    def _read(self, row: DumpCopy, parts: list[DumpPart]) -> str | None:
        """What is wrong with a copy, in words. Raises a StoreError where the store does not answer."""
        whole = hashlib.sha256()
        if not parts:
            return "none of its parts is on record"
        with self.store.open((row.place or "").rstrip("/").rpartition("/")[2]) as shelf:
            stand = shelf.sizes()
            for part in parts:
                if part.number not in stand:
                    return f"part {part.number} of {len(parts)} is missing"
                if stand[part.number] != part.size:
                    return f"part {part.number} has {stand[part.number]} bytes, {part.size} were written"
            for part in parts:
                digest = hashlib.sha256()
                try:
                    for piece in shelf.read(part.number):
                        if self._stop.is_set():
                            return None
                        digest.update(piece)
                        whole.update(piece)
                except NotKept:
                    return f"part {part.number} of {len(parts)} is missing"
                if digest.hexdigest() != part.sha256:
                    return f"part {part.number} of {len(parts)} has changed"
            try:
                told = shelf.read_manifest()
            except NotKept:
                return "its manifest is missing"
        if whole.hexdigest() != row.sha256:
            return "its sha256 is another one"
        if (row.sha256 or "").encode() not in told:
            return "its manifest is another one's"
        return None


def _of(session: Session, copy_id: int) -> tuple[DumpCopy | None, list[DumpPart]]:
    row = session.get(DumpCopy, copy_id)
    if row is None or row.state not in (CopyState.VERIFIED, CopyState.DAMAGED):
        return None, []
    parts = session.exec(
        select(DumpPart).where(DumpPart.copy_id == copy_id).order_by(col(DumpPart.number))
    ).all()
    return row, list(parts)


def _note(session: Session, copy_id: int, problem: str | None, asked_by: str, now: datetime) -> None:
    row = session.get_one(DumpCopy, copy_id)
    if row.state not in (CopyState.VERIFIED, CopyState.DAMAGED):
        return
    ledger.care_of(session, copy_id).checked_at = now
    before, row.state = row.state, CopyState.VERIFIED if problem is None else CopyState.DAMAGED
    if row.state is before:
        return
    row.error = None if problem is None else f"{problem} (read back {now:%Y-%m-%d %H:%M} UTC)"
    session.add(row)
    panic = session.get_one(Panic, row.panic_id)
    ref = panic_ref(panic.id)
    session.add(
        AuditEntry(
            at=now, actor=asked_by, verb="retention.scrub", subject=f"{ref} {row.place}"[:300],
            outcome=row.state.value, detail=problem or "it reads back as it was sent again",
        )
    )  # fmt: skip
    thread.redraw(session, f"copy:{copy_id}")
    if panic.incident_id is None:
        return
    said = (
        f":white_check_mark: the copy of {ref} in {code(row.place or '')} reads back as it was sent again."
        if problem is None
        else f":warning: the copy of {ref} in {code(row.place or '')} is damaged: {escape(problem)}. It does not "
        f"count as a copy any more; `/panic copy {ref}` makes another one while the dump is on its host."
    )
    entry = thread.note(session, panic.incident_id, "retention", said, panic_id=panic.id, at=now)
    session.flush()
    thread.say(session, panic.incident_id, f"scrub:{entry.id}", text=said, now=now)
    thread.touch(session, panic.incident_id)


def checked_of(session: Session) -> dict[int, datetime]:
    """When each copy that is there was read back whole for the last time."""
    rows = session.exec(
        select(CopyCare.copy_id, CopyCare.checked_at).where(
            col(CopyCare.checked_at).is_not(None), col(CopyCare.removed_at).is_(None)
        )
    )
    return {copy_id: at for copy_id, at in rows if at is not None}
