"""What goes into a backup comes out of it, on either database; what cannot be put back is refused untouched."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlmodel import Session, col, select

from bot.backups import backup_now, workflow_tables
from storage import AuditEntry, Database, Host, Incident, Panic, Report
from storage.backup import Taken
from storage.backup_format import BackupBroken, BackupFailed, BackupTooNew, open_backup
from storage.backup_lock import DatabaseInUse, hold
from storage.backup_restore import DatabaseNotEmpty
from storage.migrations import check, upgrade
from tests.backup.conftest import NOON, filled, restored


def lines(file: Path) -> dict[str, list[str]]:
    """Every part's rows, sorted, without the audit row that a restore adds."""
    with zipfile.ZipFile(file) as archive:
        return {
            name: sorted(
                line for line in archive.read(name).decode().splitlines() if '"db.restore"' not in line
            )
            for name in archive.namelist()
            if name != "manifest.json"
        }


def columns(file: Path) -> dict[str, tuple[str, ...]]:
    with open_backup(file) as backup:
        return {part.name: tuple(sorted(part.columns)) for part in backup.manifest.parts if part.rows}


def plant_workflow(url: str) -> None:
    """A workflow under way with one checkpoint, as DBOS keeps it."""
    place = workflow_tables(url)
    prefix = f"{place.schema}." if place.schema else ""
    db = Database(place.url)
    with db.engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO {prefix}workflow_status (workflow_uuid, status, name, created_at, updated_at, inputs) "
                "VALUES ('triage-1', 'PENDING', 'triage.run', 1, 2, 'gASV')"
            )
        )
        connection.execute(
            text(
                f"INSERT INTO {prefix}operation_outputs (workflow_uuid, function_id, function_name, output) "
                "VALUES ('triage-1', 1, 'triage.boot', 'gASV')"
            )
        )
    db.close()


def test_there_and_back_between_the_databases(tmp_path: Path, sqlite_url: str, postgres_url: str) -> None:
    plant_workflow(sqlite_url)
    first = backup_now(sqlite_url, tmp_path / "first.zip")
    assert first.manifest.workflows_revision is not None
    done = restored(first.path, postgres_url)
    assert (done.kept, done.altered, done.manifest.rows) == ([], 0, first.manifest.rows)
    assert check(postgres_url) == []
    second = backup_now(postgres_url, tmp_path / "second.zip")
    restored(second.path, f"sqlite:///{tmp_path}/again.db")
    third = backup_now(f"sqlite:///{tmp_path}/again.db", tmp_path / "third.zip")
    assert lines(first.path) == lines(third.path)
    assert columns(first.path) == columns(second.path)
    assert '"triage-1"' in lines(second.path)["workflows/workflow_status.jsonl"][0]

    db = Database(postgres_url)
    with Session(db.engine) as session:
        panic = session.exec(select(Panic)).one()
        assert (panic.occurred_at, panic.dump_size, panic.uptime_seconds) == (NOON, 2**40, 0.1)
        assert (panic.deliberate, panic.head_lost, panic.crash_lines) == (False, True, "\\N\t\r\n")
        assert session.exec(select(Host.in_inventory)).one() is True
        assert session.execute(text("SELECT count(*) FROM panic_place")).scalar()  # derived anew
        fresh = Report(external_id="new", host="web-18")
        session.add(fresh)
        session.flush()
        assert fresh.id == 1501
    db.close()


def test_the_file_is_private_whole_and_overwrites_nothing(
    taken: Taken, tmp_path: Path, sqlite_url: str
) -> None:
    assert taken.path.name == "panicroom-20261123T120000Z.zip"
    assert stat.S_IMODE(taken.path.stat().st_mode) == 0o600
    before = taken.path.read_bytes()
    with pytest.raises(FileExistsError):
        backup_now(sqlite_url, taken.path)
    with pytest.raises(FileExistsError):
        backup_now(sqlite_url, tmp_path / "backups", clock=lambda: NOON)
    assert taken.path.read_bytes() == before
    assert [f.name for f in taken.path.parent.iterdir()] == [taken.path.name]


def test_what_is_committed_after_the_snapshot_is_not_in_it(tmp_path: Path, sqlite_url: str) -> None:
    db = Database(sqlite_url)

    def commit_and_tell() -> object:
        db.write_now(lambda s: s.add(Report(external_id="later", host="web-17")))
        return NOON

    taken = backup_now(sqlite_url, tmp_path / "b.zip", clock=commit_and_tell)  # type: ignore[arg-type]
    db.close()
    assert not any('"later"' in line for line in lines(taken.path)["panicroom/report.jsonl"])


def test_replacing_keeps_the_old_one_beside(taken: Taken, tmp_path: Path, sqlite_url: str) -> None:
    db = Database(sqlite_url)
    db.write_now(lambda s: s.add(Report(external_id="after the backup", host="web-17")))
    db.close()
    with pytest.raises(DatabaseNotEmpty, match="--replace"):
        restored(taken.path, sqlite_url)
    done = restored(taken.path, sqlite_url, replacing=True)
    file = Path(done.kept[-1])
    assert file == tmp_path / "bot" / "panicroom.db.before-20261123130000"
    assert len(done.kept) == 2  # the workflows, too
    with sqlite3.connect(file) as old:
        assert old.execute("SELECT count(*) FROM report").fetchone() == (1501,)
    db = Database(sqlite_url)
    assert len(db.read_now(lambda s: s.exec(select(Report.id)).all())) == 1500
    (row,) = db.read_now(lambda s: s.exec(select(AuditEntry).where(AuditEntry.verb == "db.restore")).all())
    assert json.loads(row.detail) == {"taken_at": NOON.isoformat(), "newest_report": 1500}
    db.close()
    assert check(sqlite_url) == []
    assert stat.S_IMODE((tmp_path / "bot" / "panicroom.db").stat().st_mode) == 0o600


def test_replacing_in_postgresql_keeps_the_old_schema(
    taken: Taken, tmp_path: Path, postgres_url: str
) -> None:
    """And a failure in the midst of it leaves all as it was."""
    filled(postgres_url, lambda s: s.add(Report(external_id="mine", host="web-17")))
    plant_workflow(postgres_url)
    with pytest.raises(DatabaseNotEmpty):
        restored(taken.path, postgres_url)

    def lie(told: dict[str, object]) -> dict[str, object]:
        for part in told["parts"]:  # type: ignore[attr-defined]
            if part["table"] == "timeline_entry":
                part["columns"][-1] = "no_such_column"
        return told

    with pytest.raises(BackupFailed, match="no_such_column"):
        restored(rewritten(taken.path, tmp_path / "lying.zip", lie), postgres_url, replacing=True)
    db = Database(postgres_url)
    reports, workflows = "SELECT count(*) FROM {}report", "SELECT count(*) FROM {}.workflow_status"
    with db.engine.connect() as connection:
        assert connection.execute(text(reports.format(""))).scalar() == 1501
        assert connection.execute(text(workflows.format("dbos"))).scalar() == 1
        assert not [n for n in inspect(connection).get_schema_names() if "before" in n]

    done = restored(taken.path, postgres_url, replacing=True)
    assert done.kept == ["schema before_20261123130000", "schema dbos_before_20261123130000"]
    with db.engine.connect() as connection:
        assert connection.execute(text(workflows.format("dbos_before_20261123130000"))).scalar() == 1
        assert connection.execute(text(workflows.format("dbos"))).scalar() == 0
        assert connection.execute(text(reports.format("before_20261123130000."))).scalar() == 1501
        assert connection.execute(text(reports.format(""))).scalar() == 1500
    db.close()
    assert check(postgres_url) == []


def rewritten(file: Path, target: Path, change: object) -> Path:
    """The backup with a manifest that was changed by somebody who knows how it is signed."""
    import hashlib

    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            raw = old.read(name)
            if name == "manifest.json":
                raw = json.dumps(change(json.loads(raw))).encode()  # type: ignore[operator]
                new.comment = b"panicroom-backup sha256:" + hashlib.sha256(raw).hexdigest().encode()
            new.writestr(name, raw)
    return target


def test_a_newer_backup_is_refused(taken: Taken, tmp_path: Path) -> None:
    newer = rewritten(taken.path, tmp_path / "n.zip", lambda told: {**told, "revision": "9999"})
    with pytest.raises(BackupTooNew, match="9999"):
        restored(newer, f"sqlite:///{tmp_path}/new.db")
    later = rewritten(taken.path, tmp_path / "w.zip", lambda told: {**told, "workflows_revision": 10**6})
    with pytest.raises(BackupTooNew, match="DBOS"):
        restored(later, f"sqlite:///{tmp_path}/new.db")
    format_2 = rewritten(taken.path, tmp_path / "f.zip", lambda told: {**told, "format": 2})
    with pytest.raises(BackupTooNew, match="format"):
        restored(format_2, f"sqlite:///{tmp_path}/new.db")
    assert not (tmp_path / "new.db").exists()


def test_a_broken_part_is_named_and_nothing_is_touched(taken: Taken, tmp_path: Path) -> None:
    raw = bytearray(taken.path.read_bytes())
    with zipfile.ZipFile(taken.path) as archive:
        info = archive.getinfo("panicroom/report.jsonl")
    place = info.header_offset + 200
    raw[place : place + 40] = os.urandom(40)
    (tmp_path / "broken.zip").write_bytes(raw)
    with pytest.raises(BackupBroken, match=r"panicroom/report\.jsonl"):
        restored(tmp_path / "broken.zip", f"sqlite:///{tmp_path}/new.db")
    for cut in (0, 10, len(raw) // 2, len(raw) - 1):
        (tmp_path / "cut.zip").write_bytes(taken.path.read_bytes()[:cut])
        with pytest.raises(BackupBroken):
            restored(tmp_path / "cut.zip", f"sqlite:///{tmp_path}/new.db")
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_running_bot_is_left_alone(
    taken: Taken, tmp_path: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    url = (
        f"sqlite:///{tmp_path}/new.db"
        if backend == "sqlite"
        else str(request.getfixturevalue("postgres_url"))
    )
    one = hold(url)
    if backend == "sqlite":
        with pytest.raises(DatabaseInUse, match="another bot runs on it"):
            hold(url)
    else:
        hold(url).release()
    with pytest.raises(DatabaseInUse, match="Stop the bot"):
        restored(taken.path, url)
    one.release()
    alone = hold(url, alone=True)
    with pytest.raises(DatabaseInUse, match="restore"):
        hold(url)
    alone.release()
    restored(taken.path, url)


def test_a_program_that_reads_the_old_file_is_not_robbed(
    taken: Taken, tmp_path: Path, sqlite_url: str
) -> None:
    db = Database(sqlite_url)
    with db.engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT count(*) FROM report")).scalar()
        db.write_now(lambda s: s.add(Host(name="db-1")))
        with pytest.raises(DatabaseInUse, match="another program"):
            restored(taken.path, sqlite_url, replacing=True)
    assert len(db.read_now(lambda s: s.exec(select(col(Incident.id))).all())) == 2
    db.close()


def test_an_empty_schema_is_no_obstacle(taken: Taken, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    upgrade(url)
    done = restored(taken.path, url)
    assert done.after == done.before
    assert timedelta(0) < timedelta(seconds=done.seconds)
