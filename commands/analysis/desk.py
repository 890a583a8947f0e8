"""The analysis of a panic's dump as a durable workflow: what the dump tells, its vmlinux, the report in the thread."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID
from dbos._error import DBOSException
from sqlmodel import Session

from commands.analysis.analyst import (
    Analyst,
    Line,
    distribution_of,
    info_lines,
    summary_lines,
)
from commands.analysis.dumps import copy_head, put_together, verified_copy
from commands.analysis.reporting import KIND, attach_report
from commands.analysis.scratch import clear_left
from commands.analysis.watching import Cancelled, Watched
from commands.errors import Impossible
from commands.hosts import runs
from commands.hosts.crashdump import size_words
from commands.hosts.desk import StepFinding
from commands.hosts.lastwords import is_unread, report_row
from commands.hosts.patience import Patience
from integrations.crashtool import CrashToolError, ToolMissing
from integrations.debuginfo import DebuginfoError
from integrations.kernel.vmcoreinfo import VmcoreInfo
from integrations.redaction import Redactor
from integrations.stores import CentralStore, LocalStore, Stored, StoreError
from storage import DumpCopy, Panic, RunbookRun, RunState, StepResult, panic_ref
from storage.requests import once

if TYPE_CHECKING:
    from commands.context import Context

log = structlog.get_logger(__name__)
STEPS = (
    ("dump", "What the dump tells without a vmlinux"),
    ("vmlinux", "The kernel's debug information"),
    ("reading", "Backtraces, blocked tasks, memory"),
)
_ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


@DBOS.dbos_class("AnalysisDesk")
class AnalysisDesk(DBOSConfiguredInstance):
    """Analyses dumps that have a verified copy. `name` is what its workflows are recovered by."""

    def __init__(
        self,
        context: Context,
        analyst: Analyst,
        store: LocalStore,
        central: CentralStore | None,
        *,
        name: str = KIND,
    ) -> None:
        super().__init__(name)
        self.context = context
        self.analyst = analyst
        self.store = store
        self.central = central
        self._slots = asyncio.Semaphore(analyst.config.at_once)

    # -- asking -----------------------------------------------------------------------------------------

    async def begin(self, panic_id: int, asked_by: str, request_id: str) -> RunbookRun:
        """Begin an analysis. Raises AlreadyRunning, and Impossible for a panic without a verified copy.

        The same request finds the run it has begun before.
        """
        now = self.context.clock()

        def write(session: Session) -> RunbookRun:
            panic = session.get_one(Panic, panic_id)
            if verified_copy(session, panic_id) is None:
                raise Impossible(
                    f"there is no verified copy of {panic_ref(panic_id)}'s dump in the central store to analyse. "
                    f"*Copy vmcore* in its thread makes one, or: `panicroom analyze {panic_ref(panic_id)} "
                    "--vmcore FILE` on the bot's machine."
                )
            run, new = runs.begin(
                session,
                kind=KIND,
                panic=panic,
                asked_by=asked_by,
                request_id=request_id,
                steps=STEPS,
                renderer="analysis_run",
                patience=Patience(),
                now=now,
            )
            if new:
                runs.change(session, run.id or 0, state=RunState.RUNNING, started_at=now)
            return run

        run = await self.context.db.write(write)
        self.context.wake()
        if run.state in runs.ACTIVE:
            await self._start(run)
        return run

    async def cancel(self, panic_id: int, by: str, *, request_id: str = "") -> list[RunbookRun]:
        """Cancel the analysis of a panic. Raises NotFound. Its program is ended within a second."""
        now = self.context.clock()

        def write(session: Session) -> list[RunbookRun]:
            if not once(session, request_id):
                return runs.cancelled_by(session, panic_id, by, KIND)
            return runs.cancel(session, panic_id, by, now, KIND)

        cancelled = await self.context.db.write(write)
        self.context.wake()
        return cancelled

    async def resume(self) -> int:
        """At start: what a killed bot left is removed, and every run that is under way has its workflow."""
        active = await self.context.db.read(lambda s: runs.active_runs(s, kind=KIND))
        await asyncio.to_thread(self._tidy, {f"run-{run.id}" for run in active})
        await asyncio.to_thread(clear_left, self.analyst.work_dir)
        for run in active:
            handle = await self._start(run)
            status = await handle.get_status()
            if status.status in _ENDED:
                log.error("run.orphaned", run=run.id, workflow=run.workflow_id, status=status.status)
                await self._finish(run.id or 0, RunState.FAILED, "it broke off inside Panicroom; see the log")
        return len(active)

    async def _start(self, run: RunbookRun) -> Any:
        with SetWorkflowID(run.workflow_id):
            return await DBOS.start_workflow_async(self.run, run.id or 0)

    # -- the workflow -----------------------------------------------------------------------------------

    @DBOS.workflow(name="analysis.run")
    async def run(self, run_id: int) -> str:
        try:
            for name, _ in STEPS:
                said = await DBOS.run_step_async({"name": f"analysis.{name}"}, self._step, run_id, name)
                if said == "stop":
                    break
            return str(await DBOS.run_step_async({"name": "analysis.close"}, self._close, run_id))
        except DBOSException:
            raise
        except Exception as error:
            log.exception("run.failed", run=run_id, kind=KIND)
            await self._finish(
                run_id, RunState.FAILED, f"it failed inside Panicroom ({type(error).__name__})"
            )
            raise

    async def _step(self, run_id: int, name: str) -> str:
        """`done` or `stop`. What is wrong is told in the step; the next ones make the best of it."""
        now = self.context.clock()
        run = await self._load(run_id)
        left, facts, panic, copy = await self.context.db.read(
            lambda s: (
                runs.names_left(s, run_id),
                runs.facts_of(s, run_id),
                s.get_one(Panic, run.panic_id),
                verified_copy(s, run.panic_id),
            )
        )
        if name not in left and run.state in runs.ACTIVE:
            return "done"
        if not await self.context.db.write(lambda s: runs.step_begins(s, run_id, name, now)):
            return "stop"
        self.context.wake()
        perform = {"dump": self._dump, "vmlinux": self._vmlinux, "reading": self._reading}[name]
        try:
            found = await perform(run, panic, copy, facts)
        except Cancelled:
            return "stop"
        except (StoreError, CrashToolError, DebuginfoError) as error:
            found = StepFinding("failed", (("failed", str(error)),))
        except Exception as error:
            log.exception("step.failed", run=run_id, step=name)
            text = f"failed inside Panicroom ({type(error).__name__}); it is in the log"
            found = StepFinding("failed", (("failed", text),))
        await self._record(run, name, found)
        return "done"

    async def _record(self, run: RunbookRun, name: str, found: StepFinding) -> None:
        told = {**found.facts, "lines": [list(line) for line in found.lines]}
        ended = runs.Ended(
            name, found.state, found.summary, told, (), self.context.clock(),
            panic=found.panic, report=found.report,
        )  # fmt: skip
        await self.context.db.write(lambda s: runs.step_ends(s, run.id or 0, ended))
        self.context.wake()
        if found.report is not None:
            self.context.read_reports()

    async def _close(self, run_id: int) -> str:
        steps = await self.context.db.read(lambda s: runs.steps_of(s, run_id))
        read = any(s.name == "reading" and s.state in ("ok", "warn") for s in steps)
        note = "" if read else _why_not(steps)
        await self._finish(run_id, RunState.DONE if read else RunState.FAILED, note)
        await asyncio.to_thread(self._tidy, None, f"run-{run_id}")
        return (await self._load(run_id)).state.value

    # -- the steps --------------------------------------------------------------------------------------

    async def _dump(
        self, run: RunbookRun, panic: Panic, copy: DumpCopy | None, facts: dict[str, Any]
    ) -> StepFinding:
        store, copy = self._needs(copy)
        info = await asyncio.to_thread(copy_head, store, copy)
        known = {
            "release": info.release,
            "build_id": info.build_id,
            "crash_time": info.crash_time.isoformat() if info.crash_time else None,
            "page_size": info.page_size,
        }
        columns = {"kernel_build": info.build_id} if info.build_id and not panic.kernel_build else {}
        lines = info_lines(info, panic)
        lines.append(("ok", f"the copy: {copy.place}, {size_words(copy.size or 0)}, sha256 {copy.sha256}"))
        return StepFinding(_worst(lines), tuple(lines), {"info": known}, panic=columns)

    async def _vmlinux(
        self, run: RunbookRun, panic: Panic, copy: DumpCopy | None, facts: dict[str, Any]
    ) -> StepFinding:
        info, lines = _info(facts), []
        if info.build_id is None and info.release is None:
            if not panic.kernel:
                return StepFinding("skipped", (("skipped", "not looked for: the dump tells of no kernel"),))
            info = replace(info, release=panic.kernel)
            lines.append(("warn", f"looked for by the release that was reported, {panic.kernel}"))
        where = await self.context.db.read(lambda s: distribution_of(s, panic))
        self.analyst.tools.chosen()
        path = await self.analyst.vmlinux_of(info, where)
        lines.append(("ok", f"found: {path}"))
        return StepFinding(_worst(lines), tuple(lines), {"vmlinux": str(path)})

    async def _reading(
        self, run: RunbookRun, panic: Panic, copy: DumpCopy | None, facts: dict[str, Any]
    ) -> StepFinding:
        """With a vmlinux the report; without one the kernel's log, where nobody has it yet."""
        vmlinux = facts.get("vmlinux")
        if "info" not in facts or (not vmlinux and not is_unread(panic)):
            return StepFinding("skipped", (("skipped", "not read: that needs the debug information"),))
        store, copy = self._needs(copy)
        work = self.analyst.work_dir / f"run-{run.id}"
        async with self._slots, Watched(lambda: self.is_active(run.id or 0)) as watch:
            await asyncio.to_thread(_emptied, work)
            vmcore = work / "vmcore"
            await watch.until(put_together(store, copy, vmcore))
            lines: list[Line] = []
            report = None
            if is_unread(panic):
                line, report = await self._last_words(panic, vmcore, work, watch)
                lines.append(line)
            if not vmlinux:
                state = "warn" if report is not None else "skipped"
                return StepFinding(state, tuple(lines), report=report)
            done = await self.analyst.read(vmcore, Path(vmlinux), work=work, stop=watch.stop)
            watch.check()
            kept = await asyncio.to_thread(self._keep, run, panic, done.report)
            lines = summary_lines(done) + lines
            words = "; ".join(text for _, text in lines)
            await self.context.db.write(lambda s: self._tell(s, run, panic, kept, words))
            self.context.wake()
            told = {"artefact": kept[0].path, "report": done.facts}
            return StepFinding(_worst(lines), tuple(lines), told, report=report)

    async def _last_words(
        self, panic: Panic, vmcore: Path, work: Path, watch: Watched
    ) -> tuple[Line, dict[str, Any] | None]:
        """The kernel's log out of the dump, for a panic whose text nobody has: another witness of it."""
        try:
            text = await self.analyst.tools.dmesg(vmcore, work=work, stop=watch.stop)
        except ToolMissing as error:
            return ("skipped", f"the kernel's log in the dump: not read ({error})"), None
        except CrashToolError as error:
            return ("warn", f"the kernel's log in the dump: {error}"), None
        watch.check()
        text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
        row = report_row(panic, "dump", text, panic.occurred_at, self.context.clock())
        told = f"the kernel's log in the dump: {len(text.splitlines())} lines, taken as the panic's text"
        return ("ok", told), row

    # -- the report -------------------------------------------------------------------------------------

    def _keep(self, run: RunbookRun, panic: Panic, report: str) -> tuple[Stored, Stored]:
        """The report whole, and as Slack may have it."""
        ref = panic_ref(panic.id)
        data = report.encode("utf-8", "replace")
        whole = self.store.put((ref, f"{ref}-analysis-{run.id}.txt"), data)
        cleaned = Redactor(keep=(panic.host,)).redact(report).encode("utf-8", "replace")
        return whole, self.store.put((ref, f"{ref}-analysis-{run.id}.redacted.txt"), cleaned)

    def _tell(
        self, session: Session, run: RunbookRun, panic: Panic, kept: tuple[Stored, Stored], words: str
    ) -> None:
        attach_report(session, panic, f"analysis-file:{run.id}", kept, words, self.context.clock(), run.id)

    # -- the row ----------------------------------------------------------------------------------------

    def _needs(self, copy: DumpCopy | None) -> tuple[CentralStore, DumpCopy]:
        if self.central is None:
            raise _NoStore("no central store is set (`[central] url`), so its copies cannot be read.")
        if copy is None:
            raise _NoStore("the verified copy of this dump is not known any more.")
        return self.central, copy

    async def is_active(self, run_id: int) -> bool:
        return (await self._load(run_id)).state in runs.ACTIVE

    async def _load(self, run_id: int) -> RunbookRun:
        return await self.context.db.read(lambda s: s.get_one(RunbookRun, run_id))

    async def _finish(self, run_id: int, state: RunState, note: str) -> None:
        now = self.context.clock()
        await self.context.db.write(lambda s: runs.finish(s, run_id, state, note[:1000], now))
        self.context.wake()

    def _tidy(self, keep: set[str] | None, name: str | None = None) -> None:
        """Remove working files: of one run, or all that belong to no run of `keep`."""
        base = self.analyst.work_dir
        found = [base / name] if name is not None else list(base.glob("run-*")) if base.is_dir() else []
        for folder in found:
            if keep is None or folder.name not in keep:
                shutil.rmtree(folder, ignore_errors=True)


class _NoStore(StoreError):
    """`panicroom analyze --vmcore FILE` reads a dump that lies elsewhere."""


def _info(facts: dict[str, Any]) -> VmcoreInfo:
    known = facts.get("info") or {}
    return VmcoreInfo(
        release=known.get("release"), build_id=known.get("build_id"), page_size=known.get("page_size")
    )


def _why_not(steps: Sequence[StepResult]) -> str:
    """What kept the reading from being done, in the words of the first step that says so."""
    for state in ("failed", "skipped"):
        for step in steps:
            if step.state == state and step.summary:
                return step.summary
    return ""


def _worst(lines: Sequence[Line]) -> str:
    return "warn" if any(state != "ok" for state, _ in lines) else "ok"


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
