"""The printer: brings Slack to where the outbox wants it, slowly, in order, once.

Slack has no idempotency key. So a post is *claimed* in the database before the call is made; when the answer
is lost, or the process dies before the answer is stored, the message is looked for by the key in its metadata:
at once and again ten seconds after the first look, because a call that timed out may still land late. Only
then is it posted again; afterwards the printer keeps looking for a while and removes a late double.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlmodel import Session, col, select

from commands.incident.config import StormConfig
from commands.incident.outbox import Claim, Job, claim, due_channels
from commands.incident.pace import EDIT, KINDS, LOOK, PARENT, POST, Pace
from commands.incident.storm import rest
from integrations.slack.client import Found, SlackClient
from integrations.slack.errors import SlackDown, SlackError, SlackRateLimited, SlackRefused, SlackUnclear
from storage import Database, MessageState, SlackMessage

log = structlog.get_logger(__name__)

LOOK_AGAIN = timedelta(seconds=10)
DOUBLE_CHECKS = (timedelta(seconds=15), timedelta(seconds=60), timedelta(minutes=5))
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
_MAX_BACKOFF = 60.0


class Printer:
    """One task a channel at most; `wake()` after any commit that changed the outbox.

    `look_again`: between the two looks for a message whose answer was lost. `double_checks`: when a late double
    is looked for, each counted from the one before; the first from the moment the message stood.
    """

    def __init__(
        self,
        db: Database,
        slack: SlackClient,
        *,
        store_dir: Path,
        clock: Callable[[], datetime],
        pace: Pace | None = None,
        look_again: timedelta = LOOK_AGAIN,
        double_checks: Sequence[timedelta] = DOUBLE_CHECKS,
        storm: StormConfig | None = None,
    ) -> None:
        self.db = db
        self.slack = slack
        self.store_dir = store_dir
        self.clock = clock
        self.pace = pace or Pace()
        self.look_again = look_again
        self.double_checks = tuple(double_checks)
        self.storm = storm or StormConfig()
        self.on_posted: Callable[[str, float], None] = lambda _key, _seconds: None
        self.failing_since: datetime | None = None  # Slack has not taken a call since then
        self._event = asyncio.Event()
        self._news: dict[str, asyncio.Event] = {}
        self._channels: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        self._event.set()
        for news in self._news.values():
            news.set()

    async def run(self) -> None:
        """Until cancelled. A failure of the database is logged and tried again, not fatal."""
        try:
            while True:
                self._event.clear()
                try:
                    wait = await self._start_channels()
                except Exception:
                    log.exception("printer.scan_failed")
                    wait = 1.0
                await _set_within(self._event, wait)
        finally:
            for task in self._channels.values():
                task.cancel()
            await asyncio.gather(*self._channels.values(), return_exceptions=True)

    async def _start_channels(self) -> float:
        now = self.clock()
        due, next_at = await self.db.read(lambda s: due_channels(s, now))
        for channel in due:
            running = self._channels.get(channel)
            if running is None or running.done():
                self._channels[channel] = asyncio.create_task(self._drain(channel), name=f"printer:{channel}")
        if next_at is None:
            return 5.0
        return min(5.0, max(0.02, (next_at - now).total_seconds()))

    async def _drain(self, channel: str) -> None:
        """All that is due in one channel, one call at a time. What Slack's pace forbids holds up nothing else."""
        news = self._news.setdefault(channel, asyncio.Event())
        while True:
            try:
                news.clear()
                delays = {kind: self.pace.delay(channel, kind) for kind in KINDS}
                found = await self._claim(channel, {kind for kind, delay in delays.items() if delay <= 0})
                if found.job is not None:
                    self.pace.take(channel, found.job.kind)
                    await self._print(found.job)
                elif found.held:
                    await _set_within(news, min(delays[kind] for kind in found.held))
                else:
                    self._event.set()
                    return
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("printer.channel_failed", channel=channel)
                await asyncio.sleep(1.0)

    async def _claim(self, channel: str, allowed: set[str]) -> Claim:
        now = self.clock()
        return await self.db.write(lambda s: claim(s, channel, now, allowed))

    # -- one message ----------------------------------------------------------------------------------

    async def _print(self, job: Job) -> None:
        try:
            if job.kind == LOOK:
                await self._look(job)
            else:
                await self._sent(job, await self._call(job))
        except SlackRateLimited as error:
            # Edits and looks are limited by method, in the whole workspace: then posts go on.
            self.pace.pause(job.channel, error.retry_after, job.kind)
            log.info("slack.rate_limited", channel=job.channel, retry_after=error.retry_after)
            await self._later(job, error.retry_after, str(error))
        except SlackDown as error:
            self._failing(error)
            await self._later(job, _backoff(job.attempts), str(error))
        except SlackUnclear as error:
            self._failing(error)
            unclear = job.kind in (PARENT, POST)
            await self._later(job, 0.0 if unclear else _backoff(job.attempts), str(error), unclear=unclear)
        except SlackRefused as error:
            await self._refused(job, error)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            await self._give_up(job, f"the file to upload cannot be read: {error}")

    async def _call(self, job: Job) -> str:
        """Posts, uploads or edits; returns where the message stands."""
        if job.ts is not None:
            await self.slack.update(job.channel, job.ts, job.text, job.blocks, key=job.key)
            return job.ts
        if job.file_path is None:
            return await self.slack.post(
                job.channel, job.text, job.blocks, key=job.key, thread_ts=job.thread_ts
            )
        file_id = await self.slack.upload(
            job.channel,
            job.thread_ts,
            self.store_dir / job.file_path,
            name=_file_name(job) or "",
            comment=job.text,
            alt=job.alt,
        )
        return f"file:{file_id}"

    def _failing(self, error: Exception) -> None:
        log.warning("slack.failing", error=str(error))
        if self.failing_since is None:
            self.failing_since = self.clock()

    async def _sent(self, job: Job, ts: str) -> None:
        self.failing_since = None

        def record(session: Session) -> datetime:
            message = session.get_one(SlackMessage, job.id)
            message.sent, message.attempts, message.error = job.version, 0, None
            newer = message.wanted > job.version and job.file_path is None
            message.state = MessageState.WAITING if newer else MessageState.SENT
            message.next_at = self.clock() + (rest(session, message, self.storm) if newer else timedelta(0))
            if message.ts is None:
                message.ts, message.looked = ts, 0
                if job.attempts > 1:
                    message.check_doubles_at = self._first_check()
            session.add(message)
            return message.created_at

        asked = await self.db.write(record)
        if job.kind == PARENT:
            await self._remember_link(job, ts)
        if job.ts is None:
            self.on_posted(job.key, (self.clock() - asked).total_seconds())

    async def _remember_link(self, job: Job, ts: str) -> None:
        """The parent's address, for the threads that name it and for the pager; without it they name its id."""
        try:
            url = await self.slack.permalink(job.channel, ts)
        except SlackError as error:
            log.info("slack.no_permalink", key=job.key, error=str(error))
            return

        def record(session: Session) -> None:
            message = session.get_one(SlackMessage, job.id)
            message.permalink = url[:400]
            session.add(message)

        await self.db.write(record)

    def _first_check(self) -> datetime | None:
        return self.clock() + self.double_checks[0] if self.double_checks else None

    async def _later(self, job: Job, seconds: float, why: str, *, unclear: bool = False) -> None:
        """`unclear`: it may have landed. Then it stays `sending`, to be looked for; else it waits its turn."""

        def record(session: Session) -> None:
            message = session.get_one(SlackMessage, job.id)
            message.error = why[:1000]
            at = self.clock() + timedelta(seconds=seconds)
            if job.kind == LOOK and message.ts is not None:
                message.check_doubles_at = at
            else:
                message.next_at = at
            if job.kind != LOOK:
                message.state = MessageState.SENDING if unclear else MessageState.WAITING
            session.add(message)

        await self.db.write(record)

    async def _refused(self, job: Job, error: SlackRefused) -> None:
        if job.kind == LOOK:
            await self._not_allowed_to_look(job, error)
        elif error.mendable:
            # The installation is wrong, not the message: it is said as soon as somebody has put that right.
            self._failing(error)
            await self._later(job, _backoff(job.attempts), str(error))
        elif error.code in _GONE and job.kind == EDIT:
            # Somebody deleted our message: the incident must not go without one.
            log.warning("slack.message_gone", key=job.key, code=error.code)

            def again(session: Session) -> None:
                message = session.get_one(SlackMessage, job.id)
                message.ts, message.sent, message.looked = None, 0, 0
                message.state, message.check_doubles_at = MessageState.WAITING, None
                message.next_at = self.clock()
                session.add(message)

            await self.db.write(again)
        else:
            await self._give_up(job, str(error))

    async def _give_up(self, job: Job, why: str) -> None:
        log.error("slack.refused", key=job.key, error=why)

        def record(session: Session) -> None:
            message = session.get_one(SlackMessage, job.id)
            message.state, message.error = MessageState.FAILED, why[:1000]
            message.check_doubles_at = None if message.ts is None else message.check_doubles_at
            session.add(message)

        await self.db.write(record)

    # -- lost answers ---------------------------------------------------------------------------------

    async def _look(self, job: Job) -> None:
        """After an unclear call (or a restart in the middle of one): is it there? And is it there twice?"""
        since = (job.attempted_at or self.clock()) - timedelta(minutes=10)
        found = await self.slack.find(job.channel, thread_ts=job.thread_ts, oldest=since.timestamp())
        mine = await self._mine(job, found)
        self.failing_since = None
        stands = job.ts if job.ts is not None else next(iter(mine), None)
        if stands in mine:
            for where, ts in mine.items():
                if where != stands:
                    await self._remove(job, ts)

        def record(session: Session) -> None:
            message = session.get_one(SlackMessage, job.id)
            now = self.clock()
            if message.ts is not None:
                message.looked += 1
                more = message.looked < len(self.double_checks)
                message.check_doubles_at = now + self.double_checks[message.looked] if more else None
            elif stands is not None:
                message.ts, message.looked, message.error = stands, 0, None
                message.check_doubles_at, message.next_at = self._first_check(), now
                # What was drawn then may be out of date now; a fixed text is not.
                message.state = MessageState.WAITING if message.renderer else MessageState.SENT
                message.sent = 0 if message.renderer else message.wanted
            else:
                self._not_there(message, now)
            session.add(message)

        await self.db.write(record)

    def _not_there(self, message: SlackMessage, now: datetime) -> None:
        if message.looked == 0:
            message.looked, message.next_at = 1, now + self.look_again
        else:
            message.looked, message.state, message.next_at = 0, MessageState.WAITING, now

    async def _mine(self, job: Job, found: list[Found]) -> dict[str, str]:
        """Where this message stands, as `SlackMessage.ts` says it -> ts in Slack; oldest first.

        A file carries no metadata: it is known by its name in this thread, unless another message of ours is it.
        """
        name = _file_name(job)
        if name is None:
            return {f.ts: f.ts for f in found if f.key == job.key}
        named = {f"file:{file_id}": f.ts for f in found for file_id, shown in f.files if shown == name}
        others = await self.db.read(
            lambda s: s.exec(
                select(SlackMessage.ts).where(
                    col(SlackMessage.ts).in_(list(named)), SlackMessage.id != job.id
                )
            ).all()
        )
        return {where: ts for where, ts in named.items() if where not in others}

    async def _remove(self, job: Job, ts: str) -> None:
        log.warning("slack.double_removed", key=job.key, ts=ts)
        try:
            await self.slack.delete(job.channel, ts)
        except SlackRefused as error:
            log.error("slack.double_stays", key=job.key, ts=ts, error=str(error))

    async def _not_allowed_to_look(self, job: Job, error: SlackRefused) -> None:
        """A message that stands goes on standing; one that may be lost is said again rather than never."""
        log.error("slack.look_refused", key=job.key, error=str(error))

        def record(session: Session) -> None:
            message = session.get_one(SlackMessage, job.id)
            if message.ts is not None:
                message.check_doubles_at = None
            else:
                self._not_there(message, self.clock())
            session.add(message)

        await self.db.write(record)


def _file_name(job: Job) -> str | None:
    if job.file_path is None:
        return None
    return job.file_name or Path(job.file_path).name


def _backoff(attempts: int) -> float:
    return float(min(_MAX_BACKOFF, 2.0 ** min(max(attempts - 1, 0), 6)))


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
