"""The fleet from its source: read again without a restart, kept over failures, guarded against half a fleet.

What was read last and taken stands in the store, so that a bot that starts while the source is away knows its fleet.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog
from pydantic import ValidationError
from sqlmodel import Session, col, select

from commands.context import Context
from commands.inventory import HostEntry
from commands.inventory_config import InventoryConfig
from integrations.inventory import (
    Answer,
    InventoryUnread,
    SourceFailed,
    Told,
    from_address,
    from_command,
    from_file,
    read_inventory,
)
from integrations.slack.text import code, escape
from integrations.stores.errors import StoreError
from integrations.stores.local import LocalStore
from storage import Report, ReportState

log = structlog.get_logger(__name__)

KEPT = ("inventory", "last-good.json")
_MOST_BROKEN = 0.1  # of the entries; beyond that the source is broken, not an entry
_SHOWN = 5


class InventoryRefused(Exception):
    """The source answered, and its answer is not taken."""


@dataclass(frozen=True)
class Kept:
    """The last inventory that was taken from the source."""

    entries: tuple[HostEntry, ...] = ()
    taken_at: datetime | None = None
    etag: str | None = None


@dataclass(frozen=True)
class Waiting:
    """A reload that an admin must confirm. `mark` names exactly this one."""

    mark: str
    kept: Kept
    gone: tuple[str, ...]
    before: int


@dataclass
class Standing:
    """How the source stands. `failing_since` and `error` are of the failure that goes on."""

    taken_at: datetime | None = None
    looked_at: datetime | None = None
    error: str | None = None
    failing_since: datetime | None = None
    broken: tuple[tuple[str, str], ...] = field(default=())
    waiting: Waiting | None = None


def read_kept(store_dir: Path, source: str) -> Kept:
    """What was taken from this very source; nothing for another one, or when it cannot be read."""
    path = store_dir.joinpath(*KEPT)
    try:
        told = json.loads(path.read_bytes())
        if told["source"] != source:
            return Kept()
        entries = tuple(HostEntry(**entry) for entry in told["entries"])
        return Kept(entries, datetime.fromisoformat(told["taken_at"]), told["etag"])
    except FileNotFoundError:
        return Kept()
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        log.error("inventory.kept_unreadable", path=str(path), error=f"{type(error).__name__}: {error}"[:300])
        return Kept()


def together(own: tuple[HostEntry, ...], told: tuple[HostEntry, ...]) -> tuple[HostEntry, ...]:
    """The settings' entries first: they win over the source's of the same name."""
    names = {entry.name.lower() for entry in own}
    return (*own, *(entry for entry in told if entry.name.lower() not in names))


class InventoryDesk:
    """`run()` until cancelled; `reload()` at once; `confirm(mark)` takes what waits."""

    def __init__(
        self,
        context: Context,
        config: InventoryConfig,
        own: tuple[HostEntry, ...],
        *,
        tell: Callable[[str, str], Awaitable[None]],
        on_known: Callable[[], None],
    ) -> None:
        self.context = context
        self.config = config
        self.own = own
        self.tell = tell
        self.on_known = on_known  # reports have left quarantine
        self.on_reload: Callable[[str], None] = lambda _outcome: None
        self.kept = read_kept(context.store_dir, config.source)
        self.standing = Standing(taken_at=self.kept.taken_at)
        self.store = LocalStore(context.store_dir)
        self._one = asyncio.Lock()
        self._soon = asyncio.Event()

    def reload_soon(self) -> None:
        """For a signal's handler."""
        self._soon.set()

    async def run(self) -> None:
        if not self.config.has_source:
            return
        while True:
            self._soon.clear()
            await self.reload()
            try:
                async with asyncio.timeout(self.config.every.total_seconds()):
                    await self._soon.wait()
            except TimeoutError:
                continue

    async def take_kept(self) -> None:
        """What another process has taken from the source since."""
        kept = await asyncio.to_thread(read_kept, self.context.store_dir, self.config.source)
        async with self._one:
            if kept.taken_at is not None and kept.entries != self.kept.entries:
                self.kept, self.standing.taken_at = kept, kept.taken_at
                self.context.inventory.replace(together(self.own, kept.entries))

    async def reload(self) -> str:
        """taken, unchanged, failed or waiting; `standing` says more. Never raises for what the source does."""
        async with self._one:
            self.standing.looked_at = self.context.clock()
            try:
                outcome = await self._reload()
            except (SourceFailed, InventoryUnread, InventoryRefused, StoreError) as error:
                outcome = "failed"
                await self._failed(str(error))
            else:
                await self._works()
            self.on_reload(outcome)
            return outcome

    async def confirm(self, mark: str | None) -> Waiting | None:
        """Takes the reload that waits, if it is the one that was shown; None when there is no such."""
        async with self._one:
            waiting = self.standing.waiting
            if waiting is None or (mark is not None and mark != waiting.mark):
                return None
            await self._take(waiting.kept)
            return waiting

    async def _reload(self) -> str:
        answer = await self._ask()
        if answer.raw is None:
            return "unchanged"
        told = await asyncio.to_thread(
            read_inventory, answer.raw, groups=self.config.groups, variables=self.config.variables
        )
        fresh = await asyncio.to_thread(self._judged, told, answer)
        self.standing.broken = told.broken
        if fresh.entries == self.kept.entries:
            self.kept = Kept(fresh.entries, fresh.taken_at, fresh.etag)
            self.standing.taken_at, self.standing.waiting = fresh.taken_at, None
            return "unchanged"
        names = {entry.name.lower() for entry in fresh.entries}
        gone = tuple(e.name for e in self.kept.entries if e.name.lower() not in names)
        before = len(self.kept.entries)
        if before and len(gone) > self.config.largest_drop * before:
            raw = "\n".join(sorted(names)).encode()
            await self._ask_admins(Waiting(hashlib.sha256(raw).hexdigest()[:8], fresh, gone, before))
            return "waiting"
        await self._take(fresh)
        return "taken"

    async def _ask(self) -> Answer:
        config, seconds = self.config, self.config.timeout.total_seconds()
        if config.command:
            return await from_command(config.command, limit=config.limit, timeout=seconds)
        if config.url is not None:
            token = config.token.get_secret_value() if config.token is not None else None
            etag = self.kept.etag if self.standing.waiting is None else None
            return await from_address(config.url, token=token, etag=etag, limit=config.limit, timeout=seconds)
        assert config.file is not None
        return await from_file(config.file, limit=config.limit)

    def _judged(self, told: Told, answer: Answer) -> Kept:
        """A broken entry leaves its host as it was. Raises InventoryRefused for an empty or a half-broken answer."""
        if not told.hosts:
            raise InventoryRefused("it names no host")
        if len(told.broken) > _MOST_BROKEN * (len(told.hosts) + len(told.broken)):
            name, why = told.broken[0]
            raise InventoryRefused(
                f"{len(told.broken)} of {len(told.hosts) + len(told.broken)} entries are broken, first {name}: {why}"
            )
        entries = [HostEntry.model_validate(dict(fields)) for fields in told.hosts.values()]
        broken = {name.lower() for name, _ in told.broken} - set(told.hosts)
        entries += [entry for entry in self.kept.entries if entry.name.lower() in broken]
        return Kept(tuple(entries), self.context.clock(), answer.etag)

    async def _take(self, fresh: Kept) -> None:
        await asyncio.to_thread(self._keep, fresh)
        self.kept = fresh
        self.standing.taken_at, self.standing.waiting = fresh.taken_at, None
        self.context.inventory.replace(together(self.own, fresh.entries))
        released = await self.context.db.write(self._release)
        log.info("inventory.taken", hosts=len(fresh.entries), released=released)
        if released:
            self.on_known()

    def _keep(self, fresh: Kept) -> None:
        told = {
            "source": self.config.source,
            "taken_at": fresh.taken_at.isoformat() if fresh.taken_at is not None else None,
            "etag": fresh.etag,
            "entries": [
                entry.model_dump(exclude={"secret"}, exclude_defaults=True) for entry in fresh.entries
            ],
        }
        self.store.put(KEPT, json.dumps(told).encode())

    def _release(self, session: Session) -> int:
        """Reports of hosts that are known now leave quarantine."""
        inventory, released = self.context.inventory, 0
        for report in session.exec(select(Report).where(col(Report.state) == ReportState.QUARANTINED)).all():
            if inventory.knows(report.host):
                report.state, report.attempts, report.next_at = ReportState.NEW, 0, self.context.clock()
                session.add(report)
                released += 1
        return released

    # -- what admins are told -------------------------------------------------------------------------

    async def _failed(self, why: str) -> None:
        log.warning("inventory.failed", source=self.config.source, error=why)
        now = self.context.clock()
        self.standing.error = why
        if self.standing.failing_since is None:
            self.standing.failing_since = now
            await self.tell(
                f"inventory:failing:{now.isoformat()}",
                f":warning: The inventory could not be read from {code(self.config.source)}: {escape(why[:500])}. "
                f"The last good one stays ({len(self.kept.entries)} hosts). `/panic inventory` shows how it stands.",
            )

    async def _works(self) -> None:
        since, self.standing.failing_since, self.standing.error = self.standing.failing_since, None, None
        if since is not None:
            await self.tell(
                f"inventory:works:{since.isoformat()}",
                f":white_check_mark: The inventory can be read again from {code(self.config.source)}.",
            )

    async def _ask_admins(self, waiting: Waiting) -> None:
        self.standing.waiting = waiting
        shown = ", ".join(code(name) for name in waiting.gone[:_SHOWN])
        more = f" and {len(waiting.gone) - _SHOWN} more" if len(waiting.gone) > _SHOWN else ""
        await self.tell(
            f"inventory:drop:{waiting.mark}",
            f":warning: The inventory of {code(self.config.source)} would drop {len(waiting.gone)} of "
            f"{waiting.before} hosts: {shown}{more}. It is not taken. If that is right: "
            f"`/panic inventory confirm {waiting.mark}`.",
        )
