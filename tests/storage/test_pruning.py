from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select

from storage import Database, Panic, Report, ReportState, SlackRequest
from storage.inbox import RequestInbox
from storage.pruning import prune
from storage.requests import TRIES, begin, finish, once, settle, unfinished

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BODY = '{"type":"block_actions","actions":[]}'


async def prune_all(db: Database, now: datetime = NOW, **options: int) -> list[int]:
    """What each transaction changed, until there was nothing left."""
    changed = [await db.write(lambda s: prune(s, now, **options))]
    while changed[-1]:
        changed.append(await db.write(lambda s: prune(s, now, **options)))
    return changed[:-1]


def request(dedupe: str, state: str, age: timedelta) -> SlackRequest:
    return SlackRequest(dedupe=dedupe, kind="block_actions", body=BODY, received_at=NOW - age, state=state)


def report(name: str, state: ReportState, age: timedelta, body: dict[str, Any] | None = None) -> Report:
    told = {"id": name, "host": "web-17", "text": "Oops\n" * 50, "dump": {"path": "/var/crash/1", "size": 3}}
    return Report(
        external_id=name,
        host="web-17",
        body=told if body is None else body,
        state=state,
        received_at=NOW - age,
    )


@pytest.mark.parametrize("way", ["settled", "failed", "finished", "unfinishable", "given up"])
async def test_a_request_that_is_done_keeps_no_payload(db: Database, way: str) -> None:
    def work(session: Session) -> SlackRequest:
        session.add(request("r-1", "new", timedelta()))
        session.flush()
        if way == "settled":
            assert once(session, "r-1")
            assert settle(session, "r-1")
        elif way == "failed":
            assert settle(session, "r-1", failed=True)
        elif way == "finished":
            finish(session, "r-1", None)
        elif way == "unfinishable":
            finish(session, "r-1", "the handler failed")
        else:
            assert [begin(session, "r-1") for _ in range(TRIES + 1)] == [True] * TRIES + [False]
        return session.exec(select(SlackRequest)).one()

    row = await db.write(work)
    assert row.state == ("done" if way in ("settled", "finished") else "failed")
    assert row.body == ""


async def test_what_is_under_way_keeps_its_payload(db: Database) -> None:
    def work(session: Session) -> list[SlackRequest]:
        session.add(request("r-1", "new", timedelta(days=90)))
        session.add(request("r-2", "new", timedelta(days=90)))
        session.flush()
        assert once(session, "r-1")
        assert begin(session, "r-2")
        return unfinished(session)

    assert [(r.dedupe, r.body) for r in await db.write(work)] == [("r-1", BODY), ("r-2", BODY)]
    assert await prune_all(db) == []
    assert len(await db.read(unfinished)) == 2


async def test_old_finished_requests_go_and_slack_can_still_repeat_young_ones(db: Database) -> None:
    day = timedelta(days=1)

    def fill(session: Session) -> None:
        for state in ("new", "effected", "done", "failed"):
            session.add(request(f"old-{state}", state, 7 * day + timedelta(seconds=1)))
            session.add(request(f"young-{state}", state, 7 * day - timedelta(seconds=1)))

    await db.write(fill)
    assert await prune_all(db) == [2]
    left = await db.read(lambda s: s.exec(select(SlackRequest.dedupe).order_by(SlackRequest.dedupe)).all())
    assert left == [
        "old-effected", "old-new", "young-done", "young-effected", "young-failed", "young-new",
    ]  # fmt: skip
    inbox = RequestInbox(db)
    inbox.start()
    again = await inbox.add(dedupe="young-done", kind="block_actions", body=BODY)
    await inbox.close()
    assert again.duplicate


async def test_reports_that_became_panics_lose_their_text_after_a_month(db: Database) -> None:
    month = timedelta(days=30)

    def fill(session: Session) -> None:
        panic = Panic(
            host="web-17", occurred_at=NOW, kind="oops", title="Oops", signature_key="k", text="Oops\n" * 50
        )
        session.add(panic)
        session.flush()
        for state in ReportState:
            session.add(report(f"old-{state}", state, month + timedelta(seconds=1)))
            session.add(report(f"young-{state}", state, month - timedelta(seconds=1)))
        session.add(
            report("old-without", ReportState.DONE, month * 2, {"id": "old-without", "host": "web-17"})
        )
        for row in session.exec(select(Report)).all():
            row.panic_id = panic.id

    await db.write(fill)
    assert await prune_all(db) == [1]
    rows = await db.read(lambda s: s.exec(select(Report).order_by(col(Report.id))).all())
    assert [row.external_id for row in rows if "text" not in row.body] == ["old-done", "old-without"]
    (reduced,) = [row for row in rows if row.external_id == "old-done"]
    assert reduced.body == {"id": "old-done", "host": "web-17", "dump": {"path": "/var/crash/1", "size": 3}}
    panic = await db.read(lambda s: s.exec(select(Panic)).one())
    assert panic.text == "Oops\n" * 50


async def test_it_goes_in_bounded_batches_the_oldest_first(db: Database) -> None:
    def fill(session: Session) -> None:
        for n in range(7):
            session.add(request(f"d-{n}", "done", timedelta(days=30 - n)))
            session.add(request(f"f-{n}", "failed", timedelta(days=30 - n)))
            session.add(report(f"r-{n}", ReportState.DONE, timedelta(days=60 - n)))

    await db.write(fill)
    assert await db.write(lambda s: prune(s, NOW, batch=3)) == 6
    left = await db.read(lambda s: s.exec(select(SlackRequest.dedupe).order_by(col(SlackRequest.id))).all())
    assert [name for name in left if name.startswith("d-")] == ["d-3", "d-4", "d-5", "d-6"]
    bodies = await db.read(lambda s: s.exec(select(Report).order_by(col(Report.id))).all())
    assert ["text" in row.body for row in bodies] == [False] * 3 + [True] * 4
    assert sum(await prune_all(db, batch=3)) == 14 + 7 - 6
    assert await prune_all(db, batch=3) == []
