"""`panicroom ready`: as a table, as JSON lines, as CSV, and by its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.ready_table import ready_command
from storage import Database, HostReadiness
from storage.migrations import upgrade

FINDING = {
    "check": "loaded",
    "state": "not ready",
    "told": "no \x1b[31mkernel",
    "why": "",
    "mend": [],
    "link": "",
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path}/bot.db"
    upgrade(made)
    return made


def store(url: str, *rows: HostReadiness) -> None:
    db = Database(url)
    db.write_now(lambda session: session.add_all(rows))
    db.close()


def test_the_hosts_are_shown_the_worst_first(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ready_command(url, "bot.db", as_json=False, as_csv=False) == 1  # nobody was asked
    store(
        url,
        HostReadiness(host="web-1", ring="prod-1", state="ready"),
        HostReadiness(host="web-2", ring="prod-1", state="not ready", findings=[FINDING]),
    )
    capsys.readouterr()
    assert ready_command(url, "bot.db", as_json=False, as_csv=False) == 1
    shown = capsys.readouterr().out
    assert shown.index("web-2") < shown.index("web-1")
    assert "loaded: no" in shown
    assert "\x1b[31m" not in shown
    assert ready_command(url, "bot.db", as_json=True, as_csv=False) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["host"], row["state"]) for row in told] == [("web-2", "not ready"), ("web-1", "ready")]
    assert told[0]["findings"] == [FINDING]
    assert ready_command(url, "bot.db", as_json=False, as_csv=True) == 1
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_all_ready_is_status_0_and_no_database_is_2(url: str, tmp_path: Path) -> None:
    store(url, HostReadiness(host="web-1", state="ready"))
    assert ready_command(url, "bot.db", as_json=True, as_csv=False) == 0
    assert ready_command(f"sqlite:///{tmp_path}/none.db", "none.db", as_json=True, as_csv=False) == 2
