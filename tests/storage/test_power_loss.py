"""The power goes at every fsync of a process that stores reports: what was acknowledged is there afterwards."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.storage.power import REPORTS, Op, cuts, read_record

_ROOT = Path(__file__).parents[2]


def _record(folder: Path, synchronous: str) -> list[Op]:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.storage.power", str(folder), synchronous],
        cwd=_ROOT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return read_record(folder)


def _after_power_loss(folder: Path, files: dict[str, bytearray]) -> tuple[str, set[str] | None]:
    """SQLite's own verdict on the files, and the reports in them; None when there are no tables yet."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    connection = sqlite3.connect(folder / "bot.db")
    try:
        verdict = str(connection.execute("PRAGMA integrity_check").fetchone()[0])
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'report'").fetchone():
            return verdict, None
        return verdict, {row[0] for row in connection.execute("SELECT external_id FROM report")}
    finally:
        connection.close()


def test_whenever_the_power_goes_every_acknowledged_report_is_there(tmp_path: Path) -> None:
    ops = _record(tmp_path, "FULL")
    synced = {op.name for op in ops if op.kind == "sync"}
    assert {"bot.db", "bot.db-wal"} <= synced  # commits and checkpoints, both were recorded
    seen = 0
    for begun, acknowledged, files in cuts(ops, seed=7):
        verdict, reports = _after_power_loss(tmp_path / "after", files)
        assert verdict == "ok"
        if begun:
            assert reports is not None
            assert acknowledged <= reports
            seen = max(seen, len(acknowledged))
    assert seen == REPORTS


def test_a_weaker_setting_is_found_out(tmp_path: Path) -> None:
    """With synchronous=NORMAL SQLite acknowledges commits that a power loss takes back: the replay can tell."""
    lost = set[str]()
    for begun, acknowledged, files in cuts(_record(tmp_path, "NORMAL"), seed=7):
        if begun:
            _, reports = _after_power_loss(tmp_path / "after", files)
            lost |= acknowledged - (reports or set())
    assert lost
