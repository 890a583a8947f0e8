"""The workload before a panic, asked of the metrics endpoint by itself, beside the search: no thread waits for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from sqlmodel import Session, col, func, select

from commands.changes import workload
from commands.changes.found import finding_of, keep_workload, measured
from commands.changes.likely import VERB
from commands.context import Context
from integrations.workload import WorkloadConfig
from storage import ChangeFinding, Incident, IncidentState, Panic, TimelineEntry

log = structlog.get_logger(__name__)

WITHIN = 30.0  # seconds for all of an answer, whatever the time-out of one query is
_WAITING = 200
_AT_ONCE = 2
_FRESH = timedelta(hours=24)


class Loads:
    """One for the desk. An incident is looked at once: a later panic of it asks only where nothing was measured yet."""

    def __init__(self, ctx: Context, config: WorkloadConfig, *, within: float = WITHIN) -> None:
        self.ctx = ctx
        self.config = config
        self.within = within
        self._wanted: asyncio.Queue[int] = asyncio.Queue(_WAITING)
        self._in_hand: set[int] = set()  # incidents

    def want(self, panic_id: int) -> None:
        """The panic was searched for. Beyond a few hundred that wait, the look is left to triage."""
        try:
            self._wanted.put_nowait(panic_id)
        except asyncio.QueueFull:
            log.warning("workload.too_many", panic=panic_id, waiting=_WAITING)

    async def run(self) -> None:
        for panic_id in await self.ctx.db.read(self._left):
            self.want(panic_id)
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            panic_id = await self._wanted.get()
            try:
                await self.look(panic_id)
            except Exception:
                log.exception("workload.look_failed", panic=panic_id)

    async def look(self, panic_id: int) -> None:
        """Asks, and says in the thread what came of it; nothing while the host's own records may still tell."""
        if self.config.prometheus_url is None and self.config.sysstat:
            return
        incident_id = await self.ctx.db.read(lambda s: _incident_of(s, panic_id))
        if incident_id is None or incident_id in self._in_hand:
            return
        self._in_hand.add(incident_id)
        try:
            panic = await self.ctx.db.read(lambda s: _unmeasured(s, panic_id))
            if panic is not None:
                await self._ask(panic)
        finally:
            self._in_hand.discard(incident_id)

    async def _ask(self, panic: Panic) -> None:
        try:
            async with asyncio.timeout(self.within):
                _state, words = await workload.look(self.config, panic.host, panic.occurred_at)
        except TimeoutError:
            words = f"{workload.NOT_CHECKED}: the metrics endpoint did not answer in {self.within:g} s"
        if self.config.sysstat and not measured(words):
            log.info("workload.left_to_triage", panic=panic.id, why=words)
            return
        now = self.ctx.clock()
        await self.ctx.db.write(lambda s: keep_workload(s, s.get_one(Panic, panic.id), words, now))
        self.ctx.wake()

    def _left(self, session: Session) -> list[int]:
        """What a restart kept from being looked at: a panic of each young incident that was searched for, no more."""
        open_states = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
        looked = select(ChangeFinding.incident_id).where(ChangeFinding.workload != "")
        rows = session.exec(
            select(func.min(TimelineEntry.panic_id))
            .join(Incident, col(Incident.id) == TimelineEntry.incident_id)
            .where(
                TimelineEntry.verb == VERB,
                col(TimelineEntry.panic_id).is_not(None),
                col(Incident.state).in_(open_states),
                Incident.last_panic_at >= self.ctx.clock() - _FRESH,
                col(Incident.id).not_in(looked),
            )
            .group_by(col(TimelineEntry.incident_id))
            .order_by(func.min(TimelineEntry.panic_id).desc())
            .limit(_WAITING)
        ).all()
        return [row for row in rows if row is not None]


def _incident_of(session: Session, panic_id: int) -> int | None:
    return session.exec(select(Panic.incident_id).where(Panic.id == panic_id)).first()


def _unmeasured(session: Session, panic_id: int) -> Panic | None:
    panic = session.get(Panic, panic_id)
    if panic is None or panic.incident_id is None:
        return None
    finding = finding_of(session, panic.incident_id)
    return None if finding is not None and measured(finding.workload) else panic
