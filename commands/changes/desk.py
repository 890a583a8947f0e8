"""The change desk: works on links until the tracker has told and been told, across failures and restarts.

What is to be done stands in the `ChangeLink` rows (`next_at`), and what was searched for in the incident's
timeline: after `kill -9` at any point the desk reads both and goes on. A call to the tracker that was made
but not recorded is made again; the tracker's own marker keeps the comment from being written twice.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlmodel import Session, col, select

from commands.changes import links
from commands.changes.config import ChangesConfig
from commands.changes.likely import most_likely, unsearched
from commands.changes.loads import Loads
from commands.changes.problems import Problems
from commands.changes.search import Search
from commands.changes.telling import Job, comment_body, read_job, renew, stale, told_now
from commands.changes.watching import Watcher
from commands.context import Context
from commands.errors import Impossible
from integrations.changes import Change, ChangeError, ChangeTracker
from integrations.slack.errors import SlackError
from integrations.slack.text import clean, shorten
from integrations.workload import WorkloadConfig
from storage import ChangeLink, Panic, incident_ref, panic_ref

log = structlog.get_logger(__name__)

PARENT_WAIT = timedelta(seconds=1)  # how soon to look again for a parent message that is not posted yet
RECOUNT = timedelta(hours=1)
IDLE = 60.0  # seconds; the desk looks at least this often, should a wake-up have been lost


class ChangeDesk:
    """`await desk.run()` works until it is cancelled. `tracker` None: no tracker is configured."""

    def __init__(
        self,
        ctx: Context,
        tracker: ChangeTracker | None,
        config: ChangesConfig | None = None,
        workload: WorkloadConfig | None = None,
    ) -> None:
        self.ctx = ctx
        self.tracker = tracker
        self.config = config or ChangesConfig()
        self.search = Search(ctx, self.config)
        self.loads = Loads(ctx, workload) if workload is not None and self.config.automatic else None
        self.watcher = Watcher(ctx, self.config, self._pause)
        wanted = self.config.problem
        self.problems = Problems(ctx, wanted, self.config.poll_every, self._pause) if wanted else None
        self._stale_at: datetime | None = None  # when comments that are behind were last looked for
        self._counted_at: datetime | None = None  # when panics were last counted anew
        self._fed = False  # a feed told of a change that the young threads have not been weighed with
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
        """Hook for `Context.on_panic`: the change that did it will be looked for."""
        if self.problems is not None and self.tracker is not None:
            await self.problems.on_panic(panic_id)
            self.wake()
        if self.config.automatic:
            self._enqueue(panic_id, self.ctx.clock())
            self.wake()

    def on_moved(self, session: Session, panic_id: int, old: int | None, new: int) -> None:
        """Hook for `Context.on_moved`: the panic's cards follow it into its new thread."""
        links.follow(session, panic_id, old, new, now=self.ctx.clock())

    def on_fed(self) -> None:
        """A feed told of changes: threads that are young are weighed again."""
        if self.config.automatic:
            self._fed = True
            self.wake()

    async def on_ticket_changed(self, keys: Iterable[str]) -> int:
        """The tracker told of changed tickets; those that are linked (the number of links) are read again at once."""
        count = await self.watcher.changed(keys)
        self.wake()
        return count

    async def suggestions(self, panic: Panic) -> list[Change]:
        """Changes that name the panic's host, likeliest first. Raises ChangeError."""
        return most_likely(await self._find(self.the_tracker(), panic), panic.occurred_at)

    async def run(self) -> None:
        if self.tracker is None:
            log.info("changes.no_tracker")
            if not self.config.automatic:
                return
        await self._resume_searches()
        beside = (
            asyncio.create_task(self.loads.run(), name="changes:loads") if self.loads is not None else None
        )
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
            tasks = [*self._working.values(), *([beside] if beside is not None else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

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

    async def _start_due(self, tracker: ChangeTracker | None) -> float:
        """Starts what is due, the longest overdue first, as far as there are slots; a slot that falls free wakes us.

        Returns the seconds until the next thing is due.
        """
        now = self.ctx.clock()
        if tracker is not None:
            await self._renew_stale(now)
            await self._recount(now)
        # Those at work are due, too: with as many more rows as there are slots, none that could start is missed.
        most = len(self._working) + self.config.concurrency
        rows = await self.ctx.db.read(lambda s: _next(s, most)) if tracker is not None else []
        waiting = [(at, link_id) for link_id, at in rows if f"link:{link_id}" not in self._working]
        while len(self._working) < self.config.concurrency:
            search = self._queue[0] if self._queue else None
            if self._fed and "fed" not in self._working:
                self._fed = False
                self._start("fed", self.search.after_feed)
            elif tracker is not None and waiting and (search is None or waiting[0][0] <= search[0]):
                if waiting[0][0] > now:
                    break
                _at, link_id = waiting.pop(0)
                self._start(f"link:{link_id}", partial(self._work, tracker, link_id))
            elif search is not None and search[0] <= now:
                _at, panic_id = heapq.heappop(self._queue)
                self._start(f"search:{panic_id}", partial(self._search, tracker, panic_id))
            else:
                break
        later = [] if tracker is None else await self._start_later(tracker, now, most)
        longest = IDLE if tracker is None else min(IDLE, self.config.renew_within.total_seconds())
        moments = [at for at, _id in (*waiting[:1], *self._queue[:1])] + later
        if not moments or len(self._working) >= self.config.concurrency:
            return longest
        return min(longest, max(0.02, (min(moments) - now).total_seconds()))

    async def _start_later(self, tracker: ChangeTracker, now: datetime, most: int) -> list[datetime]:
        """What people wait for less, in the slots that are left. Returns when more of it is due."""
        due: list[tuple[str, datetime, Callable[[], Awaitable[None]]]] = [
            (f"look:{key}", at, partial(self.watcher.look, tracker, key))
            for key, at in await self.watcher.due(most)
        ]
        if self.problems is not None:
            due += [
                (f"problem:{row}", at, partial(self.problems.work, tracker, row))
                for row, at in await self.problems.due(most)
            ]
        left: list[datetime] = []
        for name, at, work in sorted(due, key=lambda one: one[1]):
            if name in self._working:
                continue
            if at <= now and len(self._working) < self.config.concurrency:
                self._start(name, work)
            else:
                left.append(at)
        return left

    async def _renew_stale(self, now: datetime) -> None:
        """Comments that an incident's end, or another bundle, has left behind are due, too."""
        if self._stale_at is not None and now - self._stale_at < self.config.renew_within:
            return
        self._stale_at = now
        behind = await self.ctx.db.read(stale)
        if behind:
            await self.ctx.db.write(lambda s: renew(s, behind, now))

    async def _recount(self, now: datetime) -> None:
        """At the start, and from time to time: a panic whose count was lost is counted all the same."""
        if self.problems is None or (self._counted_at is not None and now - self._counted_at < RECOUNT):
            return
        await self.problems.recount()
        self._counted_at = now

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
        job = await self.ctx.db.read(lambda s: read_job(s, link_id))
        if job is None:
            # Its panic or thread is gone: nothing can be shown to anybody any more.
            await self._record(link_id, lambda s, link, now: setattr(link, "next_at", None))
            return
        if job.link.next_at is None or job.link.next_at > self.ctx.clock():
            return  # it was done while the list of what is due was being read
        try:
            if job.link.state == "pending":
                await self._fetch(tracker, job)
            elif job.link.state == "linked":
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
        if not job.elsewhere:
            await tracker.tell(
                job.link.key,
                marker=f"(panicroom {job.mark})",  # closed: one mark does not stand in a longer one
                body=comment_body(job, address),
                global_id=f"panicroom:{job.mark}",
                link_url=address,
                link_title=shorten(
                    f"Panicroom {panic_ref(job.lead.id)}: {clean(job.lead.host)} panicked", 200
                ),
                renew=job.link.told_at is not None,
            )

        def told(session: Session, link: ChangeLink, now: datetime) -> None:
            told_now(link, job)
            links.told_ticket(session, link, f"{incident_ref(job.incident.id)}, {address}", now)

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

    # -- the change that did it -----------------------------------------------------------------------

    async def _search(self, tracker: ChangeTracker | None, panic_id: int) -> None:
        """One panic's turn. What is known is shown at once; while the tracker is down it is asked again, for long."""
        failures = self._searches[panic_id]
        try:
            turn = await self.search.turn(panic_id)
            if turn is not None:
                gathered = await self.search.look(turn, tracker)
                if self.loads is not None:
                    self.loads.want(panic_id)
                failed = gathered.failed
                lasting = failed is not None and (failed.permanent or self._given_up(failures))
                if failed is not None:
                    log.warning(
                        "changes.search_failed", panic=panic_id, error=str(failed), permanent=failed.permanent
                    )
                if failed is not None and not lasting:
                    self._again(panic_id, failures + 1, at_least=getattr(failed, "retry_after", None) or 0.0)
                    return
                if turn.ask:
                    await self.search.conclude(turn, gathered, given_up=str(failed) if failed else None)
        except Exception:
            # Ours, not the tracker's (a full disk): nothing is lost, the panic stays to be searched for.
            self._again(panic_id, failures + 1)
            raise
        self._searches.pop(panic_id, None)

    def _again(self, panic_id: int, failures: int, *, at_least: float = 0.0) -> None:
        self._searches[panic_id] = failures
        pause = max(self._pause(failures - 1), timedelta(seconds=at_least))
        heapq.heappush(self._queue, (self.ctx.clock() + pause, panic_id))

    def _given_up(self, failures: int) -> bool:
        return self._paused_in_all(failures) >= self.config.look_back

    async def _find(self, tracker: ChangeTracker, panic: Panic) -> Sequence[Change]:
        return await tracker.find(
            panic.host,
            ring=panic.ring,
            hardware=panic.hardware,
            service=None,
            since=panic.occurred_at - self.config.look_back,
            until=panic.occurred_at,
        )


def _next(session: Session, limit: int) -> list[tuple[int, datetime]]:
    """(link id, when it is due) of the first `limit` that are to be worked on, the longest overdue first."""
    rows = session.exec(
        select(ChangeLink.id, ChangeLink.next_at)
        .where(col(ChangeLink.next_at).is_not(None))
        .order_by(col(ChangeLink.next_at), col(ChangeLink.id))
        .limit(limit)
    ).all()
    return [(i, at) for i, at in rows if i is not None and at is not None]
