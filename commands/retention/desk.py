"""The retention desk: says what there is and what would go, and removes it, by the clock and when asked.

The rows are the truth: a sweep that a crash broke off goes on with what it had not done, and what was done twice is
found gone. One sweep runs at a time; who asks meanwhile joins it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlmodel import Session, select

from commands.context import Context
from commands.errors import Impossible
from commands.hosts.visits import Visits
from commands.retention import ledger, runs
from commands.retention.clock import NEAR, Anchor, judge
from commands.retention.items import CENTRAL, Clock, Decision, Inventory
from commands.retention.kdump import Keeps
from commands.retention.plan import admits, plan
from commands.retention.policy import RetentionConfig
from commands.retention.remover import Remover
from commands.retention.scrub import Scrubber, Verdict, checked_of, choose
from commands.retention.usage import SPAN, Usage, usage_of
from integrations.stores import CentralStore
from storage import HostKeeps, RetentionItem, RetentionRun, SlackMessage
from storage.requests import once

log = structlog.get_logger(__name__)

BOT = "panicroom"
RENDERER = "retention"
_TICK = 60.0  # seconds between two looks at the clock
_HOSTS = 4  # at work at the same time


@dataclass(frozen=True)
class Survey:
    """What there is at a moment and what a sweep would do with it."""

    at: datetime
    inventory: Inventory
    decisions: list[Decision]
    usage: Usage
    keeps: dict[str, Keeps]

    @property
    def goes(self) -> list[Decision]:
        return [d for d in self.decisions if d.remove]

    @property
    def mark(self) -> str:
        """The same for the same removals: what a person has confirmed is what is done."""
        return mark_of(self.decisions)


def mark_of(decisions: Sequence[Decision]) -> str:
    """Of what goes by a plan, in whatever order."""
    keys = "|".join(sorted(f"{where}:{key}" for where, key in (d.key for d in decisions if d.remove)))
    return hashlib.blake2s(keys.encode(), digest_size=8).hexdigest()


class Changed(Impossible):
    """What would go is not what it was when you were asked. Look once more: `/panic retention run`."""


def message_key(run_id: int) -> str:
    return f"{RENDERER}:{run_id}"


class RetentionDesk:
    """`run` for the process's life. `owner` names the process in the rows of a sweep: the same at every start."""

    def __init__(
        self,
        context: Context,
        visits: Visits,
        store: CentralStore | None,
        policy: RetentionConfig,
        place: ledger.Place,
        *,
        channel: str,
        owner: str = BOT,
        chance: random.Random | None = None,
        counted: Callable[[], float] = time.monotonic,
        tick: float = _TICK,
    ) -> None:
        self.context = context
        self.policy = policy
        self.place = place
        self.channel = channel  # of the admins
        self.owner = owner
        self.on_removed: Callable[[str, int], None] = lambda _place, _bytes: None
        self._chance = chance or random.Random()  # noqa: S311 - a sample, no secret
        self._counted = counted
        self._tick = tick
        self._threads = ThreadPoolExecutor(_HOSTS, thread_name_prefix="retention")
        self.remover = Remover(context, visits, store, self._threads)
        self.scrubber = Scrubber(context, store, self._threads) if store is not None else None
        if self.scrubber is not None:
            self.remover.read_back = self.scrubber.check
        self._anchor: Anchor | None = None
        self._event = asyncio.Event()
        self._started_at = context.clock()

    async def close(self) -> None:
        """At the bot's end, after `run` was cancelled."""
        if self.scrubber is not None:
            self.scrubber.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- looking ------------------------------------------------------------------------------------------

    async def clock(self) -> Clock:
        """Whether the time is to be believed now."""
        witness = await self.context.db.read(ledger.witness)
        now, counted = self.context.clock(), self._counted()
        found = judge(now, counted, witness, self._anchor)
        if witness is not None and abs(now - witness) <= NEAR:
            self._anchor = Anchor(now, counted)
        self.remover.clock = found
        return found

    async def note(self) -> Clock:
        """What came since the last look has its term from now on."""
        clock = await self.clock()
        if clock.trusted:
            await self.context.db.write(lambda s: ledger.note_new(s, self.context.clock()))
        return clock

    async def on_verified(self, _panic_id: int) -> None:
        """Hook for the copies: a term begins with the verification."""
        await self.note()

    async def survey(self, *, note: bool = True) -> Survey:
        """`note` false: nothing is written, and what is new shows as of now."""
        clock, now = await (self.note() if note else self.clock()), self.context.clock()
        return await self.context.db.read(lambda s: self._survey(s, now, clock))

    def _survey(self, session: Session, now: datetime, clock: Clock) -> Survey:
        there = ledger.inventory(session, self.place, now, clock)
        since = now - timedelta(days=SPAN)
        usage = usage_of(there, runs.came_since(session, since), runs.freed_since(session, since))
        keeps = {row.host: Keeps(row.setting, row.value) for row in session.exec(select(HostKeeps))}
        return Survey(now, there, plan(there, self.policy, now), usage, keeps)

    # -- asking -------------------------------------------------------------------------------------------

    async def begin(
        self,
        asked_by: str,
        request_id: str = "",
        *,
        scheduled: bool = False,
        scrub: bool = True,
        mark: str = "",
    ) -> tuple[RetentionRun, bool]:
        """A sweep, and whether it is one that ran already. Its plan is made in the transaction that begins it.

        `mark`: what somebody has confirmed; raises Changed where the plan is another one by now.
        """
        clock, now = await self.note(), self.context.clock()

        def write(session: Session) -> tuple[RetentionRun, bool]:
            fresh, running = once(session, request_id), runs.active(session)
            known = running or (None if fresh else runs.last(session))
            if known is not None:
                return known, True
            decisions = plan(ledger.inventory(session, self.place, now, clock), self.policy, now)
            if mark and mark != mark_of(decisions):
                raise Changed
            run = runs.begin(
                session, decisions, asked_by=asked_by, owner=self.owner, now=now, scheduled=scheduled, scrub=scrub
            )  # fmt: skip
            return run, False

        run, joined = await self.context.db.write(write)
        if not clock.trusted:
            # The message itself is stamped by Slack, which settles the question.
            said = (
                f":alarm_clock: retention removes nothing by its age: {clock.why}. Slack's stamp of this message "
                "vouches for the next sweep, if the clock is right."
            )
            await self.tell(f"retention:clock:{now:%Y%m%d}", said)
        self._event.set()
        return run, joined

    async def ask_room(self, copy_id: int, size: int) -> str | None:
        """Why a copy of so many bytes has no room in the budget; None where it has. What may go for it goes."""
        if self.place.budget is None:
            return None
        clock, now = await self.note(), self.context.clock()
        there = await self.context.db.read(lambda s: ledger.inventory(s, self.place, now, clock, but=copy_id))
        found = admits(there, self.policy, now, size)
        if found.room:
            if found.first and copy_id:
                await self.begin(BOT, scrub=False)
                return f"{found.why}: a sweep makes room."
            return None
        await self.tell(
            f"retention:full:{now:%Y%m%d}",
            f":no_entry: the central store is full: {found.why}. New copies are refused and dumps stay on their hosts. "
            "`/panic retention` says what keeps each; resolve incidents, unpin, or raise `central.budget`.",
        )
        return f"{found.why}."

    async def tell(self, key: str, text: str) -> None:
        """In the admins' channel, once for each key."""
        now = self.context.clock()

        def write(session: Session) -> None:
            if session.exec(select(SlackMessage.id).where(SlackMessage.key == key)).first() is None:
                payload: dict[str, Any] = {"text": text, "blocks": []}
                session.add(
                    SlackMessage(key=key, channel=self.channel, payload=payload, created_at=now, next_at=now)
                )

        await self.context.db.write(write)
        self.context.wake()

    # -- the clock ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled: takes up what an earlier process began, then sweeps once a day and when asked."""
        while True:
            self._event.clear()
            await self.note()
            active = await self.context.db.read(runs.active)
            if active is None and await self._due():
                active, _ = await self.begin(BOT, scheduled=True)
            if active is not None and await self.work(active.id or 0):
                continue
            try:
                async with asyncio.timeout(self._tick):
                    await self._event.wait()
            except TimeoutError:
                continue

    async def next_at(self) -> datetime | None:
        """When the clock's next sweep begins; None where there is none by the clock."""
        if not self.policy.enabled:
            return None
        now = self.context.clock()
        return now if await self._due() else self._boundary(now) + timedelta(days=1)

    async def _due(self) -> bool:
        if not self.policy.enabled:
            return False
        now = self.context.clock()
        boundary = self._boundary(now)
        last = await self.context.db.read(lambda s: runs.last(s, scheduled=True))
        if last is None:
            return self._started_at < boundary
        # One that is stamped in the future was begun by a clock that was wrong.
        return not boundary <= last.asked_at <= now + timedelta(hours=1)

    def _boundary(self, now: datetime) -> datetime:
        """The last moment at or before now at which a sweep was to begin."""
        today = now.replace(hour=self.policy.at.hour, minute=self.policy.at.minute, second=0, microsecond=0)
        return today if today <= now else today - timedelta(days=1)

    # -- a sweep ------------------------------------------------------------------------------------------

    async def work(self, run_id: int) -> bool:
        """A sweep to its end. False: another process works on it, or it has ended."""
        run = await self.context.db.write(lambda s: runs.take(s, run_id, self.owner, self.context.clock()))
        if run is None:
            return False
        beating = asyncio.create_task(self._beating(run_id))
        try:
            read = await self._carry_out(run)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
        await self._finish(run_id, read)
        return True

    async def _carry_out(self, run: RetentionRun) -> list[Verdict]:
        """Central first: what had its whole term there need not stay on its host."""
        run_id = run.id or 0
        open_ = [
            i for i in await self.context.db.read(lambda s: runs.items_of(s, run_id)) if i.state in runs.OPEN
        ]
        for item in open_:
            if item.place == CENTRAL:
                done = await self.remover.central(run, item)
                self.on_removed(item.place, done.freed)
        by_host: defaultdict[str, list[RetentionItem]] = defaultdict(list)
        for item in open_:
            if item.place != CENTRAL:
                by_host[item.host].append(item)
        gate = asyncio.Semaphore(_HOSTS)
        await asyncio.gather(*(self._host(run, items, gate) for items in by_host.values()))
        return await self._scrub(run) if run.scrub else []

    async def _host(self, run: RetentionRun, items: list[RetentionItem], gate: asyncio.Semaphore) -> None:
        async with gate:
            for done in await self.remover.on_host(run, items):
                self.on_removed("local", done.freed)

    async def _beating(self, run_id: int) -> None:
        """While this process works on a sweep, no other takes it for dead."""
        while True:
            await asyncio.sleep(_TICK)
            await self.context.db.write(lambda s: runs.beat(s, run_id, self.context.clock()))

    async def _scrub(self, run: RetentionRun) -> list[Verdict]:
        if self.scrubber is None:
            return []
        survey = await self.survey()
        checked = await self.context.db.read(checked_of)
        chosen = choose(survey.inventory, self.policy, checked, survey.at, self._chance)
        return await self.scrubber.look(chosen, run.asked_by)

    async def _finish(self, run_id: int, read: list[Verdict]) -> None:
        scrub = {
            "read": sum(v.unread is None for v in read),
            "damaged": [v.copy_id for v in read if v.problem is not None],
            "unread": [[v.copy_id, v.unread[:200]] for v in read if v.unread is not None][:20],
        }
        now = self.context.clock()

        def write(session: Session) -> RetentionRun | None:
            run = runs.finish(session, run_id, scrub, now)
            if run is not None and (run.asked_by != BOT or _worth_telling(run)):
                session.add(
                    SlackMessage(
                        key=message_key(run_id), channel=self.channel, renderer=RENDERER, subject_id=run_id,
                        created_at=now, next_at=now,
                    )
                )  # fmt: skip
            return run

        run = await self.context.db.write(write)
        self.context.wake()
        if run is not None:
            log.info("retention.done", sweep=run_id, **run.result.get("states", {}))


def _worth_telling(run: RetentionRun) -> bool:
    """A sweep for a budget is begun again and again while a store does not answer: it speaks when it made room."""
    if not run.scheduled:
        return "removed" in run.result.get("states", {})
    scrub = run.result.get("scrub", {})
    return bool(run.result.get("states") or scrub.get("damaged") or scrub.get("unread"))
