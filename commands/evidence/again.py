"""The bundle issued again: once the dump's copy is verified, a bundle says where it is and its sha256.

A bundle was packed before its dump was copied, for people should not wait for hundreds of gigabytes. What was collected
is not collected again: the files are those of the bundle in the store.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlmodel import Session, col, select

from commands.evidence import packing
from commands.evidence.contents import Entry, EvidenceConfig
from commands.hosts import runs
from commands.hosts.crashdump import size_words
from commands.incident import thread
from integrations.slack.text import code
from integrations.stores import LocalStore, StoreError
from storage import Artefact, CopyState, DumpCopy, Panic, RunbookRun, RunState, panic_ref

if TYPE_CHECKING:
    from commands.context import Context

log = structlog.get_logger(__name__)


class BundleAgain:
    """Looks for verified copies that the last bundle of their panic does not tell of."""

    def __init__(
        self, context: Context, store: LocalStore, config: EvidenceConfig, *, every: float = 5.0
    ) -> None:
        self.context = context
        self.store = store
        self.config = config
        self.every = every
        self._settled: set[int] = set()  # copies that need no other look while this process lives

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("evidence.again_failed")
            await asyncio.sleep(self.every)

    async def look(self) -> int:
        """Issues what is due; returns how many bundles that were."""
        issued = 0
        for copy_id in await self.context.db.read(self._verified):
            try:
                issued += await self._issue(copy_id)
            except (StoreError, ValueError) as error:
                log.error("evidence.not_issued_again", copy=copy_id, error=str(error))
                self._settled.add(copy_id)  # tried again at the next start
        return issued

    def _verified(self, session: Session) -> list[int]:
        found = session.exec(
            select(DumpCopy.id).where(DumpCopy.state == CopyState.VERIFIED).order_by(col(DumpCopy.id))
        ).all()
        return [i for i in found if i is not None and i not in self._settled]

    async def _issue(self, copy_id: int) -> bool:
        due = await self.context.db.read(lambda s: _due(s, copy_id))
        if due is None:
            return False
        copy, panic, run = due
        if run is None:
            self._settled.add(copy_id)
            return False
        ref = panic_ref(panic.id)
        name = _name(ref, run, copy)
        made = await asyncio.to_thread(self._pack, panic, run, copy, ref, name)
        now = self.context.clock()

        def write(session: Session) -> None:
            packing.keep_both(session, panic, run.id or 0, made)
            incident = runs.incident_of(session, panic)
            if incident is None or incident.id is None:
                return
            words = (
                f"Evidence of {ref} ({code(panic.host)}) again, now with its vmcore's verified copy: "
                f"{code(copy.place or '')}, {size_words(copy.size or 0)}, sha256 {code(copy.sha256 or '')}."
            )
            thread.say(
                session, incident.id, f"evidence-again:{run.id}:{copy.id}", text=words,
                file=Path(made.told.path), file_name=f"{ref}-evidence.tar.gz", now=now,
            )  # fmt: skip
            thread.note(
                session, incident.id, "evidence", f"bundle of {ref} issued again with the vmcore's copy",
                panic_id=panic.id, at=now,
            )  # fmt: skip

        await self.context.db.write(write)
        self.context.wake()
        self._settled.add(copy_id)
        log.info("evidence.issued_again", panic=ref, run=run.id, copy=copy_id)
        return True

    def _pack(self, panic: Panic, run: RunbookRun, copy: DumpCopy, ref: str, name: str) -> packing.Packed:
        files, manifest = packing.unpack(self.store.read(f"{ref}/{ref}-evidence-{run.id}.tar.gz"))
        entries = [Entry.model_validate(row) for row in manifest.pop("files")]
        manifest.pop("redacted", None)
        manifest["vmcore"] = {**(manifest.get("vmcore") or {}), "central": packing.central_of(copy)}
        return packing.pack(
            self.store, ref, name, manifest, entries, files,
            host=panic.host, stamp=int(run.asked_at.timestamp()), redact=self.config.redact,
        )  # fmt: skip


def _name(ref: str, run: RunbookRun, copy: DumpCopy) -> str:
    return f"{ref}-evidence-{run.id}-copy-{copy.id}"


def _due(session: Session, copy_id: int) -> tuple[DumpCopy, Panic, RunbookRun | None] | None:
    """None while nothing can be said yet; without a run where nothing is to be done for this copy."""
    copy = session.get_one(DumpCopy, copy_id)
    panic = session.get_one(Panic, copy.panic_id)
    newest = packing.verified_copy(session, copy.panic_id)
    if newest is None or newest.id != copy_id:
        return copy, panic, None
    run = session.exec(
        select(RunbookRun)
        .where(RunbookRun.panic_id == panic.id, RunbookRun.kind == "evidence")
        .order_by(col(RunbookRun.id).desc())
        .limit(1)
    ).first()
    if run is None or run.state in runs.ACTIVE:
        return None  # a bundle that is yet to come tells of the copy itself
    bundle = next((s for s in runs.steps_of(session, run.id or 0) if s.name == "bundle"), None)
    facts = (bundle.facts or {}) if bundle is not None else {}
    if run.state is RunState.CANCELLED or not facts.get("path") or facts.get("copy") == copy_id:
        return copy, panic, None
    known = select(Artefact.id).where(
        Artefact.panic_id == panic.id,
        Artefact.name == f"{_name(panic_ref(panic.id), run, copy)}.tar.gz",
    )
    return copy, panic, run if session.exec(known).first() is None else None
