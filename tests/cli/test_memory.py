"""`panicroom list` and `panicroom show`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session

from storage import (
    ChangeLink,
    Database,
    DumpState,
    Incident,
    IncidentState,
    Panic,
    RunbookRun,
    RunState,
    SlackMessage,
    StepResult,
    TimelineEntry,
    migrations,
    utc_now,
)
from tests.cli.test_cli import LEAST
from tests.forks import panicroom

EVIL = "web-evil\x1b]0;owned\x07\x1b[2J[bold]<!channel>"
AT = datetime(2026, 11, 20, 9, 14, 7, tzinfo=UTC)


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A directory with settings and a database of three panics."""
    (tmp_path / "panicroom.toml").write_text(LEAST)
    url = f"sqlite:///{tmp_path}/panicroom.db"
    migrations.upgrade(url)
    db = Database(url)
    db.write_now(_fill)
    db.close()
    return tmp_path


def _fill(session: Session) -> None:
    incident = Incident(
        signature_key="null_deref:nvme_irq", title="t", channel="C0INCIDENTS", state=IncidentState.RESOLVED,
        cause="bad DIMM", fixed_by="replaced",
    )  # fmt: skip
    session.add(incident)
    session.flush()
    session.add(SlackMessage(key=f"incident:{incident.id}", channel="C0INCIDENTS", ts="1.2"))
    for n, (host, kernel, hardware) in enumerate(
        [("web-17", "6.1.0-31", "PowerEdge R640"), ("db-3", "5.14.0", None), (EVIL, "6.1.0-31", None)]
    ):
        session.add(
            Panic(
                host=host, kernel=kernel, hardware=hardware, occurred_at=AT + timedelta(hours=n),
                kind="null_deref", title=f"NULL pointer dereference {n}", signature_key="null_deref:nvme_irq",
                frames=["nvme_irq", "handle_irq"], incident_id=incident.id if n == 0 else None,
                dump_state=DumpState.COMPLETE, dump_size=312_000_000, dump_path="/var/crash/1/dump",
                crash_lines="BUG: kernel NULL\x1b[31m pointer\nRIP: nvme_irq", text="all of it",
            )
        )  # fmt: skip
    session.flush()
    run = RunbookRun(panic_id=1, workflow_id="w", state=RunState.DONE, asked_by="U0ONCALL")
    session.add(run)
    session.flush()
    session.add(
        StepResult(run_id=run.id or 0, name="dump", title="The dump", state="ok", summary="there is one")
    )
    session.add(
        ChangeLink(panic_id=1, key="OPS-1182", state="linked", linked_by="U0ONCALL", summary="Kernel")
    )
    session.add(TimelineEntry(incident_id=incident.id or 0, verb="opened", text="opened by a report"))


def test_a_list_for_people(where: Path) -> None:
    done = panicroom("list", cwd=where)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["panic", "P-3", "P-2", "P-1"]
    for fact in (
        "2026-11-20 09:14:07Z",
        "web-17",
        "6.1.0-31",
        "NULL pointer dereference 0",
        "I-1 resolved",
        "312 MB",
    ):
        assert fact in lines[3]
    assert "\x1b" not in done.stdout
    assert "[bold]<!channel>" in lines[1]


def test_a_list_for_machines(where: Path) -> None:
    done = panicroom("list", "--json", cwd=where)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == ["P-3", "P-2", "P-1"]
    assert rows[0]["host"] == EVIL
    assert rows[2] == {
        "id": "P-1", "host": "web-17", "occurred_at": "2026-11-20T09:14:07+00:00", "kernel": "6.1.0-31",
        "kind": "null_deref", "title": "NULL pointer dereference 0", "signature": "null_deref:nvme_irq",
        "ring": None, "hardware": "PowerEdge R640", "deliberate": False,
        "dump": {"state": "complete", "size": 312_000_000}, "incident": "I-1", "state": "resolved",
        "message": {"channel": "C0INCIDENTS", "ts": "1.2"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["host:web-1*"], ["P-1"]),
        (["kernel:6.1.*", "state:none"], ["P-3"]),
        (["hw:PowerEdge R640"], ["P-1"]),
        (['hw:"PowerEdge R640"'], ["P-1"]),
        (["hw: PowerEdge", "kernel:6.1.*"], ["P-1"]),
        (["host:db-* kernel:5.14.*"], ["P-2"]),
        (["pointer dereference 1"], ["P-2"]),
        (["sig:P-2", "since:2026-11-20T10:00Z"], ["P-3", "P-2"]),
        (["host:nobody"], []),
    ],
)
def test_filters_as_in_slack(where: Path, filters: list[str], found: list[str]) -> None:
    done = panicroom("list", "--json", *filters, cwd=where)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == found
    assert (done.returncode, done.stderr) == (0 if found else 1, "")


def test_nothing_found_is_said_to_people(where: Path) -> None:
    done = panicroom("list", "host:nobody", cwd=where)
    assert (done.returncode, done.stdout) == (1, "No panic matches.\n")


@pytest.mark.parametrize(
    "wrong", ["hots:web-1", "since:soonish", "kind:nonsense", 'hw:"open', "state:perhaps"]
)
def test_a_wrong_filter_is_told_with_an_example(where: Path, wrong: str) -> None:
    done = panicroom("list", wrong, cwd=where)
    assert (done.returncode, done.stdout) == (2, "")
    assert "panicroom list" in done.stderr
    assert "`" not in done.stderr
    assert "/panic" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_limit_counts_what_it_leaves_out(where: Path) -> None:
    done = panicroom("list", "--limit", "2", cwd=where)
    assert "2 of 3; --limit 3 shows all" in done.stdout
    assert "P-1 " not in done.stdout
    done = panicroom("list", "--json", "--limit", "1", cwd=where)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["P-3"]


def test_more_than_a_page_of_them(where: Path) -> None:
    def more(session: Session) -> None:
        for n in range(1200):
            session.add(
                Panic(host=f"h-{n}", occurred_at=utc_now(), kind="oops", title="Oops", signature_key="oops:x")
            )

    db = Database(f"sqlite:///{where}/panicroom.db")
    db.write_now(more)
    db.close()
    done = panicroom("list", "--json", cwd=where)
    ids = [json.loads(line)["id"] for line in done.stdout.splitlines()]
    assert (len(ids), len(set(ids))) == (1203, 1203)


def test_one_for_people(where: Path) -> None:
    done = panicroom("show", "p1", cwd=where)
    assert (done.returncode, done.stderr) == (0, "")
    for fact in (
        "P-1", "web-17", "NULL pointer dereference 0", "6.1.0-31", "nvme_irq < handle_irq", "complete 312 MB",
        "I-1 resolved", "bad DIMM; fixed by replaced", "RIP: nvme_irq", "The dump: there is one", "OPS-1182",
        "opened by a report",
    ):  # fmt: skip
        assert fact in done.stdout, fact
    done = panicroom("show", "P-3", cwd=where)
    assert "[bold]<!channel>" in done.stdout
    assert "\x1b" not in done.stdout


def test_one_for_machines(where: Path) -> None:
    done = panicroom("show", "P-1", "--json", cwd=where)
    (line,) = done.stdout.splitlines()
    shown = json.loads(line)
    assert (shown["id"], shown["incident_id"], shown["panic"]["text"]) == ("P-1", "I-1", "all of it")
    assert done.returncode == 0


@pytest.mark.parametrize(("panic", "status"), [("P-99", 1), ("41", 2), ("I-1", 2), ("\x1b[2J", 2)])
def test_one_that_is_not_there(where: Path, panic: str, status: int) -> None:
    for options in ([], ["--json"]):
        done = panicroom("show", panic, *options, cwd=where)
        assert (done.returncode, done.stdout) == (status, "")
        assert "panicroom " in done.stderr
        assert "\x1b" not in done.stderr


@pytest.mark.parametrize("command", [["list"], ["show", "P-1"]])
def test_a_database_that_cannot_be_read(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "panicroom.toml").write_text(LEAST)
    done = panicroom(*command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the bot has not run with these settings yet" in done.stderr
    assert not (tmp_path / "panicroom.db").exists()
    (tmp_path / "panicroom.db").write_text("no database at all " * 500)
    done = panicroom(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "file is not a database" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "panicroom.db").write_text("")
    done = panicroom(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "panicroom db upgrade" in done.stderr


def test_top_for_people_and_machines(where: Path) -> None:
    done = panicroom("top", "by", "kernel", "since:3650d", "--json", cwd=where)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["by"], found["panics"], found["values"]) == ("kernel", 3, 2)
    assert found["rows"][0] == {"value": "6.1.0-31", "panics": 2, "hosts": 2, "title": None}
    told = panicroom("top", "by:host", "since:3650d", "--limit", "1", cwd=where)
    assert told.returncode == 0
    assert "2 more" in told.stdout
    assert "\x1b" not in told.stdout
    wrong = panicroom("top", "ring:prod", cwd=where)
    assert wrong.returncode == 2
    assert "panicroom top by kernel" in wrong.stderr


def test_an_export_is_csv_and_says_when_it_is_cut(where: Path) -> None:
    done = panicroom("export", "sort:oldest", "--limit", "2", cwd=where)
    assert done.returncode == 0
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["panic", "P-1", "P-2"]
    assert "cut at 2 panics" in done.stderr
    assert panicroom("export", "host:nobody", cwd=where).returncode == 1
    assert panicroom("export", "sort:size", cwd=where).returncode == 2
