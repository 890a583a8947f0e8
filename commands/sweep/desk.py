"""The sweep desk: looks for dumps that nobody reported, by the clock and when asked, a few places at a time.

The rows are the truth: a sweep that was interrupted goes on with the places that still wait, and a dump is told once
because its report has one id. One sweep runs at a time; who asks meanwhile joins it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, select

from commands.context import Context
from commands.errors import BadArguments, Impossible
from commands.incident import thread
from commands.sweep import blocks, known, ledger
from commands.sweep.config import SweepConfig
from commands.sweep.ledger import DIRECTORY, HOST, Place
from commands.sweep.naming import DIRECTORIES, Fleet
from commands.sweep.visitor import Looked, Visitor
from storage import Panic, Report, SlackMessage, SweepPlace, SweepRun, SweepState
from storage.requests import once

log = structlog.get_logger(__name__)

BY_CLOCK = "panicroom"
_FIRST_AFTER = timedelta(minutes=10)  # from the bot's start to the very first sweep by the clock
_TICK = 30.0  # seconds between two looks at the clock
_READ_WITHIN = 20.0  # seconds that the intake has before the result is told without it
_CENTRAL = "kdump wrote it to the central directory; none is missing on the host"


@dataclass(frozen=True)
class Begun:
    """What came of a wish: the sweep, whether it ran before, and how many places are looked at on its account."""

    run: SweepRun
    joined: bool
    places: int
    channel: str


class SweepDesk:
    """`run` for the process's life; `ask` for a person. The hooks are for counting."""

    def __init__(
        self,
        context: Context,
        visitor: Visitor,
        config: SweepConfig,
        *,
        channel: str,
        channels: Iterable[str] = (),
        hosts_by_clock: bool = True,
        read_within: float = _READ_WITHIN,
    ) -> None:
        self.context = context
        self.visitor = visitor
        self.config = config
        self.channel = channel  # where a sweep by the clock is told
        self.channels = frozenset((*channels, channel))  # the bot is in these: who asks there is told there
        self.hosts_by_clock = hosts_by_clock
        self.read_within = read_within
        self.on_place: Callable[[str, str], None] = lambda _kind, _outcome: None
        self.on_dumps: Callable[[str, int], None] = lambda _what, _count: None
        self.on_done: Callable[[], None] = lambda: None
        self._event = asyncio.Event()
        self._started_at = context.clock()

    # -- asking -----------------------------------------------------------------------------------------

    async def ask(self, words: Sequence[str], asked_by: str, request_id: str, channel: str) -> Begun:
        """Begin a sweep, or join the one that runs. Raises NotFound, BadArguments, Impossible (nowhere to look)."""
        now = self.context.clock()
        places = self._places(words, await self._fleet())
        if not places:
            raise Impossible(
                "there is nowhere to look: the inventory names no host (`[[hosts]]`), and no central directory is set "
                "(`[[sweep.directories]]`)."
            )
        where = channel if channel in self.channels else self.channel

        def write(session: Session) -> Begun:
            run = ledger.active(session)
            if not once(session, request_id):
                found = run or ledger.last(session)
                if found is not None:
                    return Begun(found, run is not None, len(places), where)
            if run is not None:
                count = ledger.join(session, run, places, now, again=bool(words))
                return Begun(run, True, count, _say(session, run, where, now))
            run = ledger.begin(session, places, asked_by=asked_by, now=now, words=" ".join(words))
            return Begun(run, False, len(places), _say(session, run, where, now))

        begun = await self.context.db.write(write)
        self.context.wake()
        self._event.set()
        return begun

    async def latest(self) -> SweepRun | None:
        """The sweep that runs, or the newest that ran."""
        return await self.context.db.read(lambda s: ledger.active(s) or ledger.last(s))

    async def _fleet(self) -> Fleet:
        return Fleet.of(self.context.inventory, await self.context.db.read(known.heard_of))

    def _places(self, words: Sequence[str], fleet: Fleet) -> list[Place]:
        central = [Place(DIRECTORY, str(d.path)) for d in self.config.directories]
        if not words:
            return [*central, *(Place(HOST, name) for name in sorted(fleet.hosts))]
        named = [word for word in words if word.lower() != DIRECTORIES]
        if len(named) == len(words):
            central = []
        elif not central:
            raise BadArguments(
                "no central directory is set (`[[sweep.directories]]`).", example="/panic sweep"
            )
        hosts = fleet.meant(named, self.context.inventory)
        return [*central, *(Place(HOST, name) for name in hosts)]

    # -- the clock --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled. A sweep that an earlier process began is taken up, or ended where it is too old."""
        await self._take_up()
        while True:
            self._event.clear()
            run = await self.context.db.read(ledger.active)
            if run is None:
                run = await self._begin_by_clock()
            if run is not None:
                await self._sweep(run.id or 0)
                continue
            try:
                async with asyncio.timeout(_TICK):
                    await self._event.wait()
            except TimeoutError:
                continue

    async def _take_up(self) -> None:
        now = self.context.clock()

        def write(session: Session) -> SweepRun | None:
            run = ledger.active(session)
            if run is None:
                return None
            if now - run.asked_at > max(self.config.every, self.config.window):
                ledger.finish(
                    session, run.id or 0, SweepState.CUT, "Panicroom was not running meanwhile", now
                )
                thread.redraw(session, blocks.message_key(run.id or 0))
            else:
                ledger.take_up(session, run)
            return run

        run = await self.context.db.write(write)
        self.context.wake()
        if run is not None:
            log.info("sweep.taken_up", sweep=run.id, goes_on=run.slot is not None)

    async def due_at(self) -> datetime | None:
        """When the clock's next sweep begins; None when there is none by the clock."""
        if not self.config.enabled:
            return None
        last = await self.context.db.read(lambda s: ledger.last(s, scheduled=True))
        return self._started_at + _FIRST_AFTER if last is None else last.asked_at + self.config.every

    async def _begin_by_clock(self) -> SweepRun | None:
        """One sweep, however long the bot was away. A place that was looked at since the last one is left out."""
        now, due = self.context.clock(), await self.due_at()
        if due is None or now < due:
            return None
        places = self._places((), await self._fleet())

        def write(session: Session) -> SweepRun | None:
            running = ledger.active(session)
            if running is not None:
                return running
            fresh = ledger.looked_at_since(session, now - self.config.every)
            wanted = [p for p in places if p not in fresh and (self.hosts_by_clock or p.kind != HOST)]
            return ledger.begin(
                session, wanted, asked_by=BY_CLOCK, now=now, scheduled=True, window=self.config.window
            )

        return await self.context.db.write(write)

    # -- a sweep ----------------------------------------------------------------------------------------

    async def _sweep(self, run_id: int) -> None:
        """To its end: at most `parallelism` places at a time, each when it is due."""
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._event.clear()
                run, places, next_due = await self._claim(run_id, self.config.parallelism - len(tasks))
                tasks |= {asyncio.create_task(self._look(run, place)) for place in places}
                if tasks or next_due is not None:
                    tasks = await self._until_something(tasks, next_due)
                elif await self._finish(run_id):
                    return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim(self, run_id: int, free: int) -> tuple[SweepRun, list[SweepPlace], datetime | None]:
        now = self.context.clock()

        def write(session: Session) -> tuple[SweepRun, list[SweepPlace], datetime | None]:
            places = ledger.claim(session, run_id, now, free)
            return session.get_one(SweepRun, run_id), places, ledger.next_due(session, run_id)

        return await self.context.db.write(write)

    async def _until_something(
        self, tasks: set[asyncio.Task[None]], next_due: datetime | None
    ) -> set[asyncio.Task[None]]:
        """A look ended, a place is due, or somebody joined. Returns the looks that go on."""
        wait = _TICK
        if next_due is not None and len(tasks) < self.config.parallelism:
            wait = min(wait, max(0.01, (next_due - self.context.clock()).total_seconds()))
        woken = asyncio.create_task(self._event.wait())
        try:
            await asyncio.wait({*tasks, woken}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        for task in [task for task in tasks if task.done()]:
            task.result()
        return {task for task in tasks if not task.done()}

    async def _look(self, run: SweepRun, place: SweepPlace) -> None:
        looked = await self.visitor.visit(run, place)
        now = self.context.clock()

        def write(session: Session) -> None:
            ledger.looked(session, run, place, looked.state, looked.findings, looked.note, now)
            thread.redraw(session, blocks.message_key(run.id or 0))

        await self.context.db.write(write)
        self.context.wake()
        self._count(place.kind, looked)

    def _count(self, kind: str, looked: Looked) -> None:
        findings = looked.findings
        self.on_place(kind, looked.state.value)
        for what, count in (
            ("new", sum(not f["history"] for f in findings.found)),
            ("history", sum(bool(f["history"]) for f in findings.found)),
            ("known", findings.known),
            ("test", findings.tests),
            ("in_progress", len(findings.in_progress)),
            ("unread", len(findings.unread)),
            ("unplaced", sum(count for _, count in findings.unplaced.values())),
        ):
            if count > 0:
                self.on_dumps(what, count)

    async def _finish(self, run_id: int) -> bool:
        """The result is told once the intake has read what was found, or after a while without that. False when
        somebody joined meanwhile, and there is more to look at."""
        deadline = asyncio.get_running_loop().time() + self.read_within
        while asyncio.get_running_loop().time() < deadline:
            if not await self.context.db.read(
                lambda s: ledger.unread_reports(s, s.get_one(SweepRun, run_id))
            ):
                break
            await asyncio.sleep(0.1)
        now = self.context.clock()

        def write(session: Session) -> bool:
            if ledger.next_due(session, run_id) is not None:
                return False
            before = ledger.last_finished(session)
            run = ledger.finish(session, run_id, SweepState.DONE, "", now)
            if run is not None:
                _say_where_it_is(session, run)
                if not run.scheduled or _worth_telling(run, before):
                    _say(session, run, self.channel, now)
            return True

        if not await self.context.db.write(write):
            return False
        self.context.wake()
        log.info("sweep.done", sweep=run_id)
        self.on_done()
        return True


def _say(session: Session, run: SweepRun, channel: str, now: datetime) -> str:
    """The sweep's one message, made once and edited from then on. Returns the channel that it is in."""
    key = blocks.message_key(run.id or 0)
    message = session.exec(select(SlackMessage).where(SlackMessage.key == key)).first()
    if message is not None:
        thread.redraw(session, key)
        return message.channel
    session.add(
        SlackMessage(
            key=key, channel=channel, renderer=blocks.RENDERER, subject_id=run.id, created_at=now, next_at=now
        )
    )
    session.flush()
    return channel


def _worth_telling(run: SweepRun, before: SweepRun | None) -> bool:
    """A sweep by the clock speaks when it found something, or when there is a problem that the last one had not."""
    if run.result.get("found"):
        return True

    def problems(result: dict[str, object]) -> set[str]:
        unplaced, missed = result.get("unplaced", []), result.get("missed", [])
        assert isinstance(unplaced, list)
        assert isinstance(missed, list)
        named = {f"{place} {called}" for place, called, *_ in unplaced}
        return named | {f"{name} {state}" for name, state, _ in missed if state != "unreachable"}

    return bool(problems(run.result) - (problems(before.result) if before is not None else set()))


def _say_where_it_is(session: Session, run: SweepRun) -> None:
    """The dump's place is the central directory: its panic says so, and nobody looks for it on the host in vain."""
    for entry in run.result.get("found", ()):
        if entry["kind"] != DIRECTORY:
            continue
        report = session.get(Report, entry["report"])
        panic = session.get(Panic, report.panic_id) if report is not None and report.panic_id else None
        if panic is None or not (panic.dump_path or "").startswith(entry["at"] + "/"):
            continue
        panic.dump_note = _CENTRAL
        session.add(panic)
        if panic.incident_id is not None:
            thread.touch(session, panic.incident_id)
