"""The bot's own backups: by the clock, in a process of their own at the lowest priority, told when they fail.

In a process, because to write a million rows as text takes an interpreter's whole attention, which belongs to reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from bot.backups import workflow_tables
from bot.metrics import Metrics
from bot.settings import Settings
from integrations.slack.text import code, escape
from storage.backup_lock import Hold, hold
from storage.migrations import SchemaError

log = structlog.get_logger(__name__)

_OURS = re.compile(r"panicroom-(\d{8}T\d{6}Z)\.zip")
_LEFT = re.compile(r"\.unfinished-[0-9a-f]{16}")  # of a process that was killed
_LONGEST = 6 * 3600.0
_AGAIN = timedelta(minutes=10)  # after a failure
_LOOK = 60.0
_KEEP = 30.0


def own_backups(folder: Path) -> list[tuple[datetime, Path]]:
    """The backups there that the bot names so, the newest first. Raises OSError."""
    found = []
    for file in folder.iterdir():
        match = _OURS.fullmatch(file.name)
        if match is not None:
            with contextlib.suppress(ValueError):  # digits that are no date
                at = datetime.strptime(match.group(1), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                found.append((at, file))
    return sorted(found, reverse=True)


class BackupSchedule:
    """`run()` until cancelled; `step()` takes one when it is due. Without `backup_dir` it does nothing."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        tell: Callable[[str, str], Awaitable[None]],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self.config = settings.database
        self.metrics = metrics
        self.tell = tell
        self.clock = clock
        self._failing_since: datetime | None = None
        self._not_before: datetime | None = None

    async def run(self) -> None:
        if self.config.backup_dir is None:
            return
        while True:
            await self.step()
            await asyncio.sleep(_LOOK)

    async def step(self) -> bool:
        """Whether a backup was taken now."""
        folder, now = self.config.backup_dir, self.clock()
        if folder is None or (self._not_before is not None and now < self._not_before):
            return False
        try:
            there = await asyncio.to_thread(_prepare, folder)
            self.metrics.backup_finished.set(there[0][0].timestamp() if there else 0)
            if there and now - there[0][0] < self.config.backup_every and there[0][0] <= now:
                return False
            told = await _in_a_process(self.config.url, await asyncio.to_thread(folder.resolve))
        except (OSError, _Failed) as error:
            await self._failed(str(error), now)
            return False
        self.metrics.backups.labels("ok").inc()
        self.metrics.backup_finished.set(now.timestamp())
        log.info("backup.taken", **{k: told[k] for k in ("file", "bytes", "rows", "seconds")})
        if self._failing_since is not None:
            since, self._failing_since = self._failing_since, None
            await self.tell(
                f"backup:ok:{since.isoformat()}",
                f":floppy_disk: Backups work again: {code(told['file'])}.",
            )
        self._not_before = None
        try:
            await asyncio.to_thread(_thin, folder, self.config.backup_keep)
        except OSError as error:
            await self._failed(f"old ones cannot be removed: {error}", now)
        return True

    async def _failed(self, why: str, now: datetime) -> None:
        """Told when it begins, not each time."""
        log.error("backup.failed", error=why)
        self.metrics.backups.labels("failed").inc()
        self._not_before = now + _AGAIN
        if self._failing_since is None:
            self._failing_since = now
            await self.tell(
                f"backup:failed:{now.isoformat()}",
                f":warning: The database's backup to {code(str(self.config.backup_dir))} failed: "
                f"{escape(why[:500])}. I try again every ten minutes, and say when it works again.",
            )


class _Failed(Exception):
    """The process that takes the backup ended without one."""


def _prepare(folder: Path) -> list[tuple[datetime, Path]]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in folder.iterdir():
        if _LEFT.fullmatch(file.name):
            file.unlink(missing_ok=True)
    return own_backups(folder)


def _thin(folder: Path, keep: int) -> None:
    for _, file in own_backups(folder)[keep:]:
        file.unlink(missing_ok=True)
        log.info("backup.removed", file=str(file))


async def _in_a_process(url: str, folder: Path) -> dict[str, str]:
    """The URL goes by standard input: it holds a password, and arguments can be read by everybody."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot.backup_process",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1], start_new_session=True,
    )  # fmt: skip
    asked = json.dumps(
        {"url": url, "workflows": asdict(workflow_tables(url)), "folder": str(folder)}
    ).encode()
    try:
        async with asyncio.timeout(_LONGEST):
            out, err = await process.communicate(asked)
    except TimeoutError as error:
        raise _Failed(f"it took longer than {_LONGEST / 3600:g} h") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = err.decode("utf-8", "replace").strip().splitlines()
        raise _Failed(lines[-1][:500] if lines else f"its process ended with status {process.returncode}")
    told: dict[str, str] = json.loads(out)
    return told


# -- who works on the database ----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def holding(url: str) -> AsyncIterator[None]:
    """Nobody restores the database while the block runs. Raises DatabaseInUse when somebody does that now."""
    held = await asyncio.to_thread(hold, url)
    keeping = asyncio.create_task(_keep(held))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await asyncio.to_thread(held.release)


async def _keep(held: Hold) -> None:
    """A server that was away has forgotten the lock."""
    while True:
        await asyncio.sleep(_KEEP)
        try:
            if not await asyncio.to_thread(held.keep):
                log.info("database.held_again")
        except (SQLAlchemyError, SchemaError) as error:
            log.warning("database.not_held", error=str(error).splitlines()[0][:300])
