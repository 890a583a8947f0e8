"""`panicroom import` what it prints, how it ends, and what a kill leaves."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from typer.testing import CliRunner

from bot.cli import app
from storage import migrations
from tests.importing.conftest import dmesg_of, put

SETTINGS = """
server.shared_secrets = ["0123456789abcdef0123456789abcdef"]
slack.bot_token = "xoxb-x"
slack.signing_secret = "s"
routing.channel = "C0INCIDENTS"
"""
STAMP = "202611230532"


def imported(config: Path, *arguments: str) -> tuple[int, str, str]:
    """(exit status, what it said, its errors), in this process."""
    done = CliRunner().invoke(app, ["import", "--config", str(config), *arguments])
    return done.exit_code, done.stdout, done.stderr


def rows(cwd: Path, table: str) -> int:
    if not (cwd / "panicroom.db").exists():
        return 0
    with sqlite3.connect(f"file:{cwd}/panicroom.db?mode=ro", uri=True) as connection:
        try:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # its schema is being made


def test_what_is_printed_and_how_it_ends(tmp_path: Path) -> None:
    config = put(tmp_path / "panicroom.toml", SETTINGS)
    crash = str(tmp_path / "crash")
    put(tmp_path / "crash" / f"web-1-{STAMP}" / f"dmesg.{STAMP}", dmesg_of("null-deref"))
    put(tmp_path / "crash" / STAMP / f"dmesg.{STAMP}", dmesg_of("nmi"))
    status, out, errors = imported(config, crash, "--dry-run", "--host", "web-2")
    assert (status, errors) == (0, "")
    assert "2 would be imported." in out
    assert not (tmp_path / "panicroom.db").exists()
    status, out, errors = imported(config, crash)
    assert status == 2
    assert "NULL pointer dereference in labcrash_read_cookie" in out
    assert "P-1" in out
    assert "1 imported, 1 failed." in out
    assert errors == f"{STAMP}: no name in it says which host it is of: give --host NAME\n"
    status, out, errors = imported(config, crash, "--host", "not a host")
    assert (status, out) == (2, "")
    assert "--host must be a host name" in errors


def test_killed_in_the_middle_then_again(tmp_path: Path) -> None:
    config = put(tmp_path / "panicroom.toml", SETTINGS)
    crash = str(tmp_path / "crash")
    many, text = 230, dmesg_of("null-deref")
    for number in range(many):
        put(tmp_path / "crash" / f"web-{number}-{STAMP}" / f"dmesg.{STAMP}", text)
    migrations.upgrade(f"sqlite:///{tmp_path}/panicroom.db")
    # It does not get beyond its second batch, however late it is killed: counting that takes hours.
    hours = "SELECT count(*) FROM panic a, panic b, panic c, panic d, panic e"
    when = "BEFORE INSERT ON panic WHEN (SELECT count(*) FROM panic) >= 150"
    with closing(sqlite3.connect(tmp_path / "panicroom.db")) as database:
        database.execute(f"CREATE TRIGGER stuck {when} BEGIN {hours}; END")
    process = subprocess.Popen(
        [sys.executable, "-m", "bot.cli", "import", "-c", str(config), crash], text=True
    )
    try:
        deadline = time.monotonic() + 60
        while rows(tmp_path, "panic") == 0:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=45)
    with closing(sqlite3.connect(tmp_path / "panicroom.db")) as database:
        database.execute("DROP TRIGGER stuck")
    left = rows(tmp_path, "panic")
    assert left == rows(tmp_path, "report")
    assert 0 < left < many
    status, out, _ = imported(config, crash)
    assert status == 0
    assert f"{many - left} imported, {left} known from an earlier import." in out
    assert rows(tmp_path, "panic") == rows(tmp_path, "report") == many
