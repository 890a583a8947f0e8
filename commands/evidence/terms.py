"""Uploaded bundles have a term in Slack: after it the bot removes its own file there, and says so.

The store's copy stays; it has a term of its own. What is to go is found in the database, so a restart forgets nothing.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from sqlmodel import Session, col, or_, select

from commands.hosts import runs
from commands.incident import thread
from integrations.slack.errors import SlackError, SlackRateLimited, SlackRefused
from integrations.slack.text import date, escape, shorten
from storage import MessageState, RunbookRun, SlackMessage, panic_ref
from storage.uploads import Upload

if TYPE_CHECKING:
    from commands.context import Context

log = structlog.get_logger(__name__)
# The files that have a term, by the keys of their messages; after the colon comes the run's id.
_KEYS = ("evidence-file:", "evidence-again:", "analysis-file:")
_BATCH = 50
_WAITS = (60.0, 600.0, 3600.0, 21600.0)  # seconds after the n-th failure
_GONE = frozenset({"file_not_found", "file_deleted"})
_STANDS = "file:"


class SlackTerms:
    """Removes what has been in Slack for `days`; with 0 it stays for good."""

    def __init__(self, context: Context, days: int, *, every: float = 60.0) -> None:
        self.context = context
        self.term = timedelta(days=days)
        self.every = every

    async def run(self) -> None:
        while True:
            wait = self.every
            try:
                await self.look()
            except SlackRateLimited as error:
                wait = max(error.retry_after, 1.0)
            except Exception:
                log.exception("evidence.terms_failed")
            await asyncio.sleep(wait)

    async def look(self) -> int:
        """Removes what is due; returns how many files that were. Raises SlackRateLimited."""
        await self.context.db.write(self._note_new)
        if not self.term:
            return 0
        removed = 0
        for upload in await self.context.db.read(self._due):
            removed += await self._remove(upload)
        if removed:
            self.context.wake()
        return removed

    def _note_new(self, session: Session) -> None:
        """A row for each file that has come to stand in Slack."""
        found = session.exec(
            select(SlackMessage)
            .outerjoin(Upload, col(Upload.message_id) == SlackMessage.id)
            .where(
                or_(*(col(SlackMessage.key).startswith(k, autoescape=True) for k in _KEYS)),
                SlackMessage.state == MessageState.SENT,
                col(SlackMessage.ts).startswith(_STANDS),
                col(Upload.id).is_(None),
            )
            .limit(_BATCH)
        ).all()
        for message in found:
            words = message.key.split(":")
            run = session.get(RunbookRun, int(words[1])) if words[1].isdigit() else None
            if run is None:
                continue
            session.add(
                Upload(
                    message_id=message.id or 0,
                    panic_id=run.panic_id,
                    run_id=run.id,
                    file_id=(message.ts or "").removeprefix(_STANDS),
                    name=message.file_name or "",
                    uploaded_at=message.attempted_at or message.created_at,
                )
            )

    def _due(self, session: Session) -> list[Upload]:
        now = self.context.clock()
        return list(
            session.exec(
                select(Upload)
                .where(
                    col(Upload.removed_at).is_(None),
                    Upload.uploaded_at <= now - self.term,
                    or_(col(Upload.next_at).is_(None), col(Upload.next_at) <= now),
                )
                .order_by(col(Upload.uploaded_at))
                .limit(_BATCH)
            )
        )

    async def _remove(self, upload: Upload) -> bool:
        try:
            await self.context.slack.delete_file(upload.file_id)
        except SlackRateLimited:
            raise
        except SlackError as error:
            if not (isinstance(error, SlackRefused) and error.code in _GONE):
                await self._failed(upload, error)
                return False
        now = self.context.clock()

        def write(session: Session) -> None:
            row = session.get_one(Upload, upload.id)
            if row.removed_at is not None:
                return
            row.removed_at, row.next_at, row.error = now, None, None
            session.add(row)
            run = session.get(RunbookRun, row.run_id) if row.run_id is not None else None
            if run is not None:
                thread.redraw(session, runs.message_key(run))
            message = session.get_one(SlackMessage, row.message_id)
            if message.incident_id is not None:
                words = (
                    f"{row.name} of {panic_ref(row.panic_id)} removed from Slack after {self.term.days} d; "
                    "the store has it"
                )
                thread.note(session, message.incident_id, "evidence", words, panic_id=row.panic_id, at=now)

        await self.context.db.write(write)
        log.info("evidence.removed_from_slack", panic=panic_ref(upload.panic_id), file=upload.file_id)
        return True

    async def _failed(self, upload: Upload, error: SlackError) -> None:
        wait = _WAITS[min(upload.attempts, len(_WAITS) - 1)]
        log.warning("evidence.not_removed", file=upload.file_id, error=str(error), again_in=wait)

        def write(session: Session) -> None:
            row = session.get_one(Upload, upload.id)
            row.attempts += 1
            row.error = str(error)[:1000]
            row.next_at = self.context.clock() + timedelta(seconds=wait)
            session.add(row)
            run = session.get(RunbookRun, row.run_id) if row.run_id is not None else None
            if run is not None and row.attempts >= len(_WAITS):
                thread.redraw(session, runs.message_key(run))  # it says that the file is still there

        await self.context.db.write(write)
        self.context.wake()


def term_lines(session: Session, run_id: int) -> list[str]:
    """What a run's message says of its files' terms, in mrkdwn."""
    lines = []
    for row in session.exec(select(Upload).where(Upload.run_id == run_id).order_by(col(Upload.id))):
        if row.removed_at is not None:
            lines.append(
                f":file_cabinet: {escape(row.name)}, uploaded {date(row.uploaded_at)}, was removed from Slack "
                f"{date(row.removed_at)}: its term was over. The store keeps it."
            )
        elif row.attempts >= len(_WAITS):
            why = escape(shorten(row.error or "", 200))
            lines.append(f":warning: {escape(row.name)} is past its term and could not be removed: {why}")
    return lines
