"""Looking for the change that did it: gather, weigh, and put what was found where people see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, col, select

from commands.changes import found
from commands.changes.candidates import Gathered, gather, keep_host_record
from commands.changes.config import ChangesConfig
from commands.changes.likely import conclude, searched_of
from commands.changes.picture import Fleets
from commands.changes.weighing import SHOWN, Weighed, weigh
from commands.context import Context
from commands.hostrecord import HostRecord, Line
from commands.incident import thread
from integrations.changes import ChangeTracker
from storage import ChangeLink, Incident, IncidentState, Panic

log = structlog.get_logger(__name__)

_FRESH = timedelta(hours=24)  # an incident this young is weighed again when a feed tells of another change
_AT_ONCE = 20


@dataclass(frozen=True)
class Turn:
    """What is to be done for a panic: `ask` the tracker, or weigh again what is known. `began`: read before that."""

    panic: Panic
    ask: bool
    began: datetime


class Search:
    """One for the desk. What it knows stands in the database; the fleet alone is kept in mind."""

    def __init__(self, ctx: Context, config: ChangesConfig) -> None:
        self.ctx = ctx
        self.config = config
        self.fleets = Fleets(ctx.inventory)

    async def turn(self, panic_id: int) -> Turn | None:
        """None: the panic has no thread, was searched for, or came in before the thread was last weighed."""
        now = self.ctx.clock()
        return await self.ctx.db.read(lambda s: _turn(s, panic_id, self.config.searches_per_incident, now))

    async def look(self, turn: Turn, tracker: ChangeTracker | None) -> Gathered:
        """Gathers and weighs, and shows it; a tracker that does not answer is told of, and keeps nothing back."""
        asked = tracker if turn.ask else None
        gathered = await gather(
            self.ctx, turn.panic, tracker=asked, fleets=self.fleets, look_back=self.config.look_back
        )
        note = "" if gathered.failed is None else f"Jira could not be asked: {gathered.failed}"

        def write(session: Session) -> None:
            self._show(session, turn.panic, gathered, note, turn.began)

        await self.ctx.db.write(write)
        self.ctx.wake()
        return gathered

    async def conclude(self, turn: Turn, gathered: Gathered, *, given_up: str | None = None) -> None:
        """The tracker has answered, or is given up: the best ticket is linked, the timeline says what came of it."""

        def write(session: Session) -> None:
            weighed = _not_refused(session, turn.panic, weigh(gathered.changes, gathered.picture))
            conclude(
                session,
                turn.panic.id or 0,
                weighed,
                self.config,
                self.ctx.clock(),
                considered=_considered(gathered),
                known=gathered.known,
                failed=given_up,
            )

        await self.ctx.db.write(write)
        self.ctx.wake()

    async def of_host(self, panic_id: int, record: HostRecord) -> list[Line]:
        """For the runbook: keeps what the host says of itself, weighs again, and tells it in lines."""
        began = self.ctx.clock()
        panic = await self.ctx.db.read(lambda s: s.get_one(Panic, panic_id))
        await keep_host_record(self.ctx, panic, record, fleets=self.fleets, look_back=self.config.look_back)
        gathered = await gather(self.ctx, panic, fleets=self.fleets, look_back=self.config.look_back)

        def write(session: Session) -> tuple[list[Weighed], str]:
            fresh = session.get_one(Panic, panic_id)
            if thread.incident_of(session, panic_id) is None:
                return weigh(gathered.changes, gathered.picture), ""
            before = found.finding_of(session, fresh.incident_id or 0)
            note = before.note if before is not None else ""
            return self._show(session, fresh, gathered, note, began), note

        weighed, note = await self.ctx.db.write(write)
        self.ctx.wake()
        lines = told_in_runbook(weighed, gathered, self.config)
        return [*lines, ("skipped", note)] if note else lines

    async def after_feed(self) -> None:
        """A feed told of a change: the threads that are open and young are weighed again, the youngest first."""
        began = self.ctx.clock()
        for panic in await self.ctx.db.read(lambda s: _young(s, began)):
            await self.look(Turn(panic, False, began), None)

    def _show(
        self, session: Session, panic: Panic, gathered: Gathered, note: str, began: datetime
    ) -> list[Weighed]:
        weighed = _not_refused(session, panic, weigh(gathered.changes, gathered.picture))
        fresh = session.get_one(Panic, panic.id)
        kept = found.finding_of(session, fresh.incident_id or 0)
        known = gathered.known or (kept is not None and kept.note != found.NOT_ASKED)
        if fresh.incident_id is not None and (known or note):
            found.keep_finding(
                session, fresh, weighed, considered=_considered(gathered), note=note, now=began
            )
        return weighed[:SHOWN]


def told_in_runbook(weighed: Sequence[Weighed], gathered: Gathered, config: ChangesConfig) -> list[Line]:
    """The step's lines: each change with its reasons, or that none was found, or that nobody could be asked."""
    if weighed:
        return [("warn", f"likely change: {found.told(w)}") for w in weighed[:SHOWN]]
    if not gathered.known:
        return [("skipped", found.NOT_ASKED)]
    return [("ok", f"changes: {found.nothing_found(config, _considered(gathered))}")]


def _considered(gathered: Gathered) -> int:
    return max(gathered.picture.considered, len(gathered.changes))


def _turn(session: Session, panic_id: int, limit: int, now: datetime) -> Turn | None:
    incident = thread.incident_of(session, panic_id)
    panic = session.get(Panic, panic_id)
    if incident is None or incident.id is None or panic is None:
        return None
    done = searched_of(session, incident.id)
    if panic_id in done:
        return None
    if len(done) < limit:
        return Turn(panic, True, now)
    finding = found.finding_of(session, incident.id)
    if finding is not None and finding.at > panic.reported_at:
        return None
    return Turn(panic, False, now)


def _not_refused(session: Session, panic: Panic, weighed: Sequence[Weighed]) -> list[Weighed]:
    """Without the tickets that a person has said to have nothing to do with this incident."""
    removed = set(
        session.exec(
            select(ChangeLink.key)
            .join(Panic, col(Panic.id) == ChangeLink.panic_id)
            .where(Panic.incident_id == panic.incident_id, ChangeLink.state == "removed")
        ).all()
    )
    return [w for w in weighed if not (w.change.source == "jira" and w.change.key in removed)]


def _young(session: Session, now: datetime) -> list[Panic]:
    """The newest panic of each incident that is not over and had one lately."""
    open_states = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
    incidents = session.exec(
        select(Incident.id)
        .where(col(Incident.state).in_(open_states), Incident.last_panic_at >= now - _FRESH)
        .order_by(col(Incident.last_panic_at).desc())
        .limit(_AT_ONCE)
    ).all()
    panics = []
    for incident_id in incidents:
        newest = session.exec(
            select(Panic).where(Panic.incident_id == incident_id).order_by(col(Panic.id).desc()).limit(1)
        ).first()
        if newest is not None:
            panics.append(newest)
    return panics
