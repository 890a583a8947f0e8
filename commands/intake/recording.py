"""One report becomes a panic in a thread, or one more witness of one: everything in the caller's transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlmodel import Session, select

from commands.context import Context
from commands.incident import placing, thread
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.incident.storm import is_storming, touch
from commands.intake.config import IntakeConfig
from commands.intake.correlation import add_facts, new_panic, remember_host, remember_signature
from commands.intake.joining import Found, find_panic, resolved_before
from commands.intake.live import note_sighting, replaces, tell_ambiguity
from commands.intake.reading import Reading, read_report
from integrations.slack.text import code, date, escape
from integrations.stores import StoreError
from integrations.stores.local import LocalStore
from storage import Artefact, Panic, Report, ReportState, panic_ref, report_ref

log = structlog.get_logger(__name__)

_AT_ONCE = timedelta(0)


@dataclass(frozen=True)
class Taken:
    """What became of one report."""

    panic_id: int
    incident_id: int | None
    kind: str
    how: str  # opened, joined, reopened, wave, late, moved, witness, ignored (it only adds, and there is nothing)
    counted: bool = False  # in a storm, and of no critical host: nothing is looked up for it by itself


def _resolved(reading: Reading, early: Report | None) -> Reading:
    """A firing whose "resolved" is known already says when the host was back."""
    if early is None:
        return reading
    closing = read_report(early.body, host=early.host, received_at=early.received_at)
    return replace(reading, back_at=closing.back_at)


def _place_of(panic: Panic) -> tuple[object, ...]:
    """What decides the thread that a panic stands in, and its headline."""
    return panic.signature_key, panic.title, panic.deliberate, panic.head_lost


class Recorder:
    """`record(session, report_id, reading, told)`. `told`: the text as Slack may have it, None where it was not
    redacted because no thread was to show it."""

    def __init__(
        self,
        context: Context,
        config: IntakeConfig,
        incidents: IncidentConfig,
        routing: RoutingConfig,
        *,
        redact: Callable[[str], str],
        report_within: timedelta,
    ) -> None:
        self.context = context
        self.config = config
        self.incidents = incidents
        self.routing = routing
        self.redact = redact
        self.report_within = report_within  # of a panic that netconsole saw
        self.store = LocalStore(context.store_dir)

    def record(self, session: Session, report_id: int, reading: Reading, told: str | None) -> Taken:
        # Another process may have it in hand: then it is not there to be had, and is that one's.
        report = session.get(Report, report_id, with_for_update={"skip_locked": True})
        if report is None:
            return Taken(0, None, "unknown", "ignored")
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
                placing.show_text(session, panic, now)
                how = "moved"
            else:
                every = (
                    self.incidents.storm.edit_every if is_storming(session, panic.incident_id) else _AT_ONCE
                )
                touch(session, panic.incident_id, every, now)
                if read_anew or (not had_text and panic.text):
                    placing.show_text(session, panic, now)
        if early is not None:
            self._tell_resolved(session, panic, early, now)
        note_sighting(session, panic, reading, self.report_within, read_anew=read_anew, now=now)
        remember_signature(session, panic, panic.title)
        remember_host(session, reading.host, entry, panic)
        whole = reading.live is None or reading.live.final
        own = whole and panic.text == reading.text != "" and panic.incident_id is not None
        storming = is_storming(session, panic.incident_id)
        if own and (not storming or (how != "joined" and placing.text_stands(session, panic))):
            self._keep_text(session, panic, told if told is not None else self.redact(panic.text))
        report.state, report.panic_id = ReportState.DONE, panic.id
        session.add(report)
        counted = panic.criticality != "critical" and is_storming(session, panic.incident_id)
        return Taken(panic.id or 0, panic.incident_id, panic.kind, how, counted)

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
        try:
            # The redacted one first: what is left of a half-done pair holds no secret.
            told = self.store.put((*folder, f"{stem}.redacted.txt"), redacted.encode(errors="replace"))
            kept = self.store.put((*folder, f"{stem}.txt"), panic.text.encode(errors="replace"))
        except StoreError as error:
            # The panic is told without its file: the text itself stands in the database.
            log.error("intake.text_not_kept", panic=panic.id, error=str(error))
            said = f"{panic_ref(panic.id)}: its whole text is not here as a file: {escape(str(error))}"
            key = f"textfile-lost:{panic.id}:{digest[:12]}"
            thread.say(session, panic.incident_id or 0, key, text=f":warning: {said}")
            return
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
