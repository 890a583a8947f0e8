"""What the clock tells of storms: digests while they grow, the last one, the picture, the evidence of a few.

Driven by the database alone, so a restart neither forgets nor repeats anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlmodel import Session, col, select

from commands.context import Context
from commands.errors import CommandError
from commands.incident import thread
from commands.incident.common import look_elsewhere
from commands.incident.config import StormConfig
from commands.incident.digest import Act, Progress, due, picture_due, set_right
from commands.incident.storm import hosts_in, members, touch
from commands.incident.stormwords import digest, event_title
from commands.incident.wavepicture import Died, Marked, Wave, compose, draw
from commands.incident.wording import redacted
from integrations.slack.text import escape
from integrations.stores.local import LocalStore
from storage import (
    ChangeRecord,
    Incident,
    IncidentState,
    MessageState,
    Panic,
    RunbookRun,
    SlackMessage,
    Storm,
    incident_ref,
    panic_ref,
)

log = structlog.get_logger(__name__)

_ROLLOUTS = ("kernel", "driver", "firmware")
_AT_ONCE = 5  # collections of evidence that one tick begins
_BEFORE = timedelta(days=1)  # how long before the storm a rollout may have begun that the picture names

Collect = Callable[[int, str, str], Awaitable[Any]]  # (panic_id, asked_by, request_key)


@dataclass(frozen=True)
class Due:
    """One storm's turn."""

    lead_id: int
    act: Act
    picture: bool


class StormDesk:
    """`tick()` is called every second; each digest, picture and collection happens once."""

    def __init__(
        self,
        context: Context,
        config: StormConfig,
        *,
        collect: Collect | None = None,
        every: float = 1.0,
    ) -> None:
        self.context = context
        self.config = config
        self.collect = collect
        self.every = every
        self.store = LocalStore(context.store_dir)
        self._refused: set[int] = (
            set()
        )  # panics whose evidence cannot be collected now; asked again after a restart

    async def run(self) -> None:
        while True:
            try:
                await self.tick()
            except Exception:
                log.exception("storm.tick_failed")
            await asyncio.sleep(self.every)

    async def tick(self) -> None:
        now = self.context.clock()
        for turn in await self.context.db.read(lambda s: self._due(s, now)):
            if turn.picture:
                await self._picture(turn.lead_id, now)
            if turn.act is not Act.NOTHING:
                await self._tell(turn, now)
        if self.collect is not None and self.config.evidence:
            for panic_id in await self.context.db.read(self._uncollected):
                await self._collect(self.collect, panic_id)

    # -- what is due ------------------------------------------------------------------------------------

    def _due(self, session: Session, now: datetime) -> list[Due]:
        """The storms with something to do, each event once."""
        turns = []
        for lead_id in sorted(set(session.exec(select(Storm.lead_id).where(col(Storm.closed_at).is_(None))))):
            progress, lead = self._progress(session, lead_id, now)
            act = due(progress, now, every=self.config.digest_every, quiet=self.config.quiet)
            since = set_right(lead.pictured_at or lead.began_at, now)
            picture = picture_due(
                progress.hosts, lead.hosts_pictured, since, now, every=self.config.picture_every, act=act
            )
            if act is not Act.NOTHING or picture:
                turns.append(Due(lead_id, act, picture))
        return turns

    def _progress(self, session: Session, lead_id: int, now: datetime) -> tuple[Progress, Storm]:
        event = members(session, lead_id)
        lead = event[0]
        told_at = set_right(lead.told_at, now) if lead.told_at is not None else None
        progress = Progress(
            began_at=set_right(lead.began_at, now),
            grown_at=set_right(max(storm.grown_at for storm in event), now),
            hosts=hosts_in(session, [storm.incident_id for storm in event]),
            told_at=told_at,
            hosts_told=lead.hosts_told,
        )
        return progress, lead

    # -- digests ----------------------------------------------------------------------------------------

    async def _tell(self, turn: Due, now: datetime) -> None:
        def write(session: Session) -> bool:
            progress, lead = self._progress(session, turn.lead_id, now)
            # Asked again inside the transaction: another process may have told it, or a host may have come.
            act = due(progress, now, every=self.config.digest_every, quiet=self.config.quiet)
            if act is Act.NOTHING:
                return False
            self._set_clocks(session, turn.lead_id, now)
            incident_ids = [storm.incident_id for storm in members(session, turn.lead_id)]
            lead.elsewhere = look_elsewhere(session, incident_ids)
            collects = self.config.evidence if self.collect is not None else None
            text = digest(session, lead, closing=act is Act.CLOSE, collects=collects)
            alive = session.get_one(Incident, turn.lead_id).state is not IncidentState.MERGED
            if text is not None and alive:
                self._say(session, lead, text, now)
            lead.told_at, lead.hosts_told = now, progress.hosts
            session.add(lead)
            if act is Act.CLOSE:
                self._close(session, turn.lead_id, now)
            for incident_id in incident_ids:
                touch(session, incident_id, timedelta(0), now)
            return True

        if await self.context.db.write(write):
            self.context.wake()

    def _say(self, session: Session, lead: Storm, text: str, now: datetime) -> None:
        """A digest that Slack has not taken yet is brought up to date: they do not pile up behind a slow Slack."""
        last = session.exec(
            select(SlackMessage).where(SlackMessage.key == _key(lead.incident_id, lead.digests))
        ).first()
        if last is not None and last.ts is None and last.state is MessageState.WAITING:
            last.payload = {"text": text, "blocks": []}
            session.add(last)
            return
        lead.digests += 1
        thread.say(session, lead.incident_id, _key(lead.incident_id, lead.digests), text=text, now=now)

    def _set_clocks(self, session: Session, lead_id: int, now: datetime) -> None:
        """The clock was set back: moments that it has left in the future would hold everything up."""
        for storm in members(session, lead_id):
            storm.began_at, storm.grown_at = set_right(storm.began_at, now), set_right(storm.grown_at, now)
            session.add(storm)

    def _close(self, session: Session, lead_id: int, now: datetime) -> None:
        for storm in members(session, lead_id):
            storm.closed_at = now
            session.add(storm)
            words = "the storm is over: no host came for a while"
            thread.note(session, storm.incident_id, "storm_over", words, at=now)
        log.info("storm.over", incident=incident_ref(lead_id))

    # -- the picture ------------------------------------------------------------------------------------

    async def _picture(self, lead_id: int, now: datetime) -> None:
        wave, number, hosts = await self.context.db.read(lambda s: self._wave(s, lead_id))
        png = await asyncio.to_thread(draw, wave)
        name = f"{incident_ref(lead_id)}-storm-{number}.png"
        kept = await asyncio.to_thread(self.store.put, ("storms", name), png)

        def write(session: Session) -> None:
            lead = session.get_one(Storm, lead_id)
            if lead.pictures >= number:
                return  # another process was first
            lead.pictures, lead.pictured_at, lead.hosts_pictured = number, now, hosts
            session.add(lead)
            message = thread.say(
                session,
                lead_id,
                f"stormpicture:{lead_id}:{number}",
                text=f"Hosts over time, by {wave.by}: {wave.hosts:,}" + _marked_words(wave),
                file=Path(kept.path),
                file_name=name,
                now=now,
            )
            message.payload = {**(message.payload or {}), "alt": wave.alt_text}
            session.add(message)

        await self.context.db.write(write)
        self.context.wake()

    def _wave(self, session: Session, lead_id: int) -> tuple[Wave, int, int]:
        """The picture, its number, and how many hosts it was made of."""
        event = members(session, lead_id)
        lead = event[0]
        rows = session.exec(
            select(Panic.host, Panic.occurred_at, Panic.kernel, Panic.ring)
            .where(col(Panic.incident_id).in_([storm.incident_id for storm in event]))
            .order_by(col(Panic.occurred_at))
        ).all()
        firsts: dict[str, Died] = {}
        for host, at, kernel, ring in rows:
            firsts.setdefault(host, Died(at, kernel, ring))
        first = min((died.at for died in firsts.values()), default=lead.first_at)
        last = max((died.at for died in firsts.values()), default=lead.last_at)
        told = session.exec(
            select(ChangeRecord.key, ChangeRecord.started)
            .where(
                col(ChangeRecord.kind).in_(_ROLLOUTS),
                col(ChangeRecord.started).between(first - _BEFORE, last),
            )
            .order_by(col(ChangeRecord.started).desc())
            .limit(20)
        ).all()
        marks = [Marked(key, started) for key, started in told if started is not None]
        title = redacted(event_title(session, lead))
        return compose(title, list(firsts.values()), marks), lead.pictures + 1, len(firsts)

    # -- evidence ---------------------------------------------------------------------------------------

    def _uncollected(self, session: Session) -> list[int]:
        """Of storms that were told of: the first few panics and those of critical hosts, without a collection."""
        found: list[int] = []
        storms = session.exec(
            select(Storm).where(col(Storm.closed_at).is_(None)).order_by(col(Storm.began_at))
        ).all()
        for storm in storms:
            if session.get_one(Storm, storm.lead_id).told_at is None:
                continue
            wanted = (
                select(Panic.id)
                .where(
                    Panic.incident_id == storm.incident_id,
                    col(Panic.deliberate).is_(False),
                    col(Panic.silenced).is_(False),
                )
                .order_by(col(Panic.id))
            )
            first = session.exec(wanted.limit(self.config.evidence)).all()
            critical = session.exec(wanted.where(Panic.criticality == "critical")).all()
            ids = list(dict.fromkeys(i for i in (*first, *critical) if i is not None))
            begun = set(
                session.exec(
                    select(RunbookRun.panic_id).where(
                        RunbookRun.kind == "evidence", col(RunbookRun.panic_id).in_(ids)
                    )
                ).all()
            )
            found += [i for i in ids if i not in begun and i not in self._refused]
        return found[:_AT_ONCE]

    async def _collect(self, collect: Collect, panic_id: int) -> None:
        try:
            await collect(panic_id, "panicroom", f"storm:{panic_id}")
        except CommandError as error:
            self._refused.add(panic_id)
            log.info("storm.evidence_not_begun", panic=panic_ref(panic_id), reason=str(error))


def _key(incident_id: int, number: int) -> str:
    return f"digest:{incident_id}:{number}"


def _marked_words(wave: Wave) -> str:
    return f". Rollouts: {escape('; '.join(wave.mark_words()))}" if wave.marks else ""
