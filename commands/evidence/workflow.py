"""The evidence bundle, as a durable workflow: collect, pack twice (whole and redacted), tell in the thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
from dbos import DBOS
from sqlmodel import Session

from commands.evidence import packing
from commands.evidence.collection import Collector, Keeper, json_bytes, wholes_of
from commands.evidence.contents import Entry, EvidenceConfig, bundle_list
from commands.evidence.packing import keep_both, redaction_words
from commands.hosts import runs
from commands.hosts.crashdump import panic_columns, size_words
from commands.hosts.desk import HostDesk, StepFinding
from commands.hosts.family import family_of, read_os_release
from commands.hosts.originals import forget
from commands.hosts.visits import Visit, Visits
from commands.incident import thread
from integrations.kernel.vmcoreinfo import VmcoreInfo
from integrations.slack.text import code
from integrations.stores import LocalStore, StoreError
from storage import Panic, RunbookRun, StepResult, panic_ref

if TYPE_CHECKING:
    from commands.context import Context

log = structlog.get_logger(__name__)
_TITLES = (
    ("crash", "Crash directory and dmesg of the crash"),
    ("journals", "Journals of the boots"),
    ("system", "System, packages, kdump"),
    ("record", "Panic and change records"),
    ("bundle", "Bundle and manifest"),
)
_WHAT_COMES = {
    "crash": "dmesg-crash.txt",
    "journals": "journal-crashed.txt",
    "system": "system",
    "record": "panic.json",
}


@DBOS.dbos_class("EvidenceDesk")
class EvidenceDesk(HostDesk):
    """Collects evidence. `name` is what its workflows are recovered by: the same at every start."""

    kind: ClassVar[str] = "evidence"
    renderer: ClassVar[str] = "evidence_run"
    concludes: ClassVar[bool] = True
    alone: ClassVar[frozenset[str]] = frozenset({"record", "bundle"})

    def __init__(
        self,
        context: Context,
        visits: Visits,
        store: LocalStore,
        config: EvidenceConfig | None = None,
        *,
        name: str = "evidence",
    ) -> None:
        self.config = config or EvidenceConfig()
        self.store = store
        super().__init__(context, visits, self.config.patience, name=name)

    def steps(self) -> Sequence[tuple[str, str]]:
        return _TITLES

    @DBOS.workflow(name="evidence.run")
    async def run(self, run_id: int) -> str:
        return await self.work(run_id)

    async def launch(self, run_id: int) -> Any:
        return await DBOS.start_workflow_async(self.run, run_id)

    async def perform(self, visit: Visit, panic: Panic, name: str, facts: Mapping[str, Any]) -> StepFinding:
        collector = Collector(self.store, _folder(panic, visit.run_id), visit, self.config)
        collect = {"crash": self._crash, "journals": self._journals, "system": self._system}[name]
        try:
            return await collect(collector, panic)
        except StoreError as error:
            return StepFinding("failed", (("failed", str(error)),))

    async def perform_alone(self, run: RunbookRun, name: str, facts: Mapping[str, Any]) -> StepFinding:
        """What the bot knows, and the bundle: they come also when the host is lost."""
        run_id = run.id or 0
        panic = await self.context.db.read(lambda s: s.get_one(Panic, run.panic_id))
        try:
            if name == "record":
                return await self._record_of(Keeper(self.store, _folder(panic, run_id)), panic)
            return await self._bundle(run_id, panic)
        except StoreError as error:
            return StepFinding("failed", (("failed", str(error)),))

    # -- collecting -------------------------------------------------------------------------------------

    async def _crash(self, collector: Collector, panic: Panic) -> StepFinding:
        report, vmcore, words = await collector.crash(panic)
        lines = _told(collector.entries)
        path = f", {vmcore['path']}, {size_words(int(vmcore['size']))}" if vmcore.get("path") else ""
        state = "ok" if vmcore["state"] == "complete" else "warn"
        where = "in kdump's central directory" if report.elsewhere is not None else "on the host"
        lines.append((state, f"vmcore: {vmcore['state']}{path} (it stays {where}: it holds memory)"))
        if report.info is not None:
            lines += _vmcoreinfo(report.info, panic)
        lines += words.lines
        found = _finding(lines, collector, {"vmcore": vmcore}, panic_columns(report))
        return replace(found, report=words.report)

    async def _journals(self, collector: Collector, panic: Panic) -> StepFinding:
        choice = await collector.journals(panic)
        chosen = {
            "crashed": choice.boot.index if choice.boot else None,
            "crashed_boot_id": choice.boot.boot_id if choice.boot else None,
            "capture": choice.capture.index if choice.capture else None,
            "reason": choice.reason,
        }
        lines = [
            ("ok" if choice.boot else "warn", f"the boot that crashed: {choice.reason}"),
            *_told(collector.entries),
        ]
        return _finding(lines, collector, {"boots": chosen})

    async def _system(self, collector: Collector, panic: Panic) -> StepFinding:
        everywhere = bundle_list().of(None)
        first = next(f for f in everywhere if f.name == "os-release.txt")
        done = await collector.command(first)
        family = family_of(read_os_release(done.text))
        await collector.all([f for f in bundle_list().of(family) if f is not first])
        collector.entries.sort(key=lambda e: e.file)
        return _finding(_told(collector.entries), collector, {"family": family})

    async def _record_of(self, keeper: Keeper, panic: Panic) -> StepFinding:
        """What the bot itself knows: the panic as it was read, the text as it came, the incident's change tickets."""
        linked = await self.context.db.read(
            lambda s: runs.tickets_of(s, panic, "pending", "linked", "failed")
        )
        known = panic.model_dump(mode="json", exclude={"text", "crash_lines"})
        await keeper.keep("panic.json", json_bytes(known), note="what Panicroom knows of this panic")
        if panic.text:
            text = panic.text.encode("utf-8", "replace")
            await keeper.keep("panic-text.txt", text, note="the text as it was reported")
        rows = [
            {
                **t.model_dump(mode="json", exclude={"attempts", "next_at", "told_at"}),
                "panic": panic_ref(t.panic_id),
            }
            for t in linked
        ]
        note = (
            "the change tickets beside the panics of this incident" if rows else "no change ticket was linked"
        )
        await keeper.keep("change-tickets.json", json_bytes(rows), note=note)
        lines = _told(keeper.entries)
        keys = ", ".join(dict.fromkeys(t.key for t in linked))
        lines.append(("ok", f"change tickets: {keys or 'none linked'}"))
        return _finding(lines, keeper, {})

    # -- packing ----------------------------------------------------------------------------------------

    async def _bundle(self, run_id: int, panic: Panic) -> StepFinding:
        run, steps, copy = await self.context.db.read(
            lambda s: (
                s.get_one(RunbookRun, run_id),
                runs.steps_of(s, run_id),
                packing.verified_copy(s, panic.id or 0),
            )
        )
        entries = _entries(steps)
        files = await asyncio.to_thread(self._files, _folder(panic, run_id), entries)
        ref, host = panic_ref(panic.id), self.visits.host_of(panic).spoken
        base = packing.manifest_of(run, panic, host, steps)
        if copy is not None:
            base["vmcore"] = {**(base["vmcore"] or {}), "central": packing.central_of(copy)}
        made = await asyncio.to_thread(
            packing.pack, self.store, ref, f"{ref}-evidence-{run_id}", base, entries, files,
            host=panic.host, stamp=int(run.asked_at.timestamp()), redact=self.config.redact,
        )  # fmt: skip
        await self.context.db.write(lambda s: keep_both(s, panic, run_id, made))
        failed = [e for e in entries if e.error is not None]
        told = made.told
        lines = [
            ("ok", f"{len(files)} files, {size_words(told.size)} packed, sha256 {told.sha256}"),
            ("ok", redaction_words(made.counts) if self.config.redact else "not redacted, by the settings"),
        ]
        if copy is not None:
            lines.append(("ok", f"with the place of the vmcore's verified copy: {copy.place}"))
        if failed:
            names = ", ".join(e.file for e in failed[:6])
            lines.append(
                ("warn", f"{len(failed)} could not be collected whole (the manifest says why): {names}")
            )
        facts = {
            "path": told.path,
            "sha256": told.sha256,
            "size": told.size,
            "redactions": dict(made.counts),
            "failed": len(failed),
            "cut": [e.whole for e in entries if e.whole is not None],
            "copy": copy.id if copy is not None else None,
        }
        return StepFinding("warn" if failed else "ok", tuple(lines), facts)

    def _files(self, folder: tuple[str, ...], entries: Sequence[Entry]) -> dict[str, bytes]:
        return {e.file: self.store.read("/".join((*folder, e.file))) for e in entries if e.sha256 is not None}

    async def conclude(self, run_id: int) -> None:
        """The bundle goes into the thread; the loose files, which are in it, are removed."""
        now = self.context.clock()

        def write(session: Session) -> tuple[Panic, bool]:
            run = session.get_one(RunbookRun, run_id)
            if run.state not in runs.ACTIVE:
                return session.get_one(Panic, run.panic_id), False
            panic = session.get_one(Panic, run.panic_id)
            incident = runs.incident_of(session, panic)
            step = next(s for s in runs.steps_of(session, run_id) if s.name == "bundle")
            path = step.facts.get("path")
            if incident is not None and incident.id is not None and path:
                failed = int(step.facts.get("failed") or 0)
                part = f"; {failed} could not be collected whole, and it says why" if failed else ""
                cut = [f for f in step.facts.get("cut") or [] if isinstance(f, str)]
                if cut:
                    part += f"; {len(cut)} long logs are in it in part, and the whole is in the store: "
                    part += ", ".join(code(f) for f in cut[:4]) + (" and more" if len(cut) > 4 else "")
                # Relative to the store directory, as the printer takes it.
                ref = panic_ref(panic.id)
                words = f"Evidence of {ref} ({code(panic.host)}): `manifest.json` in it lists every file and command"
                thread.say(
                    session, incident.id, f"evidence-file:{run_id}", text=f"{words}{part}.",
                    file=Path(str(path)), file_name=f"{ref}-evidence.tar.gz", now=now,
                )  # fmt: skip
            return panic, bool(path)

        panic, packed = await self.context.db.write(write)
        self.context.wake()
        if packed:
            await self._tidy(panic, run_id)

    async def discard(self, run_id: int) -> None:
        """What was collected before the run was cancelled is removed."""
        panic = await self.context.db.read(lambda s: s.get_one(Panic, s.get_one(RunbookRun, run_id).panic_id))
        await self._tidy(panic, run_id)
        await self._remove((panic_ref(panic.id), wholes_of(run_id)), run_id)
        await self.context.db.write(lambda s: forget(s, run_id))

    async def _tidy(self, panic: Panic, run_id: int) -> None:
        """Remove the loose files."""
        await self._remove(_folder(panic, run_id), run_id)

    async def _remove(self, folder: tuple[str, ...], run_id: int) -> None:
        """What cannot be removed costs room, and no bundle."""
        try:
            await asyncio.to_thread(self.store.remove_folder, folder)
        except StoreError as error:
            log.warning("evidence.not_tidied", run=run_id, folder="/".join(folder), error=str(error))


def _folder(panic: Panic, run_id: int) -> tuple[str, ...]:
    return (panic_ref(panic.id), f"evidence-{run_id}")


def _finding(
    lines: Sequence[tuple[str, str]],
    collector: Keeper,
    facts: Mapping[str, Any],
    panic: Mapping[str, Any] | None = None,
) -> StepFinding:
    state = "warn" if any(s != "ok" for s, _ in lines) else "ok"
    entries = [e.model_dump() for e in collector.entries]
    return StepFinding(state, tuple(lines), {**facts, "entries": entries}, panic=panic or {})


def _vmcoreinfo(info: VmcoreInfo, panic: Panic) -> list[tuple[str, str]]:
    """What the head of the dump tells without a vmlinux, in one line; and that it is of another kernel, if it is."""
    parts = [f"crashed {info.crash_time:%Y-%m-%d %H:%M:%S} UTC"] if info.crash_time is not None else []
    parts += [f"kernel {info.release}"] if info.release else []
    parts += [f"build id {info.build_id}"] if info.build_id else []
    parts += [f"pages of {info.page_size} bytes"] if info.page_size else []
    if not parts:
        return []
    other = bool(info.release and panic.kernel and info.release != panic.kernel)
    told = f"VMCOREINFO: {', '.join(parts)}" + (f"; {panic.kernel} was reported" if other else "")
    return [("warn" if other else "ok", told)]


def _told(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """One line for what came, one for each file that came in part, or did not."""
    whole = [e for e in entries if e.error is None and e.sha256 is not None]
    lines = []
    if whole:
        size = size_words(sum(e.size or 0 for e in whole))
        shown = ", ".join(e.file for e in whole) if len(whole) <= 4 else f"{len(whole)} files"
        lines.append(("ok", f"{shown} ({size})"))
    lines += [("ok", f"{e.file}: {e.note}") for e in entries if e.note and (e.whole or e.sha256 is None)][:8]
    lines += [("warn", f"{e.file}: {e.error}") for e in entries if e.error is not None][:8]
    return lines


def _entries(steps: Sequence[StepResult]) -> list[Entry]:
    """All entries, sorted. A step that was given up has none of its own and is one entry with its error."""
    found = []
    for step in steps:
        if step.name == "bundle":
            continue
        rows = (step.facts or {}).get("entries")
        if rows is None:
            found.append(
                Entry(file=_WHAT_COMES[step.name], error=f"not collected: {step.summary or step.state}"[:400])
            )
            continue
        found += [Entry.model_validate(row) for row in rows]
    return sorted(found, key=lambda e: (e.file, e.command or ""))
