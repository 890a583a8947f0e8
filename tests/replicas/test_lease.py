"""The lease on a real PostgreSQL: one holder, a new epoch for each, and nothing more of the one before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from storage import Database, Host
from storage.lease import Fence, LeaseLost, LeaseTable, replicas_there, session_name

LONG, OVER = 3600.0, 0.0  # seconds; a term of none has run out when it is taken


@contextmanager
def table(url: str, holder: str) -> Iterator[LeaseTable]:
    made = LeaseTable(url, holder, limit=30)
    try:
        yield made
    finally:
        made.close()


def database(url: str, holder: str, deposed: Callable[[], object] = lambda: None) -> tuple[Database, Fence]:
    db = Database(url, called=session_name(holder))
    fence = Fence(holder, deposed)
    fence.guard(db.engine)
    return db, fence


def hosts(url: str) -> set[str]:
    engine = create_engine(url)
    with engine.connect() as connection:
        names = set(connection.execute(text("SELECT name FROM host")).scalars())
    engine.dispose()
    return names


def add(name: str) -> Callable[[Session], None]:
    def write(session: Session) -> None:
        session.add(Host(name=name))
        session.flush()

    return write


def test_one_has_it_and_the_next_one_has_another_epoch(url: str) -> None:
    with table(url, "a") as a, table(url, "b") as b:
        assert a.standing() is None
        assert a.take(LONG, "alpha:8080", "1.0") == 1
        assert b.take(LONG, "beta:8080", "1.0") is None
        assert a.renew(1, LONG)
        assert not b.renew(1, LONG)
        standing = b.standing()
        assert standing is not None
        assert (standing.holder, standing.called, standing.epoch) == ("a", "alpha:8080", 1)
        assert LONG - 600 < standing.left <= LONG
        a.give_back(1)
        assert b.take(LONG, "beta:8080", "1.1") == 2
        assert not a.renew(1, LONG)
        a.give_back(1)  # what is no longer its own is not its to give
        assert b.renew(2, LONG)


def test_of_many_at_once_one_gets_it(url: str) -> None:
    names = [f"r{n}" for n in range(8)]
    got: list[int | None] = []
    gate = threading.Barrier(len(names))

    def run(name: str) -> None:
        with table(url, name) as mine:
            gate.wait()
            got.append(mine.take(LONG, name, ""))

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=str) == [1, *[None] * 7]


def test_what_the_one_before_had_begun_is_undone_and_holds_up_nobody(url: str) -> None:
    """As after a SIGSTOP in the middle of a transaction: its locks would be there for as long as it sleeps."""
    db, fence = database(url, "a")
    with table(url, "a") as a, table(url, "b") as b:
        assert a.take(OVER, "a", "") == 1
        fence.arm(1)
        db.write_now(add("web-0"))
        with db.engine.connect().execution_options(panicroom_write=True) as connection:
            connection.execute(text("UPDATE host SET name = 'web-x' WHERE name = 'web-0'"))
            assert b.take(LONG, "b", "") == 2
            other, theirs = database(url, "b")
            theirs.arm(2)
            other.write_now(lambda s: s.execute(text("UPDATE host SET name = 'web-b' WHERE name = 'web-0'")))
            with pytest.raises(OperationalError):
                connection.execute(text("SELECT 1"))
            connection.invalidate()
        other.close()
    db.close()
    assert hosts(url) == {"web-b"}


def test_the_one_before_begins_nothing_anew(url: str) -> None:
    ended: list[str] = []
    db, fence = database(url, "a", lambda: ended.append("a"))
    with table(url, "a") as a, table(url, "b") as b:
        assert a.take(OVER, "a", "") == 1
        fence.arm(1)
        db.write_now(add("before"))
        assert ended == []
        assert b.take(LONG, "b", "") == 2
        with pytest.raises(LeaseLost):
            db.write_now(add("after"))
        assert ended == ["a"]
        assert db.read_now(lambda s: s.execute(text("SELECT count(*) FROM host")).scalar()) == 1
    db.close()
    assert hosts(url) == {"before"}


def test_an_engine_whose_owner_does_not_say_what_writes_is_asked_each_time(url: str) -> None:
    engine = create_engine(url)
    fence = Fence("a", lambda: None)
    fence.guard(engine, all_transactions=True)
    with table(url, "a") as a:
        assert a.take(LONG, "a", "") == 1
        fence.arm(1)
        with engine.begin() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
        fence.arm(7)
        with pytest.raises(LeaseLost), engine.begin():
            pytest.fail("it began")
    engine.dispose()


def test_followers_are_not_asked(url: str) -> None:
    db, _ = database(url, "follower")
    db.write_now(add("web-1"))
    db.close()
    assert hosts(url) == {"web-1"}


def test_who_is_there(url: str) -> None:
    db, _ = database(url, "abc")
    with table(url, "abc") as mine:
        mine.take(timedelta(hours=1).total_seconds(), "abc", "")
        there = db.read_now(lambda s: replicas_there(s.connection()))
    db.close()
    assert there == {"abc"}
