"""What the clock tells an incident: the reminder, the second mention, the pager, the end of a silence.

Driven by the database alone, so a restart neither forgets nor repeats anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from commands.context import Context
from commands.incident import thread
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.incident.printer import Printer
from commands.incident.wording import span
from integrations.slack.text import escape
from storage import AuditEntry, Incident, IncidentState, MessageState, Panic, SlackMessage, incident_ref

_PAGES_AT_ONCE = 10
log = structlog.get_logger(__name__)


class Pager(Protocol):
    """The way out when people do not look, or Slack is down (PagerDuty's Events v2)."""

    async def trigger(
        self,
        dedup_key: str,
        summary: str,
        *,
        source: str,
        severity: str,
        details: dict[str, str],
        link: str | None,
    ) -> None: ...

    async def resolve(self, dedup_key: str) -> None: ...


@dataclass(frozen=True)
class Page:
    """One call to make."""

    incident_id: int
    dedup_key: str
    summary: str
    source: str
    severity: str
    why: str
    link: str | None = None


class Watch:
    """`tick()` is called every few seconds; each thing happens once."""

    def __init__(
        self,
        context: Context,
        config: IncidentConfig,
        routing: RoutingConfig,
        printer: Printer,
        pager: Pager | None,
        *,
        every: float = 2.0,
    ) -> None:
        self.context = context
        self.config = config
        self.routing = routing
        self.printer = printer
        self.pager = pager
        self.every = every
        self._calls: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        while True:
            try:
                await self.tick()
            except Exception:
                log.exception("watch.tick_failed")
            await asyncio.sleep(self.every)

    async def tick(self) -> None:
        now = self.context.clock()
        if await self.context.db.read(lambda s: self._anything(s, now)):
            changed = await self.context.db.write(
                lambda s: self._remind(s, now) + self._mention_again(s, now)
            )
            if changed:
                self.context.wake()
        if self.pager is None:
            return
        # Beside the clock: a pager that hangs must not hold up reminders and second mentions.
        for page in await self.context.db.read(lambda s: self._pages(s, now)):
            self._begin(page.incident_id, self._page(page, now))
        for incident_id in await self.context.db.read(_to_resolve):
            self._begin(incident_id, self._resolve_page(incident_id))

    def _begin(self, key: int, call: Coroutine[Any, Any, None]) -> None:
        """One call at a time for each incident, `_PAGES_AT_ONCE` in all; what does not fit comes at the next tick."""
        if key in self._calls or len(self._calls) >= _PAGES_AT_ONCE:
            call.close()
            return
        task = asyncio.create_task(call, name=f"pager:{key}")
        self._calls[key] = task
        task.add_done_callback(lambda _done: self._calls.pop(key, None))

    async def settled(self) -> None:
        """Waits for the calls to the pager that are under way."""
        await asyncio.gather(*self._calls.values(), return_exceptions=True)

    def _anything(self, session: Session, now: datetime) -> bool:
        """Cheap look before taking the write lock."""
        return bool(self._unreminded(session, now) or self._unacknowledged(session, now))

    def _unreminded(self, session: Session, now: datetime) -> list[Incident]:
        return list(
            session.exec(
                select(Incident).where(
                    col(Incident.state).in_((IncidentState.OPEN, IncidentState.ACKNOWLEDGED)),
                    Incident.opened_at <= now - self.config.remind_after,
                    col(Incident.reminded_at).is_(None),
                    col(Incident.runbook_done_at).is_(None),
                    Incident.silenced == False,  # noqa: E712 - SQL
                    Incident.wave == False,  # noqa: E712 - SQL
                )
            ).all()
        )

    def _unacknowledged(self, session: Session, now: datetime) -> list[Incident]:
        since = now - self.config.mention_again_after
        query = _critical_and_open().where(
            Incident.opened_at <= since, col(Incident.mentioned_again_at).is_(None)
        )
        return [i for i in session.exec(query).all() if _critical_since(session, i, since)]

    def _remind(self, session: Session, now: datetime) -> int:
        due = self._unreminded(session, now)
        for incident in due:
            incident.reminded_at = now
            session.add(incident)
            after = span(self.config.remind_after)
            text = f":alarm_clock: {after} have passed and the runbook is not done. *Run triage*, or resolve this."
            if incident.assignee:
                text = f"<@{incident.assignee}> {text}"
            thread.note(session, incident.id or 0, "reminder", f"runbook not done after {after}", at=now)
            _audit(session, "reminder", incident, "done", f"runbook not done after {after}", now)
            opened = int(incident.opened_at.timestamp())
            thread.say(session, incident.id or 0, f"reminder:{incident.id}:{opened}", text=text, now=now)
            thread.touch(session, incident.id or 0)
        return len(due)

    def _mention_again(self, session: Session, now: datetime) -> int:
        due = self._unacknowledged(session, now)
        for incident in due:
            incident.mentioned_again_at = now
            session.add(incident)
            after = span(self.config.mention_again_after)
            group = f"<!subteam^{self.routing.mention_group}> " if self.routing.mention_group else ""
            text = f"{group}:rotating_light: critical, and nobody acknowledged it in {after}."
            opened = int(incident.opened_at.timestamp())
            thread.note(
                session, incident.id or 0, "mentioned_again", f"nobody acknowledged in {after}", at=now
            )
            _audit(session, "mention_again", incident, "done", f"nobody acknowledged in {after}", now)
            thread.say(session, incident.id or 0, f"again:{incident.id}:{opened}", text=text, now=now)
        return len(due)

    # -- the pager ------------------------------------------------------------------------------------

    def _pages(self, session: Session, now: datetime) -> list[Page]:
        """Critical and unacknowledged for too long; or Slack is down and nobody can have seen it."""
        down = self.printer.failing_since
        slack_down = down is not None and now - down >= self.config.page_when_slack_down_for
        query = _critical_and_open().where(col(Incident.paged_at).is_(None))
        page_since = now - self.config.page_after
        pages = []
        for incident in session.exec(query.limit(50)).all():
            if incident.opened_at <= page_since and _critical_since(session, incident, page_since):
                why = f"nobody acknowledged it in {span(self.config.page_after)}"
            elif slack_down and not _posted(session, incident) and _critical_since(session, incident, now):
                why = f"Slack has been unreachable for {span(now - down)}" if down else ""
            else:
                continue
            host = session.exec(select(Panic.host).where(Panic.incident_id == incident.id).limit(1)).first()
            pages.append(
                Page(
                    incident_id=incident.id or 0,
                    dedup_key=_dedup_key(session, incident),
                    summary=f"{host or 'a host'} panicked: {incident.title} ({incident_ref(incident.id)})"[
                        :1000
                    ],
                    source=host or "panicroom",
                    severity="critical",
                    why=why,
                    link=_permalink(session, incident),
                )
            )
        return pages

    async def _page(self, page: Page, now: datetime) -> None:
        assert self.pager is not None
        try:
            async with asyncio.timeout(15):
                await self.pager.trigger(
                    page.dedup_key,
                    page.summary,
                    source=page.source,
                    severity=page.severity,
                    details={"incident": incident_ref(page.incident_id), "why": page.why},
                    link=page.link,
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told and tried again at the next tick
            log.error("pager.failed", incident=page.incident_id, error=str(error))
            await self.context.db.write(lambda s, e=str(error): self._pager_failed(s, page, e, now))  # type: ignore[misc]
            return

        def record(session: Session) -> None:
            incident = session.get_one(Incident, page.incident_id)
            incident.paged_at = now
            session.add(incident)
            _audit(session, "page", incident, "done", page.why, now)
            said = f":pager: The pager was called: {escape(page.why)}."
            life = int(incident.opened_at.timestamp())
            thread.note(session, page.incident_id, "paged", page.why, at=now)
            thread.say(session, page.incident_id, f"paged:{incident.id}:{life}", text=said, now=now)

        await self.context.db.write(record)
        self.context.wake()

    def _pager_failed(self, session: Session, page: Page, error: str, now: datetime) -> None:
        said = f":warning: The pager could not be called ({escape(error[:300])}); it is tried again every few seconds."
        key = f"page-failed:{page.dedup_key}"
        if session.exec(select(SlackMessage.id).where(SlackMessage.key == key)).first() is None:
            _audit(session, "page", session.get_one(Incident, page.incident_id), "failed", error[:500], now)
        thread.say(session, page.incident_id, key, text=said, now=now)

    async def _resolve_page(self, incident_id: int) -> None:
        assert self.pager is not None
        key = await self.context.db.read(lambda s: _dedup_key(s, s.get_one(Incident, incident_id)))
        try:
            async with asyncio.timeout(15):
                await self.pager.resolve(key)
        except Exception as error:  # noqa: BLE001 - tried again at the next tick
            log.error("pager.resolve_failed", incident=incident_id, error=str(error))
            return

        def record(session: Session) -> None:
            row = session.get_one(Incident, incident_id)
            row.paged_at = None
            session.add(row)

        await self.context.db.write(record)


def _audit(session: Session, verb: str, incident: Incident, outcome: str, detail: str, now: datetime) -> None:
    """The bot's own acts are audited like a person's."""
    row = AuditEntry(
        actor="panicroom",
        verb=verb,
        subject=incident_ref(incident.id),
        outcome=outcome,
        detail=detail,
        at=now,
    )
    session.add(row)


def _critical_and_open() -> SelectOfScalar[Incident]:
    return select(Incident).where(
        Incident.state == IncidentState.OPEN,
        Incident.severity == "critical",
        Incident.silenced == False,  # noqa: E712 - SQL
    )


def _critical_since(session: Session, incident: Incident, moment: datetime) -> bool:
    """Whether a critical host outside planned work has been in it since then: an old incident that a critical host
    joins now is not overdue at once, and one that only silenced hosts made critical mentions nobody."""
    return (
        session.exec(
            select(Panic.id)
            .where(
                Panic.incident_id == incident.id,
                Panic.criticality == "critical",
                Panic.silenced == False,  # noqa: E712 - SQL
                Panic.reported_at <= moment,
            )
            .limit(1)
        ).first()
        is not None
    )


def _dedup_key(session: Session, incident: Incident) -> str:
    """The same for the whole life of an incident's page, and of this installation alone."""
    born = session.exec(
        select(SlackMessage.created_at).where(SlackMessage.key == thread.parent_key(incident.id or 0))
    ).first()
    return f"panicroom-{incident_ref(incident.id)}-{int((born or incident.opened_at).timestamp())}"


def _permalink(session: Session, incident: Incident) -> str | None:
    return session.exec(
        select(SlackMessage.permalink).where(SlackMessage.key == thread.parent_key(incident.id or 0))
    ).first()


def _posted(session: Session, incident: Incident) -> bool:
    message = session.exec(
        select(SlackMessage).where(SlackMessage.key == thread.parent_key(incident.id or 0))
    ).first()
    return message is not None and message.ts is not None and message.state is not MessageState.FAILED


def _to_resolve(session: Session) -> list[int]:
    """Resolved (or merged) incidents whose page still stands."""
    return [
        i
        for i in session.exec(
            select(Incident.id)
            .where(
                col(Incident.state).in_((IncidentState.RESOLVED, IncidentState.MERGED)),
                col(Incident.paged_at).is_not(None),
            )
            .limit(20)
        ).all()
        if i is not None
    ]
