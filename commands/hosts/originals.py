"""What a step shows of an output is cut; the whole of it goes to the store, unredacted, as an artefact."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from sqlmodel import Session, col, delete, select

from commands.hosts import cutting
from commands.hosts.cutting import Cut, Sort, sort_of
from commands.hosts.visits import Visit, is_cut, kept_output
from integrations.ssh import CommandResult
from integrations.stores import LocalStore, Stored, StoreError
from storage import Artefact, Database, panic_ref

log = structlog.get_logger(__name__)
_KIND = "output"
_KEPT: Mapping[Sort, int] = {"journal": cutting.MIB, "dmesg": 256 * 1024}  # bytes of a log that a step keeps


class Originals:
    def __init__(self, store: LocalStore, db: Database) -> None:
        self.store = store
        self.db = db

    async def output(
        self, visit: Visit, name: str, done: CommandResult, *, sort: Sort | None = None
    ) -> dict[str, Any]:
        """An output as a step keeps it: of a journal its last MiB, of a dmesg the crash and its context (`sort`: which
        it is, where the command does not say), of anything else beginning and end.

        Where that is not all of it, `original` is the path of the whole in the store, with `size` and `sha256`; of a
        log, `cut` says what is kept. A store that is full costs the original, not the step.
        """
        sort = sort or sort_of(done.argv)
        log_cut: Cut | None = None
        if sort is not None:
            log_cut = await asyncio.to_thread(cutting.cut, sort, done.stdout, _KEPT[sort])
            kept = kept_output(replace(done, stdout=log_cut.data), most=cutting.MIB)
            if log_cut.told is None:
                return kept
            kept["cut"] = f"{name}: {log_cut.told}{came(done)}"
        else:
            kept = kept_output(done)
            if not is_cut(done):
                return kept
        try:
            stored = await self.keep(visit, f"{visit.kind}-{visit.run_id}", f"{_file(name)}.txt", done.stdout)
        except StoreError as error:
            log.error("original.lost", run=visit.run_id, output=name, error=str(error))
            return kept | {"original_lost": str(error)[:300]}
        return kept | {"original": stored.path, "size": stored.size, "sha256": stored.sha256}

    async def keep(self, visit: Visit, folder: str, name: str, data: bytes) -> Stored:
        """The whole, as a file below the panic's folder and an artefact of the run. Raises a StoreError."""
        stored = await asyncio.to_thread(self.store.put, (panic_ref(visit.panic_id), folder, name), data)
        await self.db.write(lambda s: _keep(s, visit, stored))
        return stored


def came(done: CommandResult) -> str:
    """`; the host had more` where what came was not all there is; nothing else counts as the whole."""
    if not done.truncated:
        return ""
    had = f"{done.total} bytes" if done.total is not None else "more"
    return f"; the host had {had}, {len(done.stdout)} of them were taken"


def cut_lines(outputs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What people are told of logs that are kept in part, and where the whole of each is."""
    return [("ok", f"{output['cut']}; {_where(output)}") for output in outputs if output.get("cut")]


def _where(output: Mapping[str, Any]) -> str:
    if output.get("original"):
        return f"the whole is {output['original']} in the store"
    return f"the whole could not be kept ({output.get('original_lost', 'the store refused it')})"


def _file(name: str) -> str:
    return name.replace(":", "-").replace("/", "-")


def forget(session: Session, run_id: int) -> None:
    """The rows of a run's originals, whose files are removed."""
    session.execute(delete(Artefact).where(col(Artefact.run_id) == run_id, col(Artefact.kind) == _KIND))


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
