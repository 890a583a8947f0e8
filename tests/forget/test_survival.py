"""kill -9 in the middle of an erasure: the next process finishes it, and says so once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlmodel import Session, SQLModel, select

from storage import AuditEntry, Database, Erasure, ErasureStage, ErasureState
from tests.forget.conftest import HOST, OTHER, PLANTED
from tests.forget.test_postgres import NOW, prepare
from tests.forks import Script, run_file

SCRIPT = Path(__file__).with_name("bot_process.py")
pytestmark = pytest.mark.timeout(150)


async def said(process: Script, word: str) -> None:
    while True:
        line = await process.line()
        assert line, "the process ended"
        if line.strip() == word:
            return


def seen(folder: Path) -> str:
    return "\n".join(p.read_bytes().decode("latin-1") for p in folder.rglob("*") if p.is_file()).lower()


@pytest.mark.parametrize(
    ("where", "stage"),
    [("central", ErasureStage.OUTSIDE), ("rows", ErasureStage.NAMES), ("pages", ErasureStage.PAGES)],
)
async def test_killed(tmp_path: Path, where: str, stage: ErasureStage) -> None:
    folder = tmp_path / "central" / f"P-1-{HOST}-0123456789ab"
    folder.mkdir(parents=True)
    (folder / "vmcore.part-000001").write_text(PLANTED)
    (tmp_path / "store" / "panics" / "P-1").mkdir(parents=True)
    (tmp_path / "store" / "panics" / "P-1" / "x.txt").write_text(PLANTED)
    db = Database(f"sqlite:///{tmp_path}/bot.db")
    SQLModel.metadata.create_all(db.engine)

    def fill(session: Session) -> None:
        prepare(session)
        from storage import DumpCopy

        for copy in session.exec(select(DumpCopy)):
            copy.place = folder.as_uri()
        row = session.get_one(Erasure, 1)
        row.confirmed_by, row.confirmed_at = "U0SECOND", NOW

    db.write_now(fill)
    first = run_file(SCRIPT, str(tmp_path), where)
    second = None
    try:
        await asyncio.wait_for(said(first, where), 60)
        first.kill()
        await first.wait()
        row = db.read_now(lambda s: s.get_one(Erasure, 1))
        assert (row.state, row.stage) == (ErasureState.CONFIRMED, stage)
        assert not folder.exists()
        db.engine.dispose()
        second = run_file(SCRIPT, str(tmp_path))
        await asyncio.wait_for(said(second, "done"), 60)
        await second.wait()
    finally:
        for process in (first, second):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
    row = db.read_now(lambda s: s.get_one(Erasure, 1))
    assert row.state is ErasureState.DONE
    assert row.record["gone"]["central"] == 1
    told = db.read_now(lambda s: list(s.exec(select(AuditEntry).where(AuditEntry.verb == "forget.done"))))
    assert len(told) == 1
    db.close()
    left = seen(tmp_path)
    assert PLANTED.lower() not in left
    assert HOST not in left.replace(OTHER, "")
