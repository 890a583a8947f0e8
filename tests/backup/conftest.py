from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session

from bot.backups import backup_now, make_workflow_tables, workflow_tables
from storage import AuditEntry, Database, Host, Incident, Panic, Report, Signature, TimelineEntry
from storage.backup import Taken
from storage.backup_restore import Restored, restore_backup
from storage.migrations import upgrade
from tests.support_postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)


def fill(session: Session) -> None:
    """A row of each sort that is easily lost: long text, quotes, no value, null in JSON, fractions, truths."""
    session.add(
        Signature(key="oops|nvme_irq", kind="oops", title='"nvme" \\ \n\t☃', first_seen=NOON, last_seen=NOON)
    )
    incident = Incident(signature_key="oops|nvme_irq", title="a", channel="C0INCIDENTS", opened_at=NOON)
    session.add(incident)
    session.flush()
    session.add(Incident(signature_key="oops|nvme_irq", title="b", channel="C0", previous_id=incident.id))
    panic = Panic(
        host="web-17", occurred_at=NOON, title="NULL pointer dereference in nvme_irq", signature_key="oops|nvme_irq",
        frames=["nvme_irq", "b\\n"], uptime_seconds=0.1, deliberate=False, head_lost=True, dump_size=2**40,
        incident_id=incident.id, text="x" * 100_000, crash_lines="\\N\t\r\n", kind="null_deref",
    )  # fmt: skip
    session.add(panic)
    session.flush()
    for number in range(1500):
        body = {"text": 'é"\\', "n": None, "number": number}
        session.add(Report(external_id=f"r-{number}", host="web-17", body=body, panic_id=panic.id))
    session.add(TimelineEntry(incident_id=incident.id or 0, panic_id=panic.id, verb="opened", at=NOON))
    session.add(Host(name="web-17", in_inventory=True, first_seen=NOON - timedelta(days=900)))
    session.add(AuditEntry(actor="U0ONCALL", verb="ack", outcome="done", at=NOON))


def filled(url: str, more: Callable[[Session], None] = lambda _session: None) -> str:
    """A database of this version with `fill`'s rows, and workflow tables beside."""
    upgrade(url)
    make_workflow_tables(workflow_tables(url).url)
    db = Database(url)
    db.write_now(fill)
    db.write_now(more)
    db.close()
    return url


def restored(file: Path, url: str, *, replacing: bool = False) -> Restored:
    return restore_backup(
        file, url, workflow_tables(url), make_workflows=make_workflow_tables, replace=replacing,
        clock=lambda: NOON + timedelta(hours=1),
    )  # fmt: skip


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    """A filled database and its backup, made once: DBOS's migrations take their time."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "backups").mkdir()
    return backup_now(filled(f"sqlite:///{folder}/panicroom.db"), folder / "backups", clock=lambda: NOON)


@pytest.fixture
def sqlite_url(tmp_path: Path, template: Taken) -> str:
    """A filled database of the test's own."""
    (tmp_path / "bot").mkdir()
    for file in template.path.parents[1].glob("*.db"):
        shutil.copy(file, tmp_path / "bot")
    return f"sqlite:///{tmp_path}/bot/panicroom.db"


@pytest.fixture
def taken(tmp_path: Path, template: Taken) -> Taken:
    (tmp_path / "backups").mkdir()
    return replace(template, path=Path(shutil.copy(template.path, tmp_path / "backups")))
