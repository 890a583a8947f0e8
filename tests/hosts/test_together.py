"""Writes of many runs in one commit: each is on the disk when it returns, and a bad one takes back itself alone."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, select

from commands.hosts.together import Together
from storage import AuditEntry, Database, SlackRequest


def request(name: str) -> SlackRequest:
    return SlackRequest(dedupe=name, kind="command", body="{}")


@pytest.fixture
def db(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path}/t.db")
    SQLModel.metadata.create_all(made.engine)
    return made


async def test_many_writes_are_few_commits_and_a_bad_one_harms_no_other(db: Database) -> None:
    together, commits = Together(db), 0

    @event.listens_for(db.engine, "commit")
    def _count(_connection: object) -> None:
        nonlocal commits
        commits += 1

    def twice(session: Session) -> None:
        session.add(request("lost"))
        session.flush()
        session.add(request("n0"))
        session.flush()

    def one(n: int) -> object:
        return lambda s: s.add(request(f"n{n}")) or n

    await together.write(lambda s: s.add(request("n0")))
    commits = 0
    asked = [together.write(one(n)) for n in range(1, 40)]  # type: ignore[arg-type]
    asked.insert(20, together.write(twice))
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(done.pop(20), IntegrityError)
    assert done == list(range(1, 40))
    assert commits <= 4
    kept = await db.read(lambda s: {r.dedupe for r in s.exec(select(SlackRequest))})
    assert kept == {f"n{n}" for n in range(40)}
    with pytest.raises(IntegrityError):
        await together.write(twice)
    db.close()


async def test_who_is_cancelled_stops_nobody_elses_write(db: Database) -> None:
    together, begun, go = Together(db), threading.Event(), threading.Event()

    def slowly(session: Session) -> None:
        begun.set()
        assert go.wait(45)
        session.add(request("first"))

    first = asyncio.create_task(together.write(slowly))
    assert await asyncio.to_thread(begun.wait, 45)
    others = [asyncio.create_task(together.write(lambda s, n=n: s.add(request(f"n{n}")))) for n in range(3)]
    await asyncio.sleep(0)
    others[1].cancel()
    go.set()
    await asyncio.gather(first, others[0], others[2])
    assert others[1].cancelled()
    assert await together.write(lambda s: len(s.exec(select(AuditEntry)).all())) == 0
    db.close()
