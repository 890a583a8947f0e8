"""The listening desk: what the receiver hands out becomes reports, signs of life close what was survived."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from commands.context import Context
from commands.incident import living
from commands.intake.config import NetconsoleConfig
from commands.intake.console import Alive, Look
from commands.intake.desk import IntakeDesk
from commands.intake.receiver import Receiver
from integrations.inbound import host_name
from integrations.kernel import Crash, read_crash
from integrations.kernel.netconsole import Reassembly
from integrations.slack.text import code
from storage import LiveSighting, LiveState, Panic, ReportState, RunbookRun, StepResult, report_ref
from storage.inbox import InboxError, ReportInbox

log = structlog.get_logger(__name__)

_EXPECTED = timedelta(hours=24)  # a survivor of a crash longer ago is not looked for after a restart
_STRANGERS_TOLD = 10
_RETRIES = 30


@dataclass
class _Telling:
    """A crash of which at least one report is stored. `first` is that one's id."""

    first: str
    text: str
    state: ReportState


class ListeningDesk:
    """`take(looks, alive)` after each tick of the receiver; `watch()` every second or so."""

    def __init__(
        self,
        context: Context,
        config: NetconsoleConfig,
        receiver: Receiver,
        inbox: ReportInbox,
        intake: IntakeDesk,
    ) -> None:
        self.context = context
        self.config = config
        self.receiver = receiver
        self.inbox = inbox
        self.intake = intake
        self.on_report: Callable[[int], None] = lambda _lost: None
        self._telling: dict[tuple[str, str], _Telling] = {}
        self._again: dict[
            tuple[str, str], tuple[Look, int]
        ] = {}  # looks that could not be stored, and how often
        self._told_hour = ""

    async def resume(self) -> None:
        """After a restart: oopses that may be survived are looked for in what comes."""
        after = self.context.clock() - _EXPECTED
        rows = await self.context.db.read(
            lambda s: s.exec(
                select(LiveSighting).where(
                    col(LiveSighting.state).in_((LiveState.MAY_LIVE, LiveState.PANICKING)),
                    LiveSighting.fatal == False,  # noqa: E712 - SQL
                    LiveSighting.seen_at > after,
                )
            ).all()
        )
        for known in rows:
            if known.uptime is not None:
                self.receiver.expect(known.host, known.seen_at.timestamp(), known.uptime)

    # -- what the receiver hands out --------------------------------------------------------------------

    async def take(self, looks: list[Look], alive: list[Alive]) -> None:
        """Stores a report for each look at what the kernel reader calls a crash, and closes what was survived."""
        for look in looks:
            self._again.pop((look.host, look.key), None)  # this one holds all that the older one did
        await asyncio.gather(*(self._try(look, 0) for look in looks))
        for sign in alive:
            await self._lives(sign)

    async def take_again(self) -> None:
        """Looks that could not be stored when they were due."""
        for look, tries in list(self._again.values()):
            del self._again[(look.host, look.key)]
            await self._try(look, tries)

    async def _try(self, look: Look, tries: int) -> None:
        try:
            await self._store(look)
        except (InboxError, SQLAlchemyError) as error:
            why = f"{type(error).__name__}: {error}"[:300]
            if tries >= _RETRIES:
                log.error("netconsole.crash_not_stored", host=look.host, error=why)
                return
            log.warning("netconsole.not_stored_yet", host=look.host, error=why)
            self._again[(look.host, look.key)] = (look, tries + 1)

    async def _store(self, look: Look) -> None:
        text, crash, lost = await asyncio.to_thread(read_look, look)
        name = (look.host, look.key)
        telling = self._telling.get(name)
        if look.final:
            self._telling.pop(name, None)
        if not crash.crash:
            return
        if telling is not None and not look.final and telling.text == text:
            return
        body = report_body(look, text, crash, lost, telling.first if telling is not None else None)
        state = telling.state if telling is not None else self._state(look.host)
        stored = await self.inbox.add(
            host=look.host,
            external_id=body["id"],
            body=body,
            source="netconsole",
            state=state,
            size=len(text),
        )
        if not look.final:
            self._telling[name] = _Telling(telling.first if telling else body["id"], text, state)
        if telling is None:
            self.on_report(lost)
        log.info(
            "netconsole.crash",
            host=look.host,
            report=report_ref(stored.id),
            look=look.number,
            title=crash.title,
        )
        self.intake.wake()

    def _state(self, host: str) -> ReportState:
        inventory = self.context.inventory
        return ReportState.NEW if not inventory.closed or inventory.knows(host) else ReportState.QUARANTINED

    async def _lives(self, sign: Alive) -> None:
        at = datetime.fromtimestamp(sign.at, UTC)
        seconds = sign.lived_uptime - sign.uptime

        def record(session: Session) -> None:
            for known in living.awaited(session, sign.host):
                if known.uptime is not None and abs(known.uptime - sign.uptime) < 2.0:
                    known.lived_uptime = sign.lived_uptime
                    panic = session.get_one(Panic, known.panic_id)
                    by = f"the same boot went on talking {seconds:.0f} s later (netconsole)"
                    living.survived(session, panic, known, by, at, self.context.clock())

        await self.context.db.write(record)
        self.context.wake()

    # -- the clock --------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Time limits, what triage has seen of hosts that may live, and senders that nobody knows."""
        await self.take_again()
        now = self.context.clock()

        def due(session: Session) -> bool:
            live = col(LiveSighting.state).in_((LiveState.PANICKING, LiveState.MAY_LIVE))
            return session.exec(select(LiveSighting.panic_id).where(live).limit(1)).first() is not None

        if await self.context.db.read(due):
            changed = await self.context.db.write(lambda s: self._pass_time(s, now))
            if changed:
                self.context.wake()
        await self._tell_strangers(now)

    def _pass_time(self, session: Session, now: datetime) -> int:
        changed = 0
        over = session.exec(
            select(LiveSighting).where(
                LiveSighting.state == LiveState.PANICKING, LiveSighting.awaited_until <= now
            )
        ).all()
        for known in over:
            living.silent(session, session.get_one(Panic, known.panic_id), known, now)
            changed += 1
        for known in session.exec(
            select(LiveSighting).where(LiveSighting.state == LiveState.MAY_LIVE).limit(100)
        ).all():
            panic = session.get_one(Panic, known.panic_id)
            seen = self._seen_by_triage(session, panic, known)
            if seen is not None:
                by = "triage found the same boot running"
                changed += living.survived(session, panic, known, by, seen, now)
        return changed

    def _seen_by_triage(self, session: Session, panic: Panic, known: LiveSighting) -> datetime | None:
        """When triage found the boot of this crash still running, well after it."""
        rows = session.exec(
            select(StepResult)
            .join(RunbookRun, col(RunbookRun.id) == StepResult.run_id)
            .where(
                RunbookRun.panic_id == panic.id,
                col(StepResult.finished_at) >= known.seen_at + self.config.lives_after,
            )
            .order_by(col(StepResult.id).desc())
            .limit(50)
        ).all()
        for row in rows:
            if row.finished_at is not None and living.same_boot(row.facts, panic):
                return row.finished_at
        return None

    async def _tell_strangers(self, now: datetime) -> None:
        """One message an hour for all of them."""
        hour = f"{now:%Y%m%d%H}"
        if hour == self._told_hour or not len(self.receiver.strangers):
            return
        self._told_hour = hour
        found, more = self.receiver.strangers.take()
        shown = ", ".join(f"{code(address)} ({count})" for address, count in found[:_STRANGERS_TOLD])
        others = len(found) - _STRANGERS_TOLD + more
        rest = f" and {others} more" if others > 0 else ""
        text = (
            f":bell: netconsole lines came from addresses that no host has: {shown}{rest}. Their crashes "
            "become no panics. Give the hosts an `address` in panicroom.toml, or name them in `[netconsole] sources`."
        )

        def record(session: Session) -> None:
            self.intake.tell_admins(session, f"netconsole-unknown:{hour}", text)

        await self.context.db.write(record)
        log.warning("netconsole.unknown_senders", senders=len(found) + more)
        self.context.wake()


def read_look(look: Look) -> tuple[str, Crash, int]:
    """The text of a look, what the kernel reader makes of it, and how many messages of it are missing."""
    reassembly = Reassembly()
    for datagram in look.datagrams:
        reassembly.add(datagram)
    text = reassembly.text().replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return text, read_crash(text), reassembly.lost


def report_body(look: Look, text: str, crash: Crash, lost: int, first: str | None) -> dict[str, Any]:
    """As stored in `Report.body`. `first`: the id of the crash's first report, None for that one itself."""
    died = datetime.fromtimestamp(look.head_at, UTC).isoformat()
    body: dict[str, Any] = {
        "id": f"netconsole:{look.key}:{look.number}",
        "host": host_name(look.host),
        "text": text,
        "source": "netconsole",
        "occurred_at": died,
        "live": {
            "final": look.final,
            "panic": look.panic,
            "ended": look.ended,
            "lost": lost,
            "dropped": look.dropped,
        },
    }
    if look.panic:
        body["down_since"] = died
    if first is not None:
        body["continues"] = first
    return body
