from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, select

from storage import Database, Report, ReportState, SlackRequest, migrations
from storage.inbox import GroupCommit, InboxClosed, InboxFull, ReportInbox, RequestInbox, Stored


async def test_what_was_added_is_in_the_database_when_add_returns(db: Database) -> None:
    inbox = ReportInbox(db)
    inbox.start()
    stored = await inbox.add(host="web-17", external_id="a", body={"text": "Oops"}, source="pstore")
    row = await db.read(lambda s: s.get_one(Report, stored.id))
    assert (row.host, row.external_id, row.body, row.source) == ("web-17", "a", {"text": "Oops"}, "pstore")
    assert row.state is ReportState.NEW
    assert stored.duplicate is False
    await inbox.close()


async def test_a_repeated_id_answers_the_first_and_keeps_the_first_body(db: Database) -> None:
    inbox = ReportInbox(db)
    inbox.start()
    first = await inbox.add(host="web-17", external_id="a", body={"n": 1})
    again = await inbox.add(host="web-17", external_id="a", body={"n": 2})
    elsewhere = await inbox.add(host="web-18", external_id="a", body={"n": 3})
    assert again == Stored(first.id, duplicate=True)
    assert elsewhere.duplicate is False
    rows = await db.read(lambda s: s.exec(select(Report).order_by(Report.id)).all())  # type: ignore[arg-type]
    assert [(r.host, r.body) for r in rows] == [("web-17", {"n": 1}), ("web-18", {"n": 3})]
    await inbox.close()


async def test_concurrent_arrivals_share_commits_and_ids(db: Database) -> None:
    batches: list[int] = []
    inbox = ReportInbox(db, on_batch=batches.append)
    inbox.start()
    answers = await asyncio.gather(
        *(inbox.add(host="h", external_id=f"{n % 200}", body={"n": n}) for n in range(1000))
    )
    assert sum(not a.duplicate for a in answers) == 200
    for n, answer in enumerate(answers):
        assert answer.id == answers[n % 200].id
    assert sum(batches) == 1000
    assert len(batches) < 50
    assert inbox.waiting == 0
    await inbox.close()


async def test_two_replicas_never_store_one_report_twice(db: Database) -> None:
    """Two writers with their own connections on one database."""
    other = Database(db.url)
    inboxes = [ReportInbox(db), ReportInbox(other)]
    for inbox in inboxes:
        inbox.start()
    answers = await asyncio.gather(
        *(inbox.add(host="h", external_id=str(n), body={}) for n in range(150) for inbox in inboxes)
    )
    assert sum(not a.duplicate for a in answers) == 150
    assert all(answers[i].id == answers[i + 1].id for i in range(0, 300, 2))
    for inbox in inboxes:
        await inbox.close()
    other.close()


async def test_requests_from_slack_are_unique_by_their_dedupe_key(db: Database) -> None:
    inbox = RequestInbox(db)
    inbox.start()
    first, again = await asyncio.gather(
        inbox.add(dedupe="Ev1", kind="event", body="{}"), inbox.add(dedupe="Ev1", kind="event", body="{}")
    )
    assert first.id == again.id
    assert {first.duplicate, again.duplicate} == {False, True}
    rows = await db.read(lambda s: s.exec(select(SlackRequest)).all())
    assert [(r.dedupe, r.state) for r in rows] == [("Ev1", "new")]
    await inbox.close()


async def test_one_item_that_cannot_be_stored_does_not_take_its_neighbours_with_it(db: Database) -> None:
    def store(session: Session, items: Sequence[int]) -> list[int]:
        for item in items:
            session.add(SlackRequest(dedupe=str(item), kind="k", body="b"))
        session.flush()
        if 3 in items:
            raise ValueError("three is poison")
        return list(items)

    group: GroupCommit[int, int] = GroupCommit(db, store)
    group.start()
    answers = await asyncio.gather(*(group.add(n) for n in range(6)), return_exceptions=True)
    assert [a for a in answers if isinstance(a, int)] == [0, 1, 2, 4, 5]
    assert isinstance(answers[3], ValueError)
    rows = await db.read(lambda s: s.exec(select(SlackRequest.dedupe)).all())
    assert sorted(rows) == ["0", "1", "2", "4", "5"]
    await group.close()


class _Gate:
    """A store that waits until it is let through: what the inbox does while the disk is slow."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def __call__(self, _session: Session, items: Sequence[int]) -> list[int]:
        assert self.open.wait(20)
        return list(items)


@pytest.fixture
async def sqlite_db(tmp_path: Path) -> Database:
    url = f"sqlite:///{tmp_path}/plain.db"
    migrations.upgrade(url)
    return Database(url)


async def test_a_full_inbox_refuses_at_once_and_takes_again_when_it_has_room(sqlite_db: Database) -> None:
    gate = _Gate()
    group: GroupCommit[int, int] = GroupCommit(sqlite_db, gate, capacity=3, retry_after=7)
    group.start()
    waiting = [asyncio.ensure_future(group.add(n)) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(InboxFull) as refused:
        await group.add(4)
    assert refused.value.retry_after == 7
    gate.open.set()
    assert await asyncio.gather(*waiting) == [0, 1, 2]
    assert await group.add(5) == 5
    await group.close()


async def test_the_inbox_is_bounded_in_bytes_too_but_takes_one_large_item(sqlite_db: Database) -> None:
    gate = _Gate()
    group: GroupCommit[int, int] = GroupCommit(sqlite_db, gate, capacity_bytes=1000)
    group.start()
    large = asyncio.ensure_future(group.add(1, size=5000))
    await asyncio.sleep(0)
    with pytest.raises(InboxFull):
        await group.add(2, size=10)
    gate.open.set()
    assert await large == 1
    await group.close()


async def test_closing_stores_what_waits_and_takes_nothing_more(sqlite_db: Database) -> None:
    inbox = ReportInbox(sqlite_db)
    inbox.start()
    adding = [asyncio.ensure_future(inbox.add(host="h", external_id=str(n), body={})) for n in range(20)]
    await asyncio.sleep(0)
    await inbox.close()
    assert len({(await a).id for a in adding}) == 20
    with pytest.raises(InboxClosed):
        await inbox.add(host="h", external_id="late", body={})


async def test_a_caller_that_goes_away_harms_nobody(sqlite_db: Database) -> None:
    gate = _Gate()
    group: GroupCommit[int, int] = GroupCommit(sqlite_db, gate)
    group.start()
    leaving, staying = (asyncio.ensure_future(group.add(n)) for n in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    gate.open.set()
    assert await staying == 1
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await group.close()


async def test_a_database_that_cannot_commit_is_told_to_every_caller(tmp_path: Path) -> None:
    """No tables: an OperationalError, the same for all, so the batch is not tried one by one."""
    db = Database(f"sqlite:///{tmp_path}/no-tables.db")
    inbox = ReportInbox(db)
    inbox.start()
    answers = await asyncio.gather(
        *(inbox.add(host="h", external_id=str(n), body={}) for n in range(5)), return_exceptions=True
    )
    assert all(isinstance(a, OperationalError) for a in answers)
    migrations.upgrade(db.url)
    assert (await inbox.add(host="h", external_id="0", body={})).duplicate is False
    await inbox.close()
    db.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrivals=st.lists(
        st.tuples(st.sampled_from(["a", "b", "ä", "x" * 253]), st.text("pq ☃'\"%_", min_size=1, max_size=3))
    ),
    max_batch=st.integers(1, 7),
)
def test_one_row_a_key_and_each_answer_is_its_own_row(
    arrivals: list[tuple[str, str]], max_batch: int
) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            url = f"sqlite:///{scratch}/p.db"
            migrations.upgrade(url)
            db = Database(url)
            inbox = ReportInbox(db, max_batch=max_batch)
            inbox.start()
            answers = await asyncio.gather(
                *(inbox.add(host=host, external_id=i, body={"at": n}) for n, (host, i) in enumerate(arrivals))
            )
            await inbox.close()
            rows = await db.read(lambda s: {r.id: r for r in s.exec(select(Report)).all()})
            assert len(rows) == len(set(arrivals))
            first_seen: set[tuple[str, str]] = set()
            for n, (arrival, answer) in enumerate(zip(arrivals, answers, strict=True)):
                row = rows[answer.id]
                assert (row.host, row.external_id) == arrival
                assert answer.duplicate == (arrival in first_seen)
                if not answer.duplicate:
                    assert row.body == {"at": n}
                first_seen.add(arrival)
            db.close()

    asyncio.run(run())


_SENDER = """
import asyncio, sys
from storage import Database
from storage.inbox import ReportInbox

async def main(url):
    inbox = ReportInbox(Database(url))
    inbox.start()
    async def send(lane):
        n = 0
        while True:
            key = f"{lane}-{n}"
            stored = await inbox.add(host="h", external_id=key, body={"text": "x" * 2000})
            sys.stdout.write(f"{stored.id} {key}\\n")
            sys.stdout.flush()
            n += 1
    await asyncio.gather(*(send(lane) for lane in range(20)))

asyncio.run(main(sys.argv[1]))
"""


def test_whatever_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    file = tmp_path / "killed.db"
    migrations.upgrade(f"sqlite:///{file}")
    acknowledged = []
    with subprocess.Popen(
        [sys.executable, "-c", _SENDER, f"sqlite:///{file}"], stdout=subprocess.PIPE, text=True
    ) as sender:
        assert sender.stdout is not None
        for line in sender.stdout:
            if line.endswith("\n"):
                acknowledged.append(line.split())
            if len(acknowledged) == 300:
                os.kill(sender.pid, signal.SIGKILL)
    assert len(acknowledged) >= 300
    with sqlite3.connect(file) as connection:
        kept = {str(i): key for i, key in connection.execute("SELECT id, external_id FROM report")}
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for row_id, key in acknowledged:
        assert kept.get(row_id) == key
