"""A desk runs steps on a host as a durable workflow: it waits for the host, goes on after a restart, can be cancelled.

Order of truth: a step's row says what it found; DBOS says which steps are behind us. A step that finished is
never run again, whichever of the two was written last before a crash.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import structlog
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID
from dbos._error import DBOSException

from commands.hosts import runs
from commands.hosts.patience import Patience
from commands.hosts.visits import Visit, Visits
from commands.incident import thread
from integrations.ssh import AuthRefused, SshError
from storage import Panic, RunbookRun, RunState, StepResult

if TYPE_CHECKING:
    from commands.context import Context

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StepFinding:
    """What a step found: `state` is ok, warn, failed or skipped; `lines` are (state, plain text, unescaped)."""

    state: str
    lines: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[Mapping[str, Any]] = ()
    panic: Mapping[str, Any] = field(default_factory=dict)  # columns of the Panic that are known now

    @property
    def summary(self) -> str:
        return "\n".join(text for _, text in self.lines)


class Knock(TypedDict):
    """What came of trying the host: `reached`, `again` after `seconds`, or `stop`."""

    said: str
    seconds: float
    refusals: int


class HostDesk(DBOSConfiguredInstance, ABC):
    """The ground of TriageDesk and EvidenceDesk. One of each a process; `name` is what DBOS remembers it by."""

    kind: ClassVar[str]
    renderer: ClassVar[str]

    def __init__(self, context: Context, visits: Visits, patience: Patience, *, name: str) -> None:
        super().__init__(name)
        self.context = context
        self.visits = visits
        self.patience = patience

    # -- what a verb brings -----------------------------------------------------------------------------

    @abstractmethod
    def steps(self) -> Sequence[tuple[str, str]]:
        """(name, title) of each step, in order. Names are remembered by runs: change them with the version."""

    @abstractmethod
    async def perform(self, visit: Visit, name: str, facts: Mapping[str, Any]) -> StepFinding:
        """Do one step; `facts` are those of the steps before it. Raises SshError when the connection breaks."""

    async def conclude(self, run_id: int) -> None:
        """After the last step of a run that was not cancelled. Runs again after a crash in mid-way."""

    @abstractmethod
    async def launch(self, run_id: int) -> Any:
        """Start the verb's own workflow function for a run."""

    # -- asking -----------------------------------------------------------------------------------------

    async def begin(self, panic_id: int, asked_by: str, request_id: str) -> RunbookRun:
        """Begin a run. Raises AlreadyRunning. The same request finds the run it has begun before."""
        now = self.context.clock()

        def write(session: Any) -> RunbookRun:
            run, _ = runs.begin(
                session,
                kind=self.kind,
                panic=session.get_one(Panic, panic_id),
                asked_by=asked_by,
                request_id=request_id,
                steps=self.steps(),
                renderer=self.renderer,
                patience=self.patience,
                now=now,
            )
            return run

        run = await self.context.db.write(write)
        self.context.wake()
        if run.state in runs.ACTIVE:
            await self._start(run)
        return run

    async def cancel(self, panic_id: int, by: str, *, kind: str | None = None) -> list[RunbookRun]:
        """Cancel what is under way for a panic, of every kind unless one is given. Raises NotFound."""
        now = self.context.clock()
        cancelled = await self.context.db.write(lambda s: runs.cancel(s, panic_id, by, now, kind))
        for run in cancelled:
            if run.id is not None:
                self.visits.end(run.id)
        self.context.wake()
        return cancelled

    async def resume(self) -> int:
        """At start: see that every run that is under way has its workflow. Returns how many there are.

        DBOS goes on with the workflows it knows; this is for a run that was committed just before a crash.
        """
        active = await self.context.db.read(lambda s: runs.active_runs(s, kind=self.kind))
        for run in active:
            handle = await self._start(run)
            status = await handle.get_status()
            if status.status in ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"):
                log.error("run.orphaned", run=run.id, workflow=run.workflow_id, status=status.status)
                await self._finish(run.id or 0, RunState.FAILED, "it broke off inside Panicroom; see the log")
        return len(active)

    async def _start(self, run: RunbookRun) -> Any:
        with SetWorkflowID(run.workflow_id):
            return await self.launch(run.id or 0)

    # -- the workflow -----------------------------------------------------------------------------------

    async def work(self, run_id: int) -> str:
        """The body of the verb's workflow function: everything with an effect is a DBOS step."""
        try:
            alive = await self._reach(run_id)
            for name, _ in self.steps():
                breaks = 0
                while alive:
                    said = await DBOS.run_step_async(
                        {"name": f"{self.kind}.{name}"}, self._step, run_id, name, breaks
                    )
                    if said == "done":
                        break
                    breaks += 1
                    alive = said == "broke" and await self._reach(run_id)
            ended = await DBOS.run_step_async({"name": f"{self.kind}.close"}, self._close, run_id, alive)
            return str(ended)
        except DBOSException:
            raise
        except Exception as error:
            log.exception("run.failed", run=run_id, kind=self.kind)
            await self._finish(
                run_id, RunState.FAILED, f"it failed inside Panicroom ({type(error).__name__})"
            )
            raise
        finally:
            self.visits.end(run_id)

    async def _reach(self, run_id: int) -> bool:
        """Wait until the host answers; False when it was given up or the run was cancelled."""
        refusals = 0
        while True:
            knock: Knock = await DBOS.run_step_async(
                {"name": f"{self.kind}.knock"}, self._knock, run_id, refusals
            )
            if knock["said"] != "again":
                return knock["said"] == "reached"
            refusals = knock["refusals"]
            await DBOS.sleep_async(knock["seconds"])

    async def _knock(self, run_id: int, refusals: int) -> Knock:
        run = await self._load(run_id)
        if run.state not in runs.ACTIVE:
            return {"said": "stop", "seconds": 0, "refusals": refusals}
        try:
            await self.visits.begin(run_id)
        except SshError as error:
            return await self._not_reached(run, error, refusals)
        now = self.context.clock()
        started = run.started_at or now
        if not await self._change(
            run_id, state=RunState.RUNNING, started_at=started, next_try_at=None, note=""
        ):
            self.visits.end(run_id)
            return {"said": "stop", "seconds": 0, "refusals": refusals}
        return {"said": "reached", "seconds": 0, "refusals": 0}

    async def _not_reached(self, run: RunbookRun, error: SshError, refusals: int) -> Knock:
        run_id, now = run.id or 0, self.context.clock()
        refusals += isinstance(error, AuthRefused)
        booting = isinstance(error, AuthRefused) and refusals < self.patience.refusals
        if error.permanent and not booting:
            await self._finish(run_id, RunState.FAILED, str(error))
            return {"said": "stop", "seconds": 0, "refusals": refusals}
        attempts = run.attempts + 1
        wait = self.patience.wait_after(attempts)
        give_up_at = run.give_up_at or now
        if now >= give_up_at:
            note = f"gave up after {attempts} attempts; the last one: {error}"
            await self._change(run_id, attempts=attempts)
            await self._finish(run_id, RunState.FAILED, note)
            return {"said": "stop", "seconds": 0, "refusals": refusals}
        # The last try is at the limit itself, not up to a wait before it.
        wait = min(wait, max((give_up_at - now).total_seconds(), 0.01))
        await self._change(
            run_id,
            state=RunState.WAITING,
            attempts=attempts,
            next_try_at=now + timedelta(seconds=wait),
            note=str(error),
        )
        return {"said": "again", "seconds": wait, "refusals": refusals}

    async def _step(self, run_id: int, name: str, breaks: int) -> str:
        """`done`, `broke` (the connection did; wait for the host and come again) or `stop`."""
        if (await self._load(run_id)).state not in runs.ACTIVE:
            return "stop"
        now = self.context.clock()
        step, facts = await self.context.db.write(
            lambda s: (runs.step_begins(s, run_id, name, now), runs.facts_of(s, run_id))
        )
        if step.state in runs.FINISHED_STEPS:
            return "done"
        self.context.wake()
        try:
            found = await self.perform(await self.visits.begin(run_id), name, facts)
        except SshError as error:
            if (await self._load(run_id)).state not in runs.ACTIVE:
                return "stop"
            if breaks < self.patience.breaks:
                log.info("run.broke", run=run_id, step=name, error=str(error))
                return "broke"
            found = StepFinding("failed", (("failed", f"the connection broke {breaks + 1} times: {error}"),))
        except Exception as error:
            # One step that cannot be read must not cost the others; it is told as what it is.
            log.exception("step.failed", run=run_id, step=name)
            text = f"failed inside Panicroom ({type(error).__name__}); it is in the log"
            found = StepFinding("failed", (("failed", text),))
        await self._record(run_id, step, found)
        return "done"

    async def _record(self, run_id: int, step: StepResult, found: StepFinding) -> None:
        now = self.context.clock()

        def write(session: Any) -> None:
            run = session.get_one(RunbookRun, run_id)
            facts = {**found.facts, "lines": [list(line) for line in found.lines]}
            runs.step_ends(
                session, run_id, step.name, state=found.state, summary=found.summary,
                facts=facts, outputs=found.outputs, now=now,
            )  # fmt: skip
            panic = session.get_one(Panic, run.panic_id)
            for column, value in found.panic.items():
                setattr(panic, column, value)
            session.add(panic)
            incident = runs.incident_of(session, panic)
            if incident is not None and incident.id is not None and found.panic:
                thread.touch(session, incident.id)

        await self.context.db.write(write)
        self.context.wake()

    async def _close(self, run_id: int, alive: bool) -> str:
        self.visits.end(run_id)
        if alive and (await self._load(run_id)).state in runs.ACTIVE:
            await self.conclude(run_id)
            await self._finish(run_id, RunState.DONE, "")
        return (await self._load(run_id)).state.value

    # -- the row ----------------------------------------------------------------------------------------

    async def _load(self, run_id: int) -> RunbookRun:
        return await self.context.db.read(lambda s: s.get_one(RunbookRun, run_id))

    async def _change(self, run_id: int, **values: Any) -> bool:
        """False when the run ended meanwhile (cancelled): nothing is changed then."""

        def write(session: Any) -> bool:
            if session.get_one(RunbookRun, run_id).state not in runs.ACTIVE:
                return False
            runs.change(session, run_id, **values)
            return True

        changed = await self.context.db.write(write)
        self.context.wake()
        return changed

    async def _finish(self, run_id: int, state: RunState, note: str) -> None:
        now = self.context.clock()
        await self.context.db.write(lambda s: runs.finish(s, run_id, state, note[:1000], now))
        self.context.wake()
