"""A problem ticket for a signature that keeps coming back: made once, linked to all its panics, told of later ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import ColumnElement
from sqlmodel import Session, col, func, select

from commands.changes import links
from commands.changes.config import ProblemConfig
from commands.changes.telling import line
from commands.context import Context
from commands.incident import thread
from commands.incident.wording import redacted
from integrations.changes import Change, ChangeError, ChangeTracker
from storage import ChangeLink, Panic, ProblemTicket, SlackMessage, incident_ref, panic_ref

log = structlog.get_logger(__name__)
_LINKED = 200  # panics of a signature, the newest
_TOLD = 20  # named in a text


@dataclass(frozen=True)
class Telling:
    """What the ticket is to be told of: its panics that it does not know yet, the newest first."""

    row: ProblemTicket
    panics: tuple[tuple[Panic, str | None], ...]  # with the address of its thread, once posted
    count: int


class Problems:
    """One for the desk. What is to be done stands in the `ProblemTicket` rows."""

    def __init__(
        self, ctx: Context, config: ProblemConfig, look: timedelta, pause: Callable[[int], timedelta]
    ) -> None:
        self.ctx = ctx
        self.config = config
        self.look = look  # how long to wait for the first look at a ticket that was made
        self.pause = pause

    async def recount(self) -> None:
        """What a process that ended between a panic's commit and its count, or a write that failed, left uncounted.

        All of it is derived from the panics: a signature that has come back often enough has a ticket that is wanted,
        and of a ticket there is, each panic since it was last told stands beside it. Making it twice changes nothing.
        """
        left = await self.ctx.db.read(self._left)
        for key in left:
            await self.ctx.db.write(partial(self._catch_up, key=key))
        if left:
            log.info("changes.problems_recounted", signatures=len(left))

    def _left(self, session: Session) -> list[str]:
        """Signatures that are to be looked at again. Two queries, however many panics there are."""
        counted = session.exec(
            select(Panic.signature_key, func.count(), func.max(Panic.id))
            .where(*self._counted(self.ctx.clock()))
            .group_by(Panic.signature_key)
        ).all()
        rows = {row.signature_key: row for row in session.exec(select(ProblemTicket)).all()}
        found = []
        for key, count, newest in counted:
            row = rows.get(key)
            behind = row is not None and row.key is not None and (newest or 0) > row.told_panic_id
            if behind or (row is None and count >= self.config.after):
                found.append(key)
        return found

    def _catch_up(self, session: Session, key: str) -> None:
        row = session.exec(select(ProblemTicket).where(ProblemTicket.signature_key == key)).first()
        told = row.told_panic_id if row is not None and row.key is not None else 0
        panics = session.exec(
            select(Panic)
            .where(
                Panic.signature_key == key,
                col(Panic.id) > told,
                col(Panic.incident_id).is_not(None),
                col(Panic.deliberate).is_(False),
            )
            .order_by(col(Panic.id).desc())
            .limit(_LINKED if row is not None else 1)
        ).all()
        for panic in reversed(panics):
            self._want(session, panic)

    async def on_panic(self, panic_id: int) -> None:
        """The panic's signature may have come back often enough, or has a ticket that is to be told."""

        def write(session: Session) -> None:
            panic = session.get(Panic, panic_id)
            if panic is not None and panic.incident_id is not None and not panic.deliberate:
                self._want(session, panic)

        await self.ctx.db.write(write)

    def _want(self, session: Session, panic: Panic) -> None:
        now, key = self.ctx.clock(), panic.signature_key
        row = session.exec(select(ProblemTicket).where(ProblemTicket.signature_key == key)).first()
        if row is None:
            if panic.kind == "unknown" or self._count(session, key, now) < self.config.after:
                return
            row = ProblemTicket(signature_key=key, wanted_at=now, next_at=now)
        elif row.key is not None:
            self._link(session, row.key, [panic], now)
            if row.next_at is None and (panic.id or 0) > row.told_panic_id:
                row.next_at = max(now, (row.told_at or now) + self.config.tell_every)
        session.add(row)

    def _count(self, session: Session, key: str, now: datetime) -> int:
        return session.exec(
            select(func.count()).select_from(Panic).where(Panic.signature_key == key, *self._counted(now))
        ).one()

    def _counted(self, now: datetime) -> tuple[ColumnElement[bool], ...]:
        """Which panics count."""
        return col(Panic.occurred_at) >= now - self.config.window, col(Panic.deliberate).is_(False)

    async def due(self, limit: int) -> list[tuple[int, datetime]]:
        """(row id, when), the longest overdue first."""

        def read(session: Session) -> list[tuple[int, datetime]]:
            rows = session.exec(
                select(ProblemTicket.id, ProblemTicket.next_at)
                .where(col(ProblemTicket.next_at).is_not(None))
                .order_by(col(ProblemTicket.next_at))
                .limit(limit)
            ).all()
            return [(i, at) for i, at in rows if i is not None and at is not None]

        return await self.ctx.db.read(read)

    async def work(self, tracker: ChangeTracker, row_id: int) -> None:
        """Makes the ticket, or tells it of what came since. A failure is kept with the row."""
        if not await self.ctx.db.read(lambda s: self._is_due(s, row_id)):
            return  # it was done while the list of what is due was being read
        told = await self.ctx.db.read(lambda s: self._telling(s, row_id))
        if told is None:
            await self._done(row_id, None, ())
            return
        row = told.row
        try:
            if row.key is None:
                made = await tracker.create(
                    self.config.project,
                    kind=self.config.type,
                    summary=line(self.config.summary.format(title=_title(told)), 240),
                    body=description(told),
                    labels=self.config.labels,
                    mark=label(row),
                )
                await self._done(row_id, made, told.panics)
            else:
                newest = told.panics[0][0]
                await tracker.comment(
                    row.key, marker=f"(panicroom {label(row)} {panic_ref(newest.id)})", body=again(told)
                )
                await self._done(row_id, None, told.panics)
        except ChangeError as error:
            await self._failed(row_id, error)

    def _is_due(self, session: Session, row_id: int) -> bool:
        row = session.get(ProblemTicket, row_id)
        return row is not None and row.next_at is not None and row.next_at <= self.ctx.clock()

    def _telling(self, session: Session, row_id: int) -> Telling | None:
        row = session.get(ProblemTicket, row_id)
        if row is None:
            return None
        wanted = (
            Panic.signature_key == row.signature_key,
            col(Panic.id) > row.told_panic_id,
            col(Panic.incident_id).is_not(None),
            col(Panic.deliberate).is_(False),
        )
        panics = session.exec(
            select(Panic).where(*wanted).order_by(col(Panic.id).desc()).limit(_LINKED)
        ).all()
        if not panics:
            return None
        count = session.exec(select(func.count()).select_from(Panic).where(*wanted)).one()
        keys = {thread.parent_key(p.incident_id or 0) for p in panics}
        posted = session.exec(
            select(SlackMessage.key, SlackMessage.permalink).where(col(SlackMessage.key).in_(keys))
        ).all()
        addresses = dict(posted)
        return Telling(
            row, tuple((p, addresses.get(thread.parent_key(p.incident_id or 0))) for p in panics), count
        )

    async def _done(
        self, row_id: int, made: Change | None, panics: tuple[tuple[Panic, str | None], ...]
    ) -> None:
        def write(session: Session) -> None:
            now = self.ctx.clock()
            row = session.get(ProblemTicket, row_id)
            if row is None:
                return
            row.next_at, row.error, row.attempts = None, None, 0
            if panics:
                row.told_panic_id, row.told_at = panics[0][0].id or 0, now
            if made is not None:
                row.key = made.key
                self._link(session, made.key, [panic for panic, _address in panics], now, made)
            session.add(row)
            # A panic that came while the tracker was asked is not part of what was told.
            session.flush()
            since = self._telling(session, row_id)
            if since is not None and row.key is not None:
                self._link(session, row.key, [panic for panic, _address in since.panics], now)
                row.next_at = (row.told_at or now) + self.config.tell_every
                session.add(row)

        await self.ctx.db.write(write)
        self.ctx.wake()

    async def _failed(self, row_id: int, error: ChangeError) -> None:
        log.warning("changes.problem_failed", row=row_id, error=str(error), permanent=error.permanent)

        def write(session: Session) -> None:
            row = session.get(ProblemTicket, row_id)
            if row is None:
                return
            asked = timedelta(seconds=getattr(error, "retry_after", None) or 0.0)
            pause = max(self.pause(row.attempts), asked)
            # What a person has to put right (a project, a type) is tried again once a day.
            pause = max(pause, timedelta(days=1)) if error.permanent else pause
            row.attempts, row.error, row.next_at = (
                row.attempts + 1,
                str(error)[:1000],
                self.ctx.clock() + pause,
            )
            session.add(row)

        await self.ctx.db.write(write)

    def _link(
        self, session: Session, key: str, panics: list[Panic], now: datetime, made: Change | None = None
    ) -> None:
        """The ticket beside each of the panics; one card an incident, on its newest panic."""
        shown: set[int] = set()
        known = session.exec(select(ChangeLink).where(ChangeLink.key == key).limit(1)).first()
        for panic in panics:
            incident = thread.incident_of(session, panic.id or 0)
            if incident is None or incident.id is None:
                continue
            held = links.find_in_incident(session, incident, key)
            there = held if held is not None and held.panic_id == panic.id else None
            if there is not None:
                continue  # also one that a person took away
            link = ChangeLink(
                panic_id=panic.id or 0, key=key, state="linked", linked_by="panicroom", linked_at=now,
                problem=True, look_at=now + self.look,
            )  # fmt: skip
            if made is not None:
                links.take_facts(link, made)
            elif known is not None:
                link.summary, link.status, link.url = known.summary, known.status, known.url
                link.assignee, link.started = known.assignee, known.started
            session.add(link)
            session.flush()
            if held is None and incident.id not in shown:
                shown.add(incident.id)
                words = f"problem ticket {key} of this signature"
                thread.note(session, incident.id, "problem", words, panic_id=panic.id, at=now)
                links.show(session, link, now)


def label(row: ProblemTicket) -> str:
    """The ticket's own label, looked for before it is made: the signature and when the ticket was wanted."""
    told = f"{row.signature_key}\n{row.wanted_at.timestamp():.6f}"
    return f"panicroom-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _title(told: Telling) -> str:
    """The newest panic's headline, as Slack has it: a ticket is read by as many."""
    newest = told.panics[0][0]
    return redacted(newest.title, newest.host)


def description(told: Telling) -> str:
    """Plain text."""
    newest = told.panics[0][0]
    return "\n".join(
        [
            f"This kernel panic keeps coming back: {line(_title(told), 200)}",
            f"Signature: {line(newest.signature_key, 300)}",
            f"{told.count} panics so far:",
            *_lines(told),
        ]
    )


def again(told: Telling) -> str:
    many = "It has come back." if told.count == 1 else f"It has come back {told.count} times."
    return "\n".join([many, *_lines(told)])


def _lines(told: Telling) -> list[str]:
    rows = []
    for panic, address in told.panics[:_TOLD]:
        where = f" {address}" if address else ""
        rows.append(
            f"{panic_ref(panic.id)} ({incident_ref(panic.incident_id)}) on {line(panic.host, 80)}, "
            f"{panic.occurred_at:%Y-%m-%d %H:%M} UTC, kernel {line(panic.kernel or 'unknown', 80)}{where}"
        )
    return rows + ([f"and {told.count - _TOLD} more"] if told.count > _TOLD else [])
