"""The bot's own backups: when they are due, how many stay, who is told when they fail; and what doctor says."""

from __future__ import annotations

import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bot.backup_schedule import BackupSchedule
from bot.doctor_backup import backup_findings, kept_findings
from bot.metrics import Metrics
from bot.settings import Settings
from storage import Artefact, Database, Panic
from tests.backup.conftest import NOON


def settings_of(url: str, folder: Path, keep: int = 2) -> Settings:
    return Settings.model_validate(
        {
            "database": {
                "url": url,
                "backup_dir": folder / "backups",
                "backup_every": "1d",
                "backup_keep": keep,
            },
            "store": {"dir": folder / "store"},
        }
    )


class Admins:
    def __init__(self) -> None:
        self.told: list[str] = []

    async def tell(self, _key: str, text: str) -> None:
        self.told.append(text)


async def test_daily_backups_are_thinned_and_failures_told_once(tmp_path: Path, sqlite_url: str) -> None:
    settings, admins, metrics = settings_of(sqlite_url, tmp_path), Admins(), Metrics()
    now = NOON

    def clock() -> datetime:
        return now

    schedule = BackupSchedule(settings, metrics, admins.tell, clock=clock)
    folder = tmp_path / "backups"
    folder.mkdir()
    for old in (
        "panicroom-20200101T000000Z.zip",
        "panicroom-20200102T000000Z.zip",
        "panicroom-mine.zip",
        "notes",
    ):
        (folder / old).write_bytes(b"")
    (folder / ".unfinished-0123456789abcdef").write_bytes(b"half")
    assert await schedule.step()
    names = sorted(f.name for f in folder.iterdir())
    (fresh,) = set(names) - {"notes", "panicroom-mine.zip", "panicroom-20200102T000000Z.zip"}
    assert zipfile.ZipFile(folder / fresh).testzip() is None
    assert [f.verdict for f in backup_findings(settings, NOON)] == ["ok"]

    for file in folder.glob("panicroom-2*.zip"):
        file.unlink()
    (folder / f"panicroom-{NOON:%Y%m%dT%H%M%SZ}.zip").write_bytes(b"")
    now = NOON + timedelta(hours=23)
    assert not await schedule.step()  # not due yet
    now = NOON + timedelta(days=3)
    assert [f.verdict for f in backup_findings(settings, now)] == ["warn"]  # overdue
    (tmp_path / "file").write_bytes(b"")
    broken = BackupSchedule(settings_of(sqlite_url, tmp_path / "file"), metrics, admins.tell, clock=clock)
    assert not await broken.step()
    now += timedelta(minutes=5)
    assert not await broken.step()  # not tried again yet
    now += timedelta(minutes=6)
    assert not await broken.step()
    (said,) = admins.told
    assert "failed" in said
    assert "Not a directory" in said
    failed = metrics.registry.get_sample_value("panicroom_backups_total", {"outcome": "failed"})
    assert (failed, metrics.registry.get_sample_value("panicroom_backups_total", {"outcome": "ok"})) == (2, 1)
    broken.config = settings.database
    now += timedelta(minutes=11)
    assert await broken.step()
    assert "work again" in admins.told[-1]


@pytest.mark.parametrize("there", [True, False])
def test_files_that_a_restored_database_names_are_looked_for(
    tmp_path: Path, sqlite_url: str, there: bool
) -> None:
    settings = settings_of(sqlite_url, tmp_path)
    if there:
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "bundle.tar").write_bytes(b"x")
    db = Database(sqlite_url)
    panic = db.read_now(lambda s: s.get(Panic, 1))
    assert panic is not None
    row = Artefact(panic_id=1, kind="bundle", name="bundle.tar", sha256="0" * 64, size=1, path="bundle.tar")
    db.write_now(lambda s: s.add(row))
    db.close()
    (found,) = kept_findings(settings)
    assert found.verdict == ("ok" if there else "warn")
    assert found.details == (() if there else ("P-1 bundle.tar",))


def test_without_a_directory_doctor_says_so() -> None:
    (found,) = backup_findings(Settings(), NOON)
    assert (found.verdict, found.said) == (
        "ok",
        "the bot takes none by itself: database.backup_dir is not set",
    )
