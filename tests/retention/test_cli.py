"""`panicroom retention` at a terminal."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, select

from storage import (
    CopyCare,
    CopyState,
    Database,
    DumpCopy,
    DumpPart,
    Panic,
    RetentionRun,
    SlackMessage,
    migrations,
    utc_now,
)  # fmt: skip
from tests.cli.test_cli import LEAST
from tests.forks import panicroom

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A directory with settings, a store, and a copy that is past its term."""
    (tmp_path / "central" / "P-1-web-17-abc").mkdir(parents=True)
    (tmp_path / "central" / "P-1-web-17-abc" / "vmcore.part-000001").write_bytes(b"x" * 1000)
    url = (tmp_path / "central").as_uri()
    (tmp_path / "panicroom.toml").write_text(f'{LEAST}\n[central]\nurl = "{url}"\nbudget = "10MB"\n')
    migrations.upgrade(f"sqlite:///{tmp_path}/panicroom.db")
    db = Database(f"sqlite:///{tmp_path}/panicroom.db")
    now = utc_now()

    def fill(session: Session) -> None:
        panic = Panic(host="web-17", ring="canary", occurred_at=now, title="t", signature_key="s")
        session.add(panic)
        session.flush()
        copy = DumpCopy(
            panic_id=panic.id or 0, workflow_id="w", host="web-17", asked_by="U0ONCALL", state=CopyState.VERIFIED,
            size=1000, place=f"{url}/P-1-web-17-abc", sha256="0" * 64, verified_at=now,
        )  # fmt: skip
        session.add(copy)
        session.flush()
        session.add(DumpPart(copy_id=copy.id or 0, number=1, size=1000, sha256="0" * 64))
        session.add(CopyCare(copy_id=copy.id or 0, term_from=now - timedelta(days=40), verified=True))
        session.add(SlackMessage(key="m", channel="C0", ts=f"{now.timestamp():.6f}"))

    db.write_now(fill)
    db.close()
    return tmp_path


def test_it_shows_and_writes_nothing(where: Path) -> None:
    done = panicroom("retention", cwd=where)
    assert (done.returncode, done.stderr) == (0, "")
    assert "central   1.0 kB of 10.0 MB in 1 copies" in done.stdout
    assert "remove  P-1     central    1.0 kB web-17  40 d old: the hard end of 30 d" in done.stdout
    told = json.loads(panicroom("retention", "--json", cwd=where).stdout)
    assert (told["central"]["by_ring"], told["budget"], told["clock_trusted"]) == (
        {"canary": 1000},
        10**7,
        True,
    )
    (item,) = told["items"]
    assert (item["panic"], item["where"], item["remove"], item["rule"]) == ("P-1", "central", True, "age")
    assert told["swept"] is None
    assert (where / "central" / "P-1-web-17-abc").exists()


def test_run_removes_what_is_to_go(where: Path) -> None:
    done = panicroom("retention", "--run", "--json", cwd=where)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["swept"]["states"] == {"removed": 1}
    assert told["swept"]["freed"] == {"central": 1000, "local": 0}
    assert told["items"] == []
    assert list((where / "central").iterdir()) == []
    db = Database(f"sqlite:///{where}/panicroom.db")
    run = db.read_now(lambda s: s.exec(select(RetentionRun)).one())
    db.close()
    assert run.asked_by.startswith("terminal:")
    assert "nothing to remove" in panicroom("retention", "--run", cwd=where).stdout


def test_without_a_database_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "panicroom.toml").write_text(LEAST)
    done = panicroom("retention", cwd=tmp_path)
    assert done.returncode == 2
    assert "has not run with these settings yet" in done.stderr
    assert not (tmp_path / "panicroom.db").exists()
