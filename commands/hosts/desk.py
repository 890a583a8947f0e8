"""A desk runs steps on a host as a durable workflow: it waits for the host, goes on after a restart, can be cancelled.

Order of truth: a step's row says what it found; DBOS says which steps are behind us. A step that finished is
never run again, whichever of the two was written last before a crash.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID
from dbos._error import DBOSException
from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from commands.hosts import runs
from commands.hosts.comings import Came, Knock, Went, knocked
from commands.hosts.patience import Patience
from commands.hosts.visits import Visit, Visits
from integrations.ssh import AuthRefused, SshError
from storage import Panic, RunbookRun, RunState
from storage.requests import once

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
    report: Mapping[str, Any] | None = (
        None  # a row of Report: another witness of the panic, found on the host
    )

    @property
    def summary(self) -> str:
        return "\n".join(text for _, text in self.lines)


# As the database has it: others may have loaded it earlier in the same transaction.
_PANIC_OF = (
    select(Panic)
    .join(RunbookRun, col(RunbookRun.panic_id) == col(Panic.id))
    .where(RunbookRun.id == bindparam("run"))
    .execution_options(populate_existing=True)
)


class HostDesk(DBOSConfiguredInstance, ABC):
    """The ground of TriageDesk and EvidenceDesk. One of each a process; `name` is what DBOS remembers it by."""

    kind: ClassVar[str]
    renderer: ClassVar[str]
    # Steps that need no host: they come even when the host is given up, and the others are told as lost.
    alone: ClassVar[frozenset[str]] = frozenset()
    # Whether `conclude` does something: it finds the last step's row as that has ended.
    concludes: ClassVar[bool] = False

    def __init__(self, context: Context, visits: Visits, patience: Patience, *, name: str) -> None:
        super().__init__(name)
        self.context = context
        self.visits = visits
        self.patience = patience

    # -- what a verb brings -----------------------------------------------------------------------------

    @abstractmethod
    def steps(self) -> Sequence[tuple[str, str]]:
        """(name, title) of each step, in order. A run keeps those that it began with."""

    @abstractmethod
    async def perform(self, visit: Visit, panic: Panic, name: str, facts: Mapping[str, Any]) -> StepFinding:
        """Do one step. `panic`: as it stood when the step began; `facts`: those of the steps before it.

        Raises SshError when the connection breaks.
        """

    async def perform_alone(self, run: RunbookRun, name: str, facts: Mapping[str, Any]) -> StepFinding:
        """Do one of the steps in `alone`."""
        raise NotImplementedError(f"{type(self).__name__} has no step {name!r} that needs no host")

    async def conclude(self, run_id: int) -> None:
        """After the last step, before the run ends; it may be cancelled by now. Runs again after a crash in mid-way."""

    def ends_done(self, session: Session, run: RunbookRun, now: datetime) -> None:
        """In the transaction in which a run ends that was not given up."""

    async def discard(self, run_id: int) -> None:
        """After a run was cancelled and nothing of it is at work any more. Runs again after a crash in mid-way."""

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

    async def cancel(
        self, panic_id: int, by: str, *, kind: str | None = None, request_id: str = ""
    ) -> list[RunbookRun]:
        """Cancel what is under way for a panic, of every kind unless one is given. Raises NotFound.

        A request that is worked on again cancels nothing more: what it has cancelled before is returned.
        """
        now = self.context.clock()

        def write(session: Session) -> list[RunbookRun]:
            if not once(session, request_id):
                return runs.cancelled_by(session, panic_id, by, kind)
            return runs.cancel(session, panic_id, by, now, kind)

        cancelled = await self.context.db.write(write)
        for run in cancelled:
            if run.id is not None:
                self.visits.end(run.id)
        self.context.wake()
        return cancelled

    async def resume(self) -> int:
        """At start: see that every run that is under way has its workflow. Returns how many there are.

        DBOS goes on with the workflows it knows; this is for a run that was committed just before a crash, or whose
        workflow was another version's.
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
        """The body of the verb's workflow function: everything with an effect is a DBOS step.

        A host that answers is one step from the knock to the end; the rows say what of it is behind us.
        """
        refusals, broke_at, breaks = 0, "", 0
        try:
            while True:
                came: Came = await DBOS.run_step_async(
                    {"name": f"{self.kind}.attend"}, self._attend, run_id, refusals, broke_at, breaks
                )
                if came["said"] == "ended":
                    return came["at"]
                refusals = came["refusals"]
                if came["said"] == "again":
                    await DBOS.sleep_async(came["seconds"])
                else:
                    breaks = breaks + 1 if came["at"] == broke_at else 1
                    broke_at = came["at"]
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

    async def _attend(self, run_id: int, refusals: int, broke_at: str, breaks: int) -> Came:
        """Knock, and where the host answers or is given up, do what is left and close the run."""
        knock = await self._knock(run_id, refusals)
        if knock["said"] == "again":
            return {"said": "again", "at": "", "seconds": knock["seconds"], "refusals": knock["refusals"]}
        lost = {"reached": None, "lost": knock["note"]}.get(knock["said"], "")
        if lost is None or (lost and self.alone):
            went, last = await self._visit(run_id, broke_at, breaks, lost)
            if went["said"] == "broke":
                return {"said": "broke", "at": went["at"], "seconds": 0, "refusals": 0}
        else:
            last = None
        return {"said": "ended", "at": await self._close(run_id, lost, last), "seconds": 0, "refusals": 0}

    async def _knock(self, run_id: int, refusals: int) -> Knock:
        run, panic = await self.context.db.read(lambda s: runs.run_and_panic(s, run_id))
        if run.state not in runs.ACTIVE:
            return knocked("stop", refusals)
        try:
            await self.visits.begin(run_id, (run, panic))
        except SshError as error:
            return await self._not_reached(run, error, refusals)
        return knocked("reached")

    async def _not_reached(self, run: RunbookRun, error: SshError, refusals: int) -> Knock:
        run_id, now = run.id or 0, self.context.clock()
        refusals += isinstance(error, AuthRefused)
        booting = isinstance(error, AuthRefused) and refusals < self.patience.refusals
        if error.permanent and not booting:
            return knocked("lost", refusals, note=str(error) or type(error).__name__)
        attempts = run.attempts + 1
        wait = self.patience.wait_after(attempts)
        give_up_at = run.give_up_at or now
        if now >= give_up_at:
            await self._change(run_id, attempts=attempts, next_try_at=None)
            return knocked("lost", refusals, note=f"gave up after {attempts} attempts; the last one: {error}")
        # The last try is at the limit itself, not up to a wait before it.
        wait = min(wait, max((give_up_at - now).total_seconds(), 0.01))
        await self._change(
            run_id,
            state=RunState.WAITING,
            attempts=attempts,
            next_try_at=now + timedelta(seconds=wait),
            note=str(error),
        )
        return knocked("again", refusals, seconds=wait)

    async def _visit(
        self, run_id: int, broke_at: str, breaks: int, lost: str | None = None
    ) -> tuple[Went, runs.Ended | None]:
        """All steps that are left, one after the other. The rows say which are: the ones that the run began with
        (they may be others after a restart), without those that have finished before.

        The last one's end may be left to what closes the run. `breaks`: how often the connection broke in the step
        `broke_at` before.
        """
        names, facts = await self.context.db.read(
            lambda s: (runs.names_left(s, run_id), runs.facts_of(s, run_id))
        )
        ended: runs.Ended | None = None
        for name in names:
            panic = await self._turn(run_id, ended, name, reached=lost is None)
            if panic is None:
                return {"said": "stop", "at": ""}, None
            ended = None
            try:
                found = await self._find(run_id, panic, name, facts, lost)
            except SshError as error:
                broken = breaks + 1 if name == broke_at else 1
                if (await self._load(run_id)).state not in runs.ACTIVE:
                    return {"said": "stop", "at": ""}, None
                if broken <= self.patience.breaks:
                    log.info("run.broke", run=run_id, step=name, error=str(error))
                    return {"said": "broke", "at": name}, None
                found = StepFinding("failed", (("failed", f"the connection broke {broken} times: {error}"),))
            told = {**found.facts, "lines": [list(line) for line in found.lines]}
            ended = runs.Ended(
                name, found.state, found.summary, told, found.outputs, self.context.clock(),
                panic=found.panic, report=found.report,
            )  # fmt: skip
            facts = {**facts, **told}
        if self.concludes and ended is not None:
            await self._turn(run_id, ended, None)
            ended = None
        return {"said": "done", "at": ""}, ended

    async def _find(
        self, run_id: int, panic: Panic, name: str, facts: Mapping[str, Any], lost: str | None
    ) -> StepFinding:
        """What one step finds. Raises SshError when the connection breaks; what else goes wrong is told in the step."""
        try:
            if name in self.alone:
                return await self.perform_alone(await self._load(run_id), name, facts)
            if lost:
                return StepFinding("failed", (("failed", f"the host was not reached: {lost}"),))
            return await self.perform(await self.visits.begin(run_id), panic, name, facts)
        except SshError:
            raise
        except Exception as error:
            # One step that cannot be read must not cost the others; it is told as what it is.
            log.exception("step.failed", run=run_id, step=name)
            text = f"failed inside Panicroom ({type(error).__name__}); it is in the log"
            return StepFinding("failed", (("failed", text),))

    async def _turn(
        self, run_id: int, ended: runs.Ended | None, name: str | None, *, reached: bool = False
    ) -> Panic | None:
        """A step's end and the next one's begin, committed together; the panic as it stands then.

        None when nothing begins: the run is over (cancelled), or this was the last step.
        """
        now = self.context.clock()

        def write(session: Session) -> Panic | None:
            if not runs.turn(session, run_id, ended, name, now, reached=reached) or name is None:
                return None
            return session.exec(_PANIC_OF, params={"run": run_id}).one()

        panic = await self.visits.together.write(write)
        await self._said(run_id, ended)
        return panic

    async def _said(self, run_id: int, ended: runs.Ended | None) -> None:
        """After a write that ended a step. Raises when a command's audit row could not be written."""
        self.context.wake()
        if ended is not None and ended.report is not None:
            self.context.read_reports()
        await self.visits.audited(run_id)

    async def _close(self, run_id: int, lost: str | None, last: runs.Ended | None = None) -> str:
        """`lost`: why the host was given up; None when it was there to the end. `last`: an end not yet written."""
        self.visits.end(run_id)
        if lost is None or self.alone:
            await self.conclude(run_id)
        state = await self._finish(run_id, RunState.FAILED if lost else RunState.DONE, lost or "", last)
        await self._said(run_id, last)
        if state is RunState.CANCELLED:
            await self.discard(run_id)
        return state.value

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

        changed = await self.visits.together.write(write)
        self.context.wake()
        return changed

    async def _finish(
        self, run_id: int, state: RunState, note: str, last: runs.Ended | None = None
    ) -> RunState:
        """End a run that has not ended; how it has ended now."""
        now = self.context.clock()

        def write(session: Session) -> RunState:
            if last is not None:
                runs.turn(session, run_id, last, None, now)
            run = runs.finish(session, run_id, state, note[:2000], now)
            if run is not None and state is RunState.DONE:
                self.ends_done(session, run, now)
            return session.get_one(RunbookRun, run_id).state

        ended = await self.visits.together.write(write)
        self.context.wake()
        return ended
