"""The first start after a restore: what Slack may know already is looked for before it is said again.

Between the backup and the end of the old bot, that bot went on. What it posted then stands in Slack, and the restored
tables do not know it. So, before anything is posted: the reports that the backup holds unread are read, each
message that was never posted is marked as one that may have landed (the printer looks for it by its key), and threads
of panics that came later are told to be of no memory, without buttons: their ids are given again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import update
from sqlmodel import Session, col, select

from commands.context import Context
from commands.intake.desk import IntakeDesk
from integrations.slack.errors import SlackError, SlackRateLimited
from integrations.slack.text import date
from storage import AuditEntry, MessageState, SlackMessage
from storage.backup_restore import RECOVERED, RESTORED, VERB

log = structlog.get_logger(__name__)

_AGAIN = 5.0  # seconds until Slack is asked again
_TRIES = 5  # of a call that Slack refuses; the printer does not wait for it for ever
_BEFORE = 600.0  # seconds before the backup, for a Slack whose clock is another one


@dataclass(frozen=True)
class Restoration:
    """A restore that no start has dealt with yet."""

    audit_id: int
    taken_at: datetime
    known: frozenset[str]  # the keys of messages that the tables account for


class AfterRestore:
    """`catch_up()` before anything is printed, then `run()` in place of `printer.run`. Without a restore: neither."""

    def __init__(
        self,
        context: Context,
        intake: IntakeDesk,
        printer: Callable[[], Awaitable[None]],
        default_channel: str,
    ) -> None:
        self.context = context
        self.intake = intake
        self._print = printer
        self._channel = default_channel
        self._restoration: Restoration | None = None

    async def catch_up(self) -> None:
        """In the database alone: reads what is unread, and marks what may stand in Slack."""
        found = await self.context.db.read(_pending)
        if found is None:
            return
        log.info("restore.catching_up", taken_at=found[1].isoformat())
        while await self.intake.drain():
            pass
        known = await self.context.db.write(lambda s: _mark(s, found[1], self.context.clock()))
        self._restoration = Restoration(found[0], found[1], known)

    async def run(self) -> None:
        """Until cancelled."""
        if self._restoration is not None:
            await self._tell(self._restoration)
            self._restoration = None
        await self._print()

    async def _tell(self, restoration: Restoration) -> None:
        channels = await self.context.db.read(
            lambda s: set(s.exec(select(SlackMessage.channel).distinct()).all())
        )
        orphans = 0
        for channel in sorted(channels | {self._channel}):
            orphans += await self._tell_channel(channel, restoration)

        def record(session: Session) -> None:
            detail = json.dumps({"threads": orphans})
            subject = str(restoration.audit_id)
            session.add(
                AuditEntry(
                    at=self.context.clock(), actor="panicroom", verb=VERB, subject=subject, outcome=RECOVERED,
                    detail=detail,
                )
            )  # fmt: skip
            threads = f"{orphans} thread{'' if orphans == 1 else 's'}"
            self.intake.tell_admins(
                session,
                f"restored:{restoration.audit_id}",
                f":floppy_disk: The database was restored as of {date(restoration.taken_at)}. {threads} in Slack that "
                "were opened after that are marked: Panicroom does not remember them. Hosts that keep their reports "
                "send them again when they are asked to; what people did here since then is not known.",
            )

        await self.context.db.write(record)
        log.info("restore.caught_up", threads=orphans)

    async def _tell_channel(self, channel: str, restoration: Restoration) -> int:
        """How many threads of this channel were marked. A channel that Slack does not show is left as it is."""
        oldest = restoration.taken_at.timestamp() - _BEFORE
        tries = 0
        while True:
            try:
                found = await self.context.slack.find(channel, thread_ts=None, oldest=oldest)
                stands = await self.context.db.read(_standing)
                lost = [
                    f.ts for f in found
                    if f.key is not None and f.key.startswith("incident:")
                    and f.ts not in stands and f.key not in restoration.known
                ]  # fmt: skip
                for ts in lost:
                    text = (
                        ":floppy_disk: This thread was opened after the backup from which Panicroom's database was "
                        f"restored ({date(restoration.taken_at)}): Panicroom does not remember it any more, and "
                        "its buttons are gone. A report that its host sends again opens a new thread."
                    )
                    await self.context.slack.update(channel, ts, text, [], key=f"lost:{ts}")
                return len(lost)
            except SlackError as error:
                tries += 1
                log.warning("restore.slack_failing", channel=channel, error=str(error), tries=tries)
                if error.permanent and tries >= _TRIES:
                    log.error("restore.channel_left", channel=channel, error=str(error))
                    return 0
                await asyncio.sleep(error.retry_after if isinstance(error, SlackRateLimited) else _AGAIN)


def _pending(session: Session) -> tuple[int, datetime] | None:
    """The last restore, and when its backup was taken; None when a start has dealt with it."""
    last = session.exec(
        select(AuditEntry).where(AuditEntry.verb == VERB).order_by(col(AuditEntry.id).desc()).limit(1)
    ).first()
    if last is None or last.outcome != RESTORED:
        return None
    return last.id or 0, datetime.fromisoformat(json.loads(last.detail)["taken_at"])


def _mark(session: Session, taken_at: datetime, now: datetime) -> frozenset[str]:
    """What was never posted may have been since the backup. Returns those messages' keys."""
    unsent = col(SlackMessage.ts).is_(None)
    session.execute(
        update(SlackMessage)
        .where(unsent, col(SlackMessage.state) == MessageState.WAITING)
        .values(state=MessageState.SENDING, attempted_at=taken_at, looked=0, next_at=now)
    )
    return frozenset(session.exec(select(SlackMessage.key).where(unsent)).all())


def _standing(session: Session) -> set[str | None]:
    return set(session.exec(select(SlackMessage.ts).where(col(SlackMessage.ts).is_not(None))).all())
