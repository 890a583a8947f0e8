"""The intake desk: reads the stored reports and makes each one a panic in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlmodel import Session, col, select

from commands.context import Context
from commands.incident import storm
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.incident.moves import telling_moves
from commands.intake.config import IntakeConfig
from commands.intake.reading import Reading, read_report
from commands.intake.recording import Recorder, Taken
from integrations.slack.text import code, escape
from storage import (
    Incident,
    Report,
    ReportState,
    SlackMessage,
    Storm,
    panic_ref,
    report_ref,
)
from storage.requests import once

log = structlog.get_logger(__name__)


_LONGEST = 0.25  # seconds that one transaction takes reports in
_CROWDED = 0.03  # seconds, while others wait to be stored
_LET_IN = 0.5  # seconds that reading stands back at most, while others wait to be stored
_HOOKS_AT_ONCE = 16
_HOOKS_WAITING = 10_000


@dataclass(frozen=True)
class Prepared:
    """A report that was read. `told`: its text as Slack may have it, None where no thread will show it."""

    report: Report
    reading: Reading | None = None
    told: str | None = None
    error: Exception | None = None


class IntakeDesk:
    """One task drains the inbox; `wake()` after a report was committed."""

    def __init__(
        self,
        context: Context,
        config: IntakeConfig,
        incidents: IncidentConfig,
        routing: RoutingConfig,
        *,
        admin_channel: str | None,
        redact: Callable[[str], str] = lambda text: text,
        report_within: timedelta = timedelta(minutes=30),
    ) -> None:
        self.context = context
        self.config = config
        self.incidents = incidents
        self.routing = routing
        self.admin_channel = admin_channel
        self.redact = redact
        self.recorder = Recorder(
            context, config, incidents, routing, redact=redact, report_within=report_within
        )
        self._event = asyncio.Event()
        self.on_taken: Callable[[Taken], None] = lambda _taken: None
        self._told_up_to = 0  # quarantined reports; told once for each key, so a restart repeats nothing
        self._hooks: asyncio.Queue[int] = asyncio.Queue(_HOOKS_WAITING)
        self._callers: set[asyncio.Task[None]] = set()
        self.crowded: Callable[[], bool] = lambda: False  # whether reports wait to be stored

    def wake(self) -> None:
        self._event.set()

    async def run(self) -> None:
        """Until cancelled. What was committed before a crash is found again, because its state is still `new`."""
        while True:
            self._event.clear()
            try:
                while await self.drain():
                    pass
                await self.tell_quarantined()
            except Exception:
                log.exception("intake.drain_failed")
            try:
                async with asyncio.timeout(2.0):
                    await self._event.wait()
            except TimeoutError:
                continue

    async def drain(self) -> int:
        """Takes one batch; returns how many reports there were.

        Many reports share a transaction, and each has a savepoint of its own in it: one that fails is undone alone.
        """
        await self._let_in()
        now = self.context.clock()
        reports, storming = await self.context.db.read(lambda s: self._waiting(s, now))
        prepared = await asyncio.to_thread(self._prepare, reports, storming)
        place = 0
        while place < len(prepared):
            await self._let_in()
            place += await self._take_some(prepared[place:])
        return len(reports)

    async def _let_in(self) -> None:
        """Storing has precedence over reading, which shares its writer and its processor; what is stored can wait.
        Only so long, or a fleet that never stops reporting would never be told of."""
        until = time.monotonic() + _LET_IN
        while self.crowded() and time.monotonic() < until:  # noqa: ASYNC110 - a pause, not a wait for one event
            await asyncio.sleep(0.01)

    def _waiting(self, session: Session, now: datetime) -> tuple[list[Report], set[str]]:
        """The next batch, and the signatures of the storms that are running."""
        reports = session.exec(
            select(Report)
            .where(Report.state == ReportState.NEW, Report.next_at <= now)
            .order_by(col(Report.id))
            .limit(self.config.batch)
        ).all()
        storming = session.exec(
            select(Incident.signature_key)
            .join(Storm, col(Storm.incident_id) == Incident.id)
            .where(col(Storm.closed_at).is_(None))
        ).all()
        return list(reports), set(storming)

    def _prepare(self, reports: Sequence[Report], storming: set[str]) -> list[Prepared]:
        """Read and redacted before the transaction, which holds the one writer: a long text takes a while. What no
        thread will show, as in a storm, is not redacted."""
        made = []
        for report in reports:
            try:
                reading = read_report(report.body, host=report.host.lower(), received_at=report.received_at)
                shown = reading.crash.signature.key[:300] not in storming
                made.append(Prepared(report, reading, self.redact(reading.text) if shown else None))
            except Exception as error:
                log.exception("intake.report_unreadable", report=report.id)
                made.append(Prepared(report, error=error))
        return made

    async def _take_some(self, prepared: Sequence[Prepared]) -> int:
        """One transaction: as many of them as fit into its time. Returns how many were dealt with.

        Savepoints cost more than they save as long as nothing fails: only when something did, all is undone and done
        again with one around each report.
        """
        try:
            done = await self._try_together(prepared)
            if done is None:
                done = await self.context.db.write(lambda session: self._record_some(session, prepared))
        except Exception:
            # Not one report's own failure, or one that a savepoint does not hold: each for itself.
            log.exception("intake.batch_failed", reports=len(prepared))
            for one in prepared:
                await self._take_alone(one)
            return len(prepared)
        for one, came in zip(prepared, done, strict=False):
            await self._settle(one.report, came)
        self.context.wake()
        return len(done)

    async def _try_together(self, prepared: Sequence[Prepared]) -> list[Taken | Exception] | None:
        """None: one of them failed, and nothing was done."""

        def record(session: Session) -> list[Taken | Exception]:
            with telling_moves(session, self.context.on_moved):
                return self._record_some(session, prepared, apart=False)

        try:
            return await self.context.db.write(record)
        except Exception as error:  # noqa: BLE001 - whose failure it is, and what it is, is found one by one
            log.warning(
                "intake.batch_undone", reports=len(prepared), error=f"{type(error).__name__}: {error}"[:300]
            )
            return None

    def _record_some(
        self, session: Session, prepared: Sequence[Prepared], *, apart: bool = True
    ) -> list[Taken | Exception]:
        """Reports that wait to be stored have precedence: then the transaction ends early, and lets them in."""
        began = time.monotonic()
        done: list[Taken | Exception] = []
        for one in prepared:
            if apart or one.reading is None:
                done.append(self._record_apart(session, one))
            else:
                done.append(self.recorder.record(session, one.report.id or 0, one.reading, one.told))
            longest = _CROWDED if self.crowded() else _LONGEST
            if time.monotonic() - began >= longest:
                break
        return done

    def _record_apart(self, session: Session, one: Prepared) -> Taken | Exception:
        if one.reading is None:
            return one.error or RuntimeError("it was not read")
        try:
            with session.begin_nested(), telling_moves(session, self.context.on_moved):
                return self.recorder.record(session, one.report.id or 0, one.reading, one.told)
        except DBAPIError as error:
            storm.forget(session)
            if error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError)):
                raise
            return error
        except Exception as error:  # noqa: BLE001 - told and counted when the transaction is over
            storm.forget(session)
            return error

    async def _take_alone(self, one: Prepared) -> None:
        came: Taken | Exception
        try:
            if one.reading is None:
                raise one.error or RuntimeError("it was not read")
            reading = one.reading

            def record(session: Session) -> Taken:
                with telling_moves(session, self.context.on_moved):
                    return self.recorder.record(session, one.report.id or 0, reading, one.told)

            came = await self.context.db.write(record)
        except Exception as error:  # noqa: BLE001 - told and counted below
            came = error
        await self._settle(one.report, came)
        self.context.wake()

    async def _settle(self, report: Report, came: Taken | Exception) -> None:
        """After the commit: what the report has become is told to those who want to know."""
        if isinstance(came, Exception):
            log.error("intake.report_failed", report=report.id, exc_info=came)
            await self._failed(report.id or 0, came)
            return
        log.info("intake.report", report=report_ref(report.id), panic=panic_ref(came.panic_id), how=came.how)
        self.on_taken(came)
        if came.how not in ("witness", "ignored") and not came.counted and self.context.on_panic:
            await self._hooks.put(came.panic_id)
            if len(self._callers) < _HOOKS_AT_ONCE:
                task = asyncio.create_task(self._call_hooks(), name="intake:hooks")
                self._callers.add(task)
                task.add_done_callback(self._callers.discard)

    async def _call_hooks(self) -> None:
        """Hooks look things up elsewhere; a slow one must not hold up the next panic. `_HOOKS_WAITING` wait at most:
        beyond that reading waits, and what is not read is safe on the disk."""
        while not self._hooks.empty():
            panic_id = self._hooks.get_nowait()
            for hook in self.context.on_panic:
                try:
                    await hook(panic_id)
                except Exception:
                    log.exception("intake.hook_failed", panic=panic_ref(panic_id))

    async def _failed(self, report_id: int, error: Exception) -> None:
        """The n-th failure parks the report: kept, told to admins, out of the way of the others."""

        def record(session: Session) -> None:
            report = session.get_one(Report, report_id)
            report.attempts += 1
            report.error = f"{type(error).__name__}: {error}"[:2000]
            report.next_at = self.context.clock() + self.config.retry_after
            if report.attempts >= self.config.max_attempts:
                report.state = ReportState.PARKED
                self.tell_admins(
                    session,
                    f"parked:{report.id}",
                    f":warning: Report {report_ref(report.id)} of {escape(report.host)} could not be read "
                    f"({escape(self.redact(report.error[:300]))}). It is kept; "
                    f"`/panic quarantine accept {report_ref(report.id)}` tries it once more.",
                )
            session.add(report)

        await self.context.db.write(record)
        self.context.wake()

    def tell_admins(self, session: Session, key: str, text: str) -> None:
        """In the admin channel, once for each key; without such a channel, in the default one."""
        channel = self.admin_channel or self.routing.channel
        if session.exec(select(SlackMessage.id).where(SlackMessage.key == key)).first() is None:
            now = self.context.clock()
            session.add(
                SlackMessage(
                    key=key,
                    channel=channel,
                    payload={"text": text, "blocks": []},
                    created_at=now,
                    next_at=now,
                )
            )

    async def tell(self, key: str, text: str) -> None:
        """`tell_admins` in a transaction of its own."""
        await self.context.db.write(lambda session: self.tell_admins(session, key, text))
        self.context.wake()

    # -- quarantine -----------------------------------------------------------------------------------

    async def tell_quarantined(self) -> None:
        """Tells admins of reports from unknown hosts: one message an hour and host, not one a report."""
        after = self._told_up_to
        waiting = await self.context.db.read(
            lambda s: s.exec(
                select(Report.id, Report.host, Report.received_at)
                .where(Report.state == ReportState.QUARANTINED, col(Report.id) > after)
                .order_by(col(Report.id))
                .limit(500)
            ).all()
        )
        if not waiting:
            return

        def record(session: Session) -> None:
            for report_id, host, received_at in waiting:
                ref = report_ref(report_id)
                self.tell_admins(
                    session,
                    f"quarantine:{host[:120]}:{received_at:%Y%m%d%H}",
                    f":mailbox_with_mail: A report with a valid signature came from {code(host)}, which is not in the "
                    f"inventory. It is kept as {ref}. Add the host to panicroom.toml, or take it in with "
                    f"`/panic quarantine accept {ref}`.",
                )

        await self.context.db.write(record)
        self._told_up_to = waiting[-1][0] or after
        self.context.wake()

    async def release(self, report_id: int, *, request_id: str = "") -> Report | None:
        """A person takes in a report that is quarantined or parked; None when there is no such one."""

        def record(session: Session) -> Report | None:
            report = session.get(Report, report_id)
            if not once(session, request_id):
                return report
            if report is None or report.state not in (ReportState.QUARANTINED, ReportState.PARKED):
                return None
            report.state, report.attempts = ReportState.NEW, 0
            report.next_at = self.context.clock()
            session.add(report)
            return report

        report = await self.context.db.write(record)
        self.wake()
        return report
