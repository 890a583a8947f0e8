"""The runbook on a host, as a durable workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from dbos import DBOS
from sqlmodel import Session, col, select

from commands.hosts import crashdump, runs
from commands.hosts.desk import HostDesk, StepFinding
from commands.hosts.lastwords import is_unread, read_last_words
from commands.hosts.visits import Visit, Visits, kept_output
from commands.incident import thread
from commands.triage import nics
from commands.triage.answers import Answer, Answers
from commands.triage.dump import read_dump
from commands.triage.identity import read_identity
from commands.triage.offline import read_offline
from commands.triage.readiness import read_readiness
from commands.triage.recent import read_recent
from commands.triage.runbook import Command, TriageConfig, runbook
from commands.triage.seen import look_back
from storage import Panic, RunbookRun, RunState, StepResult

if TYPE_CHECKING:
    from commands.context import Context


@DBOS.dbos_class("TriageDesk")
class TriageDesk(HostDesk):
    """Runs the runbook. `name` is what its workflows are recovered by: the same at every start."""

    kind: ClassVar[str] = "triage"
    renderer: ClassVar[str] = "triage_run"

    def __init__(
        self, context: Context, visits: Visits, config: TriageConfig | None = None, *, name: str = "triage"
    ) -> None:
        self.config = config or TriageConfig()
        super().__init__(context, visits, self.config.patience, name=name)

    def steps(self) -> Sequence[tuple[str, str]]:
        return tuple((s.name, s.title) for s in runbook().step)

    @DBOS.workflow(name="triage.run")
    async def run(self, run_id: int) -> str:
        return await self.work(run_id)

    async def launch(self, run_id: int) -> Any:
        return await DBOS.start_workflow_async(self.run, run_id)

    async def perform(self, visit: Visit, name: str, facts: Mapping[str, Any]) -> StepFinding:
        panic = await self.context.db.read(lambda s: s.get_one(Panic, visit.panic_id))
        if name == "dump":
            report = await crashdump.examine(visit, panic)
            words = await read_last_words(visit, panic, report) if is_unread(panic) else None
            return read_dump(report, panic, words)
        if name == "seen":
            window = timedelta(days=self.config.seen_window_days)
            return await self.context.db.read(lambda s: look_back(s, panic, window))
        answers, outputs = await self._ask(visit, name, facts)
        found = await self._read(name, answers, panic, facts, self.context.clock())
        return replace(found, outputs=outputs)

    async def _ask(
        self, visit: Visit, name: str, facts: Mapping[str, Any]
    ) -> tuple[Answers, list[dict[str, Any]]]:
        """The step's commands for the host's family, side by side (sshd allows ten sessions a connection)."""
        family = facts.get("family")
        commands = [c for c in runbook().named(name).command if c.runs_on(family)]
        limit = asyncio.Semaphore(4)

        async def one(command: Command) -> tuple[Answer, dict[str, Any]]:
            async with limit:
                done = await visit.run(command.argv, timeout=command.timeout, cap=command.cap)
            usable = done.exit_status == 0 and not done.timed_out
            return Answer(done.text, usable, done.outcome, done.exit_status), kept_output(done)

        if name == "recent":
            commands.append(Command(key="interfaces", argv=nics.LIST, timeout=10, cap=16384))
        results = await asyncio.gather(*(one(c) for c in commands))
        answers = {c.key: a for c, (a, _) in zip(commands, results, strict=True)}
        outputs = [output for _, output in results]
        listed = answers.get("interfaces")
        # The one argument that a host has a say in: a plain name, checked, and quoted like everything else.
        for interface in nics.interfaces(listed.text) if listed is not None and listed.ok else ():
            asked = Command(key=nics.key(interface), argv=nics.command(interface), timeout=10, cap=16384)
            answers[asked.key], output = await one(asked)
            outputs.append(output)
            if answers[asked.key].exit_status == 127:
                break
        return Answers(answers), outputs

    async def _read(
        self, name: str, answers: Answers, panic: Panic, facts: Mapping[str, Any], now: datetime
    ) -> StepFinding:
        if name == "kernel":
            return read_identity(answers, panic, facts, now)
        if name == "recent":
            bios, tickets = await self.context.db.read(
                lambda s: (_previous_bios(s, panic), runs.tickets_of(s, panic, "linked"))
            )
            keys = list(dict.fromkeys(t.key for t in tickets))
            window = timedelta(days=self.config.change_window_days)
            return read_recent(answers, panic, facts, window=window, previous_bios=bios, tickets=keys)
        if name == "offline":
            found = read_offline(answers, panic, facts)
            return replace(
                found, facts={**found.facts, "df": (answers.text("df", even_failed=True) or "")[:8000]}
            )
        if name == "ready":
            return read_readiness(answers, panic, facts, facts.get("df"))
        raise ValueError(f"the runbook has a step {name!r} that nobody reads")

    async def conclude(self, run_id: int) -> None:
        """The runbook is done: the incident's clock stops, and the timeline says what came of it."""
        now = self.context.clock()

        def write(session: Session) -> None:
            run = session.get_one(RunbookRun, run_id)
            panic = session.get_one(Panic, run.panic_id)
            incident = runs.incident_of(session, panic)
            if incident is None or incident.id is None:
                return
            if incident.runbook_done_at is None:
                incident.runbook_done_at = now
                session.add(incident)
            thread.touch(session, incident.id)

        await self.context.db.write(write)
        self.context.wake()


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
