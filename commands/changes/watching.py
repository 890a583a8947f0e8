"""What becomes of a linked ticket: read again when the tracker tells of it, and from time to time all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, col, func, select

from commands.changes import links
from commands.changes.config import ChangesConfig
from commands.context import Context
from commands.incident import thread
from integrations.changes import Change, ChangeError, ChangeTracker, TicketUnknown
from integrations.slack.text import escape, shorten
from storage import ChangeLink, Incident, IncidentState, panic_ref

log = structlog.get_logger(__name__)


class Watcher:
    """One for the desk. When a ticket is read again stands in its links (`look_at`)."""

    def __init__(self, ctx: Context, config: ChangesConfig, pause: Callable[[int], timedelta]) -> None:
        self.ctx = ctx
        self.config = config
        self.pause = pause
        self._failures: dict[str, int] = {}

    async def due(self, limit: int) -> list[tuple[str, datetime]]:
        """(key, when it is to be read) of the first tickets, the longest overdue first; a ticket is there once."""

        def read(session: Session) -> list[tuple[str, datetime]]:
            first = func.min(ChangeLink.look_at)
            rows = session.exec(
                select(ChangeLink.key, first)
                .where(col(ChangeLink.look_at).is_not(None), ChangeLink.state == "linked")
                .group_by(ChangeLink.key)
                .order_by(first)
                .limit(limit)
            ).all()
            return [(key, at) for key, at in rows if at is not None]

        return await self.ctx.db.read(read)

    async def changed(self, keys: Iterable[str]) -> int:
        """The tracker says that these tickets have changed: those that are linked are read at once. How many links."""
        wanted = sorted(set(keys))

        def write(session: Session) -> int:
            now = self.ctx.clock()
            rows = session.exec(
                select(ChangeLink).where(col(ChangeLink.key).in_(wanted), ChangeLink.state == "linked")
            ).all()
            for link in rows:
                link.look_at = now
                session.add(link)
            return len(rows)

        return await self.ctx.db.write(write) if wanted else 0

    async def look(self, tracker: ChangeTracker, key: str) -> None:
        """Reads the ticket; its cards say what is new. What cannot be read just now is read later."""
        try:
            change = await tracker.get(key)
        except TicketUnknown as error:
            why = str(error)
            await self.ctx.db.write(lambda s: self._gone(s, key, why))
        except ChangeError as error:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            asked = timedelta(seconds=getattr(error, "retry_after", None) or 0.0)
            least = self.config.poll_every if error.permanent else timedelta()
            again = self.ctx.clock() + max(self.pause(failures), asked, least)
            log.warning("changes.not_looked_at", key=key, error=str(error))
            await self.ctx.db.write(lambda s: _put_off(s, key, again))
            return
        else:
            await self.ctx.db.write(lambda s: self._seen(s, key, change))
        self._failures.pop(key, None)
        self.ctx.wake()

    def _seen(self, session: Session, key: str, change: Change) -> None:
        now = self.ctx.clock()
        said: set[int] = set()
        for link in _links(session, key):
            incident = thread.incident_of(session, link.panic_id)
            if change.key != link.key and not links.renamed(session, link, change.key, now):
                continue
            was, before = link.status, links.facts(link)
            links.take_facts(link, change)
            link.look_at = self._next(link, incident, now)
            session.add(link)
            if links.facts(link) == before:
                continue
            incident_id = incident.id if incident is not None else None
            if was != link.status and incident_id is not None and incident_id not in said:
                said.add(incident_id)
                words = f"{escape(link.key)} is {escape(shorten(link.status, 60))} now"
                words += f" (it was {escape(shorten(was, 60))})" if was else ""
                thread.note(session, incident_id, "change-status", words, panic_id=link.panic_id, at=now)
            links.show(session, link, now)

    def _gone(self, session: Session, key: str, why: str) -> None:
        now = self.ctx.clock()
        for link in _links(session, key):
            link.gone, link.look_at = why[:1000], None
            session.add(link)
            incident = thread.incident_of(session, link.panic_id)
            if incident is not None:
                words = f"{escape(key)} of {panic_ref(link.panic_id)} can no longer be read at the tracker"
                thread.note(session, incident.id or 0, "change-status", words, panic_id=link.panic_id, at=now)
            links.show(session, link, now)

    def _next(self, link: ChangeLink, incident: Incident | None, now: datetime) -> datetime | None:
        """None once nobody waits for it: the thread is over and the ticket too, or it is long ago."""
        over = incident is None or incident.state is IncidentState.RESOLVED
        if (over and link.ended is not None) or now - link.linked_at > self.config.poll_for:
            return None
        return now + self.config.poll_every


def _links(session: Session, key: str) -> list[ChangeLink]:
    return list(
        session.exec(select(ChangeLink).where(ChangeLink.key == key, ChangeLink.state == "linked")).all()
    )


def _put_off(session: Session, key: str, until: datetime) -> None:
    for link in _links(session, key):
        if link.look_at is not None:
            link.look_at = until
            session.add(link)
