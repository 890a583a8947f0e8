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
from sqlmodel import Session, col, select

from commands.hosts import runs
from commands.hosts.patience import Patience
from commands.hosts.visits import Visit, Visits
from integrations.ssh import AuthRefused, SshError
from storage import Panic, RunbookRun, RunState
from storage.requests import once

if TYPE_CHECKING:
    from sqlmodel.sql.expression import SelectOfScalar

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


class Knock(TypedDict):
    """What came of trying the host: `reached`, `again` after `seconds`, `lost` for good (`note`), or `stop`."""

    said: str
    seconds: float
    refusals: int
    note: str


class Went(TypedDict):
    """How a visit went: to its end (`done`), until the connection `broke` in the step `at`, or it is to `stop`."""

    said: str
    at: str


def _knock(said: str, refusals: int = 0, *, seconds: float = 0, note: str = "") -> Knock:
    return {"said": said, "seconds": seconds, "refusals": refusals, "note": note}


def _panic_of(run_id: int) -> SelectOfScalar[Panic]:
    """As the database has it: others may have loaded it earlier in the same transaction."""
    query = select(Panic).join(RunbookRun, col(RunbookRun.panic_id) == col(Panic.id))
    return query.where(RunbookRun.id == run_id).execution_options(populate_existing=True)


class HostDesk(DBOSConfiguredInstance, ABC):
    """The ground of TriageDesk and EvidenceDesk. One of each a process; `name` is what DBOS remembers it by."""

    kind: ClassVar[str]
    renderer: ClassVar[str]
    # Steps that need no host: they come even when the host is given up, and the others are told as lost.
    alone: ClassVar[frozenset[str]] = frozenset()

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
        """After the last step of a run that was not cancelled. Runs again after a crash in mid-way."""

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
            lost = await self._reach(run_id)
            broke_at, breaks = "", 0
            while lost is None or (lost and self.alone):
                went: Went = await DBOS.run_step_async(
                    {"name": f"{self.kind}.visit"}, self._visit, run_id, broke_at, breaks, lost
                )
                if went["said"] != "broke":
                    break
                breaks = breaks + 1 if went["at"] == broke_at else 1
                broke_at = went["at"]
                lost = await self._reach(run_id)
            ended = await DBOS.run_step_async({"name": f"{self.kind}.close"}, self._close, run_id, lost)
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

    async def _reach(self, run_id: int) -> str | None:
        """Wait until the host answers: None. Else why it is lost for good; "" when the run was cancelled."""
        refusals = 0
        while True:
            knock: Knock = await DBOS.run_step_async(
                {"name": f"{self.kind}.knock"}, self._knock, run_id, refusals
            )
            if knock["said"] != "again":
                return {"reached": None, "lost": knock["note"]}.get(knock["said"], "")
            refusals = knock["refusals"]
            await DBOS.sleep_async(knock["seconds"])

    async def _knock(self, run_id: int, refusals: int) -> Knock:
        run = await self._load(run_id)
        if run.state not in runs.ACTIVE:
            return _knock("stop", refusals)
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
            return _knock("stop", refusals)
        return _knock("reached")

    async def _not_reached(self, run: RunbookRun, error: SshError, refusals: int) -> Knock:
        run_id, now = run.id or 0, self.context.clock()
        refusals += isinstance(error, AuthRefused)
        booting = isinstance(error, AuthRefused) and refusals < self.patience.refusals
        if error.permanent and not booting:
            return _knock("lost", refusals, note=str(error) or type(error).__name__)
        attempts = run.attempts + 1
        wait = self.patience.wait_after(attempts)
        give_up_at = run.give_up_at or now
        if now >= give_up_at:
            await self._change(run_id, attempts=attempts, next_try_at=None)
            return _knock("lost", refusals, note=f"gave up after {attempts} attempts; the last one: {error}")
        # The last try is at the limit itself, not up to a wait before it.
        wait = min(wait, max((give_up_at - now).total_seconds(), 0.01))
        await self._change(
            run_id,
            state=RunState.WAITING,
            attempts=attempts,
            next_try_at=now + timedelta(seconds=wait),
            note=str(error),
        )
        return _knock("again", refusals, seconds=wait)

    async def _visit(self, run_id: int, broke_at: str, breaks: int, lost: str | None = None) -> Went:
        """All steps that are left, one after the other. The rows say which are: the ones that the run began with
        (they may be others after a restart), without those that have finished before.

        `breaks`: how often the connection broke in the step `broke_at` before.
        """
        names, facts = await self.context.db.read(
            lambda s: (runs.names_left(s, run_id), runs.facts_of(s, run_id))
        )
        ended: runs.Ended | None = None
        for name in names:
            panic = await self._turn(run_id, ended, name)
            if panic is None:
                return {"said": "stop", "at": ""}
            ended = None
            try:
                found = await self._find(run_id, panic, name, facts, lost)
            except SshError as error:
                broken = breaks + 1 if name == broke_at else 1
                if (await self._load(run_id)).state not in runs.ACTIVE:
                    return {"said": "stop", "at": ""}
                if broken <= self.patience.breaks:
                    log.info("run.broke", run=run_id, step=name, error=str(error))
                    return {"said": "broke", "at": name}
                found = StepFinding("failed", (("failed", f"the connection broke {broken} times: {error}"),))
            told = {**found.facts, "lines": [list(line) for line in found.lines]}
            ended = runs.Ended(
                name, found.state, found.summary, told, found.outputs, self.context.clock(),
                panic=found.panic, report=found.report,
            )  # fmt: skip
            facts = {**facts, **told}
        await self._turn(run_id, ended, None)
        return {"said": "done", "at": ""}

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

    async def _turn(self, run_id: int, ended: runs.Ended | None, name: str | None) -> Panic | None:
        """A step's end and the next one's begin, committed together; the panic as it stands then.

        None when nothing begins: the run is over (cancelled), or this was the last step.
        """
        now = self.context.clock()

        def write(session: Session) -> Panic | None:
            if not runs.turn(session, run_id, ended, name, now) or name is None:
                return None
            return session.exec(_panic_of(run_id)).one()

        panic = await self.visits.together.write(write)
        self.context.wake()
        if ended is not None and ended.report is not None:
            self.context.read_reports()
        return panic

    async def _close(self, run_id: int, lost: str | None) -> str:
        """`lost`: why the host was given up; None when it was there to the end."""
        self.visits.end(run_id)
        if (await self._load(run_id)).state in runs.ACTIVE:
            if lost is None or self.alone:
                await self.conclude(run_id)
            await self._finish(run_id, RunState.FAILED if lost else RunState.DONE, lost or "")
        run = await self._load(run_id)
        if run.state is RunState.CANCELLED:
            await self.discard(run_id)
        return run.state.value

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

    async def _finish(self, run_id: int, state: RunState, note: str) -> None:
        now = self.context.clock()
        await self.visits.together.write(lambda s: runs.finish(s, run_id, state, note[:2000], now))
        self.context.wake()
