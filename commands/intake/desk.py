"""The intake desk: reads the stored reports and makes each one a panic in a thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlmodel import Session, col, select

from commands.context import Context
from commands.incident import placing, thread
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.incident.moves import telling_moves
from commands.intake.config import IntakeConfig
from commands.intake.correlation import add_facts, new_panic, remember_host, remember_signature
from commands.intake.joining import Found, find_panic, resolved_before
from commands.intake.live import note_sighting, replaces, tell_ambiguity
from commands.intake.reading import Reading, read_report
from integrations.slack.text import code, date, escape
from integrations.stores.local import LocalStore
from storage import (
    Artefact,
    Panic,
    Report,
    ReportState,
    SlackMessage,
    panic_ref,
    report_ref,
)
from storage.requests import once

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Taken:
    """What became of one report."""

    panic_id: int
    incident_id: int | None
    kind: str
    how: str  # opened, joined, reopened, wave, late, moved, witness, ignored (it only adds, and there is nothing)


def _resolved(reading: Reading, early: Report | None) -> Reading:
    """A firing whose "resolved" is known already says when the host was back."""
    if early is None:
        return reading
    closing = read_report(early.body, host=early.host, received_at=early.received_at)
    return replace(reading, back_at=closing.back_at)


def _place_of(panic: Panic) -> tuple[object, ...]:
    """What decides the thread that a panic stands in, and its headline."""
    return panic.signature_key, panic.title, panic.deliberate, panic.head_lost


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
        self.report_within = report_within  # of a panic that netconsole saw
        self.store = LocalStore(context.store_dir)
        self._event = asyncio.Event()
        self.on_taken: Callable[[Taken], None] = lambda _taken: None
        self._told_up_to = 0  # quarantined reports; told once for each key, so a restart repeats nothing
        self._hooks: set[asyncio.Task[None]] = set()

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
        """Takes one batch; returns how many reports there were."""
        now = self.context.clock()
        reports = await self.context.db.read(
            lambda s: s.exec(
                select(Report)
                .where(Report.state == ReportState.NEW, Report.next_at <= now)
                .order_by(col(Report.id))
                .limit(self.config.batch)
            ).all()
        )
        for report in reports:
            try:
                await self._take(report)
            except Exception as error:
                log.exception("intake.report_failed", report=report.id)
                await self._failed(report.id or 0, error)
        return len(reports)

    async def _take(self, report: Report) -> None:
        reading = await asyncio.to_thread(
            read_report, report.body, host=report.host.lower(), received_at=report.received_at
        )
        # Before the transaction, which holds the one writer: a long text takes a while to redact.
        told = await asyncio.to_thread(self.redact, reading.text)

        def record(session: Session) -> Taken:
            with telling_moves(session, self.context.on_moved):
                return self._record(session, report.id or 0, reading, told)

        taken = await self.context.db.write(record)
        self.context.wake()
        log.info(
            "intake.report", report=report_ref(report.id), panic=panic_ref(taken.panic_id), how=taken.how
        )
        self.on_taken(taken)
        if taken.how not in ("witness", "ignored"):
            for hook in self.context.on_panic:
                self._start_hook(hook, taken.panic_id)

    def _start_hook(self, hook: Callable[[int], Awaitable[None]], panic_id: int) -> None:
        """Hooks look things up elsewhere; a slow one must not hold up the next panic."""

        async def call() -> None:
            try:
                await hook(panic_id)
            except Exception:
                log.exception("intake.hook_failed", panic=panic_ref(panic_id))

        task = asyncio.create_task(call())
        self._hooks.add(task)
        task.add_done_callback(self._hooks.discard)

    def _record(self, session: Session, report_id: int, reading: Reading, told: str) -> Taken:
        report = session.get_one(Report, report_id)
        if report.state is not ReportState.NEW:
            return Taken(report.panic_id or 0, None, "unknown", "witness")
        now = self.context.clock()
        entry = self.context.inventory.find(reading.host)
        # A report that triage made of what it read on the host says which panic it is of.
        panic = session.get(Panic, report.panic_id) if report.panic_id is not None else None
        found = (
            Found(panic) if panic is not None else find_panic(session, reading, self.config.same_boot_within)
        )
        panic = found.panic
        early = None
        if reading.source == "alertmanager" and not reading.closes:
            early = resolved_before(session, report)
            reading = _resolved(reading, early)
        read_anew = False
        if panic is None and reading.closes:
            report.state = ReportState.DONE
            session.add(report)
            return Taken(0, None, "unknown", "ignored")
        if panic is None:
            panic = new_panic(reading, entry, now=now)
            session.add(panic)
            session.flush()
            how = placing.place(session, panic, self.incidents, self.routing, now).how
            read_anew = reading.crash.crash
            tell_ambiguity(session, panic, found, report_ref(report.id), reading, now)
        else:
            had_text, was = bool(panic.text), _place_of(panic)
            above = replaces(session, panic, reading)
            read_anew = add_facts(panic, reading, replaces=above, dates=found.loose)
            session.add(panic)
            session.flush()
            how = "witness"
            if panic.incident_id is None:  # it came from an old crash directory, without a thread
                how = placing.place(session, panic, self.incidents, self.routing, now).how
            elif read_anew and not (above and was == _place_of(panic)):
                placing.move(session, panic, self.incidents, self.routing, now)
                thread.show_text(session, panic, now)
                how = "moved"
            else:
                thread.touch(session, panic.incident_id)
                if read_anew or (not had_text and panic.text):
                    thread.show_text(session, panic, now)
        if early is not None:
            self._tell_resolved(session, panic, early, now)
        note_sighting(session, panic, reading, self.report_within, read_anew=read_anew, now=now)
        remember_signature(session, panic, panic.title)
        remember_host(session, reading.host, entry, panic)
        whole = reading.live is None or reading.live.final
        if whole and panic.text and panic.text == reading.text and panic.incident_id is not None:
            self._keep_text(session, panic, told)
        report.state, report.panic_id = ReportState.DONE, panic.id
        session.add(report)
        return Taken(panic.id or 0, panic.incident_id, panic.kind, how)

    def _tell_resolved(self, session: Session, panic: Panic, early: Report, now: datetime) -> None:
        """The two were delivered in the wrong order: whoever reads of the alert reads that it is over."""
        early.panic_id = panic.id
        session.add(early)
        if panic.incident_id is None:
            return
        back = f" at {date(panic.back_at)}" if panic.back_at is not None else ""
        said = (
            f"{code(panic.host)}: the alert was resolved{back}, before Alertmanager delivered that it fired"
        )
        thread.note(session, panic.incident_id, "resolved-before", said, panic_id=panic.id, at=now)
        thread.say(
            session,
            panic.incident_id,
            f"resolved-before:{early.id}",
            text=f":information_source: {said}.",
            now=now,
        )

    def _keep_text(self, session: Session, panic: Panic, redacted: str) -> None:
        """The whole text as a file: unredacted in the store, redacted in the thread. Once for each text."""
        digest = hashlib.sha256(panic.text.encode(errors="replace")).hexdigest()
        known = session.exec(
            select(Artefact).where(
                Artefact.panic_id == panic.id, Artefact.kind == "text", Artefact.sha256 == digest
            )
        ).first()
        if known is not None:
            return
        number = len(
            session.exec(
                select(Artefact.id).where(Artefact.panic_id == panic.id, Artefact.kind == "text")
            ).all()
        )
        stem = f"{panic_ref(panic.id)}-dmesg" + (f"-{number + 1}" if number else "")
        folder = ("panics", panic_ref(panic.id))
        kept = self.store.put((*folder, f"{stem}.txt"), panic.text.encode(errors="replace"))
        told = self.store.put((*folder, f"{stem}.redacted.txt"), redacted.encode(errors="replace"))
        session.add(
            Artefact(
                panic_id=panic.id or 0,
                kind="text",
                name=f"{stem}.txt",
                sha256=digest,
                size=kept.size,
                path=kept.path,
            )
        )
        thread.say(
            session,
            panic.incident_id or 0,
            f"textfile:{panic.id}:{digest[:12]}",
            text=f"{panic_ref(panic.id)}: the whole text, {len(panic.text.splitlines())} lines",
            file=Path(told.path),
            file_name=f"{stem}.txt",
        )

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
