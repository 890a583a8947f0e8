"""What a step shows of an output is cut; the whole of it goes to the store, unredacted, as an artefact."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from sqlmodel import Session, select

from commands.hosts.visits import Visit, is_cut, kept_output
from integrations.ssh import CommandResult
from integrations.stores import LocalStore, Stored, StoreError
from storage import Artefact, Database, panic_ref

log = structlog.get_logger(__name__)
_KIND = "output"


class Originals:
    def __init__(self, store: LocalStore, db: Database) -> None:
        self.store = store
        self.db = db

    async def output(self, visit: Visit, name: str, done: CommandResult) -> dict[str, Any]:
        """An output as a step keeps it; where that is not all of it, `original` is the path of the whole in the
        store, with `size` and `sha256`. A store that is full costs the original, not the step."""
        kept = kept_output(done)
        if not is_cut(done):
            return kept
        parts = (panic_ref(visit.panic_id), f"{visit.kind}-{visit.run_id}", f"{name.replace(':', '-')}.txt")
        try:
            stored = await asyncio.to_thread(self.store.put, parts, done.stdout)
        except StoreError as error:
            log.error("original.lost", run=visit.run_id, output=name, error=str(error))
            return kept | {"original_lost": str(error)[:300]}
        await self.db.write(lambda s: _keep(s, visit, stored))
        return kept | {"original": stored.path, "size": stored.size, "sha256": stored.sha256}


def _keep(session: Session, visit: Visit, stored: Stored) -> None:
    """One row a file, however often the step was done again."""
    row = session.exec(
        select(Artefact).where(Artefact.run_id == visit.run_id, Artefact.path == stored.path)
    ).first()
    row = row or Artefact(
        panic_id=visit.panic_id, run_id=visit.run_id, kind=_KIND, name="", sha256="", size=0, path=stored.path
    )
    row.name, row.sha256, row.size = stored.path.rsplit("/", 1)[-1], stored.sha256, stored.size
    session.add(row)
