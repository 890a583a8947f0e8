"""The change desk: works on links until the tracker has told and been told, across failures and restarts.

What is to be done stands in the `ChangeLink` rows (`next_at`), and what was searched for in the incident's
timeline: after `kill -9` at any point the desk reads both and goes on. A call to the tracker that was made
but not recorded is made again; the tracker's own marker keeps the comment from being written twice.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlmodel import Session, col, select

from commands.changes import links
from commands.changes.config import ChangesConfig
from commands.changes.likely import conclude, most_likely, searched_of, unsearched
from commands.context import Context
from commands.errors import Impossible
from commands.incident import thread
from integrations.changes import Change, ChangeError, ChangeTracker
from integrations.slack.errors import SlackError
from integrations.slack.text import clean, shorten
from storage import ChangeLink, Panic, incident_ref, panic_ref

log = structlog.get_logger(__name__)

PARENT_WAIT = timedelta(seconds=1)  # how soon to look again for a parent message that is not posted yet
IDLE = 60.0  # seconds; the desk looks at least this often, should a wake-up have been lost


@dataclass(frozen=True)
class Job:
    """A due link with what is needed to work on it, read in one go."""

    link: ChangeLink
    panic: Panic
    incident_id: int
    mark: str  # names the incident, among those of all installations
    parent: tuple[str, str] | None


class ChangeDesk:
    """`await desk.run()` works until it is cancelled. `tracker` None: no tracker is configured."""

    def __init__(
        self, ctx: Context, tracker: ChangeTracker | None, config: ChangesConfig | None = None
    ) -> None:
        self.ctx = ctx
        self.tracker = tracker
        self.config = config or ChangesConfig()
        self._event = asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}  # at most `concurrency`
        self._searches: dict[int, int] = {}  # panic id -> failures so far
        self._queue: list[
            tuple[datetime, int]
        ] = []  # a heap of (when to search, panic id), without those at work

    def wake(self) -> None:
        """Something was committed that the desk should look at now."""
        self._event.set()

    def the_tracker(self) -> ChangeTracker:
        """Raises Impossible, which says what to set, when there is none."""
        if self.tracker is None:
            raise Impossible(
                "no change tracker is set up, so no ticket can be linked. An admin of Panicroom can set one "
                "(`[jira]` in panicroom.toml)."
            )
        return self.tracker

    async def on_panic(self, panic_id: int) -> None:
        """Hook for `Context.on_panic`: the change that names the host will be looked for."""
        if self.tracker is not None and self.config.automatic:
            self._enqueue(panic_id, self.ctx.clock())
            self.wake()

    def on_moved(self, session: Session, panic_id: int, old: int | None, new: int) -> None:
        """Hook for `Context.on_moved`: the panic's cards follow it into its new thread."""
        links.follow(session, panic_id, old, new, now=self.ctx.clock())

    async def suggestions(self, panic: Panic) -> list[Change]:
        """Changes that name the panic's host, likeliest first. Raises ChangeError."""
        return most_likely(await self._find(self.the_tracker(), panic), panic.occurred_at)

    async def run(self) -> None:
        if self.tracker is None:
            log.info("changes.no_tracker")
            return
        await self._resume_searches()
        try:
            while True:
                self._event.clear()
                try:
                    wait = await self._start_due(self.tracker)
                except Exception:
                    log.exception("changes.scan_failed")
                    wait = 1.0
                try:
                    async with asyncio.timeout(wait):
                        await self._event.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._working.values():
                task.cancel()
            await asyncio.gather(*self._working.values(), return_exceptions=True)

    # -- what is due ----------------------------------------------------------------------------------

    async def _resume_searches(self) -> None:
        """Panics of the last `look_back` that a restart kept from being searched for."""
        if not self.config.automatic:
            return
        now = self.ctx.clock()
        since, limit = now - self.config.look_back, self.config.searches_per_incident
        for panic_id in await self.ctx.db.read(lambda s: unsearched(s, since, limit)):
            self._enqueue(panic_id, now)

    def _enqueue(self, panic_id: int, at: datetime) -> None:
        if panic_id not in self._searches:
            self._searches[panic_id] = 0
            heapq.heappush(self._queue, (at, panic_id))

    async def _start_due(self, tracker: ChangeTracker) -> float:
        """Starts what is due, the longest overdue first, as far as there are slots; a slot that falls free wakes us.

        Returns the seconds until the next thing is due.
        """
        now = self.ctx.clock()
        # Those at work are due, too: with as many more rows as there are slots, none that could start is missed.
        rows = await self.ctx.db.read(lambda s: _next(s, len(self._working) + self.config.concurrency))
        waiting = [(at, link_id) for link_id, at in rows if f"link:{link_id}" not in self._working]
        while len(self._working) < self.config.concurrency:
            search = self._queue[0] if self._queue else None
            if waiting and (search is None or waiting[0][0] <= search[0]):
                if waiting[0][0] > now:
                    break
                _at, link_id = waiting.pop(0)
                self._start(f"link:{link_id}", partial(self._work, tracker, link_id))
            elif search is not None and search[0] <= now:
                _at, panic_id = heapq.heappop(self._queue)
                self._start(f"search:{panic_id}", partial(self._search, tracker, panic_id))
            else:
                break
        moments = [at for at, _id in (*waiting[:1], *self._queue[:1])]
        if not moments or len(self._working) >= self.config.concurrency:
            return IDLE
        return min(IDLE, max(0.02, (min(moments) - now).total_seconds()))

    def _start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._working[name] = asyncio.create_task(self._run_one(name, work), name=f"changes:{name}")

    async def _run_one(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:
            # What came of it could not be written (a full disk): the slot stays taken, or the tracker would be asked
            # the same again at once, for ever.
            log.exception("changes.not_recorded", task=name)
            await asyncio.sleep(self.config.retry_first.total_seconds())
        finally:
            self._working.pop(name, None)
            self.wake()

    # -- one link -------------------------------------------------------------------------------------

    async def _work(self, tracker: ChangeTracker, link_id: int) -> None:
        job = await self.ctx.db.read(lambda s: _job(s, link_id))
        if job is None:
            # Its panic or thread is gone: nothing can be shown to anybody any more.
            await self._record(link_id, lambda s, link, now: setattr(link, "next_at", None))
            return
        try:
            if job.link.state == "pending":
                await self._fetch(tracker, job)
            elif job.link.state == "linked" and job.link.told_at is None:
                await self._tell(tracker, job)
            else:
                await self._record(link_id, lambda s, link, now: setattr(link, "next_at", None))
        except (ChangeError, SlackError) as error:
            asked = getattr(error, "retry_after", None) or 0.0
            await self._failed(
                job.link, str(error), permanent=error.permanent, at_least=timedelta(seconds=asked)
            )
        except Exception as error:
            log.exception("changes.link_failed", link=link_id, key=job.link.key)
            await self._failed(job.link, f"internal error ({type(error).__name__})", permanent=False)

    async def _fetch(self, tracker: ChangeTracker, job: Job) -> None:
        change = await tracker.get(job.link.key)

        def found(session: Session, link: ChangeLink, now: datetime) -> None:
            if link.state == "pending":
                links.found_ticket(session, link, change, now)

        await self._record(job.link.id, found)

    async def _tell(self, tracker: ChangeTracker, job: Job) -> None:
        if job.parent is None:
            # At once at first; a parent that Slack does not take for hours is not asked for every second.
            waited = self.ctx.clock() - job.link.linked_at
            again = self.ctx.clock() + min(max(PARENT_WAIT, waited / 8), self.config.retry_longest)
            await self._record(job.link.id, lambda s, link, now: setattr(link, "next_at", again))
            return
        address = await self.ctx.slack.permalink(*job.parent)
        await tracker.tell(
            job.link.key,
            marker=f"(panicroom {job.mark})",  # closed: one mark does not stand in a longer one
            body=comment_body(job.link, job.panic, job.incident_id, address),
            global_id=f"panicroom:{job.mark}",
            link_url=address,
            link_title=shorten(f"Panicroom {panic_ref(job.panic.id)}: {clean(job.panic.host)} panicked", 200),
        )

        def told(session: Session, link: ChangeLink, now: datetime) -> None:
            links.told_ticket(session, link, f"{incident_ref(job.incident_id)}, {address}", now)

        await self._record(job.link.id, told)

    async def _failed(
        self, link: ChangeLink, why: str, *, permanent: bool, at_least: timedelta = timedelta()
    ) -> None:
        pause = max(self._pause(link.attempts), at_least)
        given_up = self._paused_in_all(link.attempts) >= self.config.give_up_after
        log.warning(
            "changes.failed", key=link.key, error=why, permanent=permanent, attempts=link.attempts + 1
        )

        def record(session: Session, row: ChangeLink, now: datetime) -> None:
            if row.state == "removed":
                row.next_at = None
            elif permanent:
                links.failed_for_good(session, row, why, now)
            elif given_up:
                links.failed_for_good(session, row, f"given up after {row.attempts} tries: {why}", now)
            else:
                links.failed_for_now(session, row, why, again_at=now + pause, now=now)

        await self._record(link.id, record)

    async def _record(self, link_id: int | None, change: Any) -> None:
        def write(session: Session) -> None:
            link = session.get(ChangeLink, link_id)
            if link is not None:
                change(session, link, self.ctx.clock())
                session.add(link)

        await self.ctx.db.write(write)
        self.ctx.wake()

    def _pause(self, failures: int) -> timedelta:
        return min(self.config.retry_longest, self.config.retry_first * float(2 ** min(failures, 20)))

    def _paused_in_all(self, failures: int) -> timedelta:
        return sum((self._pause(n) for n in range(min(failures, 10_000))), timedelta())

    # -- the change that names the host ---------------------------------------------------------------

    async def _search(self, tracker: ChangeTracker, panic_id: int) -> None:
        failures = self._searches[panic_id]
        found: list[Change] = []
        failed: str | None = None
        try:
            panic = await self.ctx.db.read(
                lambda s: _to_search(s, panic_id, self.config.searches_per_incident)
            )
            if panic is None:
                self._searches.pop(panic_id, None)
                return
            found = most_likely(await self._find(tracker, panic), panic.occurred_at)
        except Exception as error:
            if isinstance(error, ChangeError):
                log.warning(
                    "changes.search_failed", panic=panic_id, error=str(error), permanent=error.permanent
                )
                failed = str(error)
            else:
                log.exception("changes.search_failed", panic=panic_id)
                failed = f"internal error ({type(error).__name__})"
            permanent = isinstance(error, ChangeError) and error.permanent
            if not permanent and self._paused_in_all(failures) < self.config.look_back:
                self._searches[panic_id] = failures + 1
                heapq.heappush(self._queue, (self.ctx.clock() + self._pause(failures), panic_id))
                return
        try:
            await self.ctx.db.write(
                lambda s: conclude(s, panic_id, found, self.config, self.ctx.clock(), failed=failed)
            )
        except Exception:
            heapq.heappush(self._queue, (self.ctx.clock() + self._pause(failures), panic_id))
            raise
        self._searches.pop(panic_id, None)
        self.ctx.wake()

    async def _find(self, tracker: ChangeTracker, panic: Panic) -> Sequence[Change]:
        return await tracker.find(
            panic.host,
            ring=panic.ring,
            hardware=panic.hardware,
            service=None,
            since=panic.occurred_at - self.config.look_back,
            until=panic.occurred_at,
        )


def comment_body(link: ChangeLink, panic: Panic, incident_id: int, address: str) -> str:
    """What is written on the ticket, as plain text: host text is on one line and bounded."""
    lines = [
        f"Kernel panic {panic_ref(panic.id)} ({incident_ref(incident_id)}) on {_line(panic.host, 80)}: "
        f"{_line(panic.title, 200)}",
        f"Kernel {_line(panic.kernel or 'unknown', 80)}, {panic.occurred_at:%Y-%m-%d %H:%M:%S} UTC.",
    ]
    if link.automatic:
        lines.append(
            f"Panicroom found this change by itself: it {_line(link.note, 200)}. It may have nothing to do with it."
        )
    elif link.note:
        lines.append(f"Note: {_line(link.note, 400)}")
    return "\n".join([*lines, f"Thread: {address}"])


def _line(text: str, limit: int) -> str:
    return shorten(" ".join(clean(text).split()), limit)


def _next(session: Session, limit: int) -> list[tuple[int, datetime]]:
    """(link id, when it is due) of the first `limit` that are to be worked on, the longest overdue first."""
    rows = session.exec(
        select(ChangeLink.id, ChangeLink.next_at)
        .where(col(ChangeLink.next_at).is_not(None))
        .order_by(col(ChangeLink.next_at), col(ChangeLink.id))
        .limit(limit)
    ).all()
    return [(i, at) for i, at in rows if i is not None and at is not None]


def _job(session: Session, link_id: int) -> Job | None:
    link = session.get(ChangeLink, link_id)
    panic = session.get(Panic, link.panic_id) if link is not None else None
    if link is None or panic is None or panic.incident_id is None:
        return None
    here = panic.incident_id
    return Job(link, panic, here, links.mark(session, here), links.parent_of(session, here))


def _to_search(session: Session, panic_id: int, limit: int) -> Panic | None:
    """The panic, unless it was searched for, has no thread, or enough of its incident's hosts were."""
    incident = thread.incident_of(session, panic_id)
    if incident is None:
        return None
    done = searched_of(session, incident.id or 0)
    if panic_id in done or len(done) >= limit:
        return None
    return session.get(Panic, panic_id)
