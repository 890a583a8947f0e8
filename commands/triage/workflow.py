"""The runbook on a host, as a durable workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from dbos import DBOS
from sqlmodel import Session, col, select

from commands.hostrecord import Line
from commands.hosts import crashdump, runs
from commands.hosts.desk import HostDesk, StepFinding
from commands.hosts.lastwords import LastWords, is_unread, read_last_words
from commands.hosts.originals import Originals, cut_lines
from commands.hosts.visits import Visit, Visits
from commands.incident import living
from commands.triage import nics
from commands.triage.answers import Answer, Answers
from commands.triage.central import central_copy, told_central
from commands.triage.checks import read_check
from commands.triage.dump import read_dump
from commands.triage.identity import read_identity, worst
from commands.triage.offline import read_offline
from commands.triage.readiness import read_readiness
from commands.triage.recent import read_recent
from commands.triage.record import read_record
from commands.triage.runbook import PLACEHOLDER, Command, Step, TriageConfig, load_runbook
from commands.triage.seen import look_back
from integrations.ssh import CommandResult
from integrations.stores import LocalStore
from storage import Panic, RunbookRun, RunState, StepResult

if TYPE_CHECKING:
    from commands.context import Context


_LOOK_SECONDS, _LOOK_BYTES = 30.0, 8 * 1024 * 1024  # for one command of those that the weighing runs


@DBOS.dbos_class("TriageDesk")
class TriageDesk(HostDesk):
    """Runs the runbook. `name` is what its workflows are recovered by: the same at every start."""

    kind: ClassVar[str] = "triage"
    renderer: ClassVar[str] = "triage_run"

    def __init__(
        self,
        context: Context,
        visits: Visits,
        config: TriageConfig | None = None,
        *,
        central: str | None = None,
        lives_after: timedelta = living.LIVES_AFTER,
        name: str = "triage",
    ) -> None:
        """`central`: the central store's URL, None where there is none. `lives_after`: so long after a crash, a boot
        that still runs has survived it. Raises RunbookError."""
        self.config = config or TriageConfig()
        self.runbook = load_runbook(self.config.runbook)
        self.central = central
        self.lives_after = lives_after
        self.originals = Originals(LocalStore(context.store_dir), context.db)
        super().__init__(context, visits, self.config.patience, name=name)

    def steps(self) -> Sequence[tuple[str, str]]:
        return tuple((s.name, s.title) for s in self.runbook.step)

    @DBOS.workflow(name="triage.run")
    async def run(self, run_id: int) -> str:
        return await self.work(run_id)

    async def launch(self, run_id: int) -> Any:
        return await DBOS.start_workflow_async(self.run, run_id)

    async def perform(self, visit: Visit, panic: Panic, name: str, facts: Mapping[str, Any]) -> StepFinding:
        step = self.runbook.find(name)
        if step is None:
            gone = "it is no longer in the runbook, which was changed since this run began"
            return StepFinding("skipped", (("skipped", gone),))
        answers, outputs = await self._ask(visit, step, facts)
        found = await self._read(visit, step, answers, panic, facts)
        added = [
            read_check(c.title or c.key, c.check, c.expect, c.otherwise, answers.get(c.key))
            for c in step.command
            if c.check is not None and c.runs_on(facts.get("family"))
        ]
        lines = [*found.lines, *added, *cut_lines(outputs)]
        return replace(found, state=worst(lines), lines=tuple(lines), outputs=(*found.outputs, *outputs))

    async def _ask(
        self, visit: Visit, step: Step, facts: Mapping[str, Any]
    ) -> tuple[Answers, list[dict[str, Any]]]:
        """The step's commands for the host's family, in one go; then those that are made of an answer."""
        commands = [c for c in step.command if c.runs_on(facts.get("family"))]
        answers: dict[str, Answer] = {}
        outputs: list[dict[str, Any]] = []
        clock = asyncio.get_running_loop().time
        ends = clock() + step.timeout

        async def ask(batch: Sequence[tuple[str, Command, tuple[str, ...]]]) -> None:
            requests = [
                visit.session.request(argv, timeout=c.timeout, cap=c.taken, keep=c.end_kept)
                for _, c, argv in batch
            ]
            done = await visit.run_many(requests, limit=max(ends - clock(), 0.1))
            for (key, _, _), one in zip(batch, done, strict=True):
                usable = one.exit_status == 0 and not one.timed_out
                answers[key] = Answer(one.text, usable, one.outcome, one.exit_status)
                outputs.append(await self.originals.output(visit, f"{step.name}-{key}", one))

        await ask([(c.key, c, c.argv) for c in commands if c.each is None])
        for command in commands:
            listed = answers.get("interfaces") if command.each == "interface" else None
            # The one word that a host has a say in: a plain name, checked, and part of no program.
            names = nics.interfaces(listed.text) if listed is not None and listed.ok else []
            await ask(
                [
                    (nics.key(n), command, tuple(w.replace(PLACEHOLDER, n) for w in command.argv))
                    for n in names
                ]
            )
        return Answers(answers), outputs

    async def _read(
        self, visit: Visit, step: Step, answers: Answers, panic: Panic, facts: Mapping[str, Any]
    ) -> StepFinding:
        """What the step's reader makes of the answers; a team's step has none, only its checks."""
        db, now = self.context.db, self.context.clock()
        if step.reader is None:
            return StepFinding("ok")
        if step.reader == "dump":
            report = await crashdump.examine(visit, panic)
            words = await self._last_words(visit, panic, report) if is_unread(panic) else None
            copy = await db.read(lambda s: central_copy(s, panic))
            return read_dump(report, panic, words, told_central(self.central, copy))
        if step.reader == "seen":
            window = timedelta(days=self.config.seen_window_days)
            return await db.read(lambda s: look_back(s, panic, window))
        if step.reader == "identity":
            found = read_identity(answers, panic, facts, now)
            await self._lives(panic, found.facts, now)
            return found
        if step.reader == "recent":
            bios, tickets = await db.read(
                lambda s: (_previous_bios(s, panic), runs.tickets_of(s, panic, "linked"))
            )
            keys = list(dict.fromkeys(t.key for t in tickets))
            window = timedelta(days=self.config.change_window_days)
            weighed = await self._weighed(visit, answers, panic, facts)
            return read_recent(
                answers, panic, facts, window=window, previous_bios=bios, tickets=keys, weighed=weighed
            )
        if step.reader == "offline":
            found = read_offline(answers, panic, facts)
            return replace(
                found, facts={**found.facts, "df": (answers.text("df", even_failed=True) or "")[:8000]}
            )
        if step.reader == "ready":
            return read_readiness(answers, panic, facts, facts.get("df"))
        raise ValueError(f"the runbook has a reader {step.reader!r} that there is not")

    async def _lives(self, panic: Panic, facts: Mapping[str, Any], now: datetime) -> None:
        """The boot of a crash that netconsole told of still runs: the host has survived it, as a report would say."""
        after = self.lives_after
        closed = await self.visits.together.write(
            lambda s: living.visited(s, panic.host, facts, who="triage", after=after, at=now)
        )
        if closed:
            self.context.wake()

    async def _last_words(self, visit: Visit, panic: Panic, report: crashdump.DumpReport) -> LastWords:
        async def keep(name: str, done: CommandResult) -> dict[str, Any]:
            return await self.originals.output(visit, name, done, sort="dmesg")

        return await read_last_words(visit, panic, report, keep=keep)

    async def _weighed(
        self, visit: Visit, answers: Answers, panic: Panic, facts: Mapping[str, Any]
    ) -> list[Line] | None:
        """What the verb that weighs changes makes of the host's record; it may run commands of its own."""
        weigh = self.context.weigh_changes
        if weigh is None:
            return None
        record = read_record(answers, panic, facts)
        return await weigh(visit.panic_id, record, partial(visit.run, timeout=_LOOK_SECONDS, cap=_LOOK_BYTES))

    def ends_done(self, session: Session, run: RunbookRun, now: datetime) -> None:
        """The incident's clock stops; what shows it is drawn again with the run's end."""
        incident = runs.incident_of(session, session.get_one(Panic, run.panic_id))
        if incident is not None and incident.runbook_done_at is None:
            incident.runbook_done_at = now
            session.add(incident)


def _previous_bios(session: Session, panic: Panic) -> str | None:
    """The firmware that the last finished run on the same host saw, for another panic."""
    query = (
        select(StepResult)
        .join(RunbookRun, col(RunbookRun.id) == col(StepResult.run_id))
        .join(Panic, col(Panic.id) == col(RunbookRun.panic_id))
        .where(
            Panic.host == panic.host,
            col(Panic.id) != panic.id,
            StepResult.name == "recent",
            RunbookRun.state == RunState.DONE,
        )
        .order_by(col(StepResult.id).desc())
        .limit(5)
    )
    return next((str(s.facts["bios"]) for s in session.exec(query) if s.facts.get("bios")), None)
