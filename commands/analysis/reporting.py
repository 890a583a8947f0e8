"""The report of an analysis as an artefact, and in the panic's thread."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from sqlmodel import Session, select

from commands.hosts import runs
from commands.incident import thread
from integrations.slack.text import code
from integrations.stores import Stored
from storage import Artefact, Panic, panic_ref

KIND = "analysis"


def attach_report(
    session: Session,
    panic: Panic,
    key: str,
    kept: tuple[Stored, Stored],
    words: str,
    now: datetime,
    run_id: int | None = None,
) -> None:
    """The report's rows, and the redacted one as a file in the panic's thread. Once for each key."""
    whole, told = kept
    known = session.exec(select(Artefact.id).where(Artefact.path == whole.path)).first()
    if known is None:
        session.add(
            Artefact(
                panic_id=panic.id or 0, run_id=run_id, kind=KIND, name=whole.path.rpartition("/")[2],
                sha256=whole.sha256, size=whole.size, path=whole.path,
            )
        )  # fmt: skip
    incident = runs.incident_of(session, panic)
    if incident is None or incident.id is None:
        return
    ref = panic_ref(panic.id)
    thread.say(
        session, incident.id, key,
        text=f"Analysis of {ref} ({code(panic.host)}): backtraces of all CPUs, blocked tasks, memory",
        file=Path(told.path), file_name=f"{ref}-analysis.txt", now=now,
    )  # fmt: skip
