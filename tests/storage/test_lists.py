"""Lists on both databases: their order, their pages, ranges of kernels, changes, and words of any kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, delete

from storage import ChangeFinding, ChangeLink, Database, DumpState, Incident, Panic, derived
from storage.filters import Filters, Match, Pattern, Releases, Sort, kernel_order
from storage.queries import PanicRow, count_panics, list_rows
from storage.wordindex import holds_words, searchable

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIXTURE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def panic(host: str = "web-1", *, hours: float = 0, **facts: Any) -> Panic:
    known: dict[str, Any] = {
        "kernel": "6.1.0-31-amd64", "kind": "null_deref", "title": "NULL pointer dereference in nvme_irq",
        "signature_key": "null_deref|nvme_irq|nvme", "frames": ["nvme_irq", "handle_irq_event"],
    }  # fmt: skip
    return Panic(host=host, occurred_at=AT + timedelta(hours=hours), **{**known, **facts})


def refill(db: Database, panics: list[Panic]) -> None:
    def fill(session: Session) -> None:
        session.exec(delete(Panic))
        many = len(panics) > 1000  # row by row the triggers would take longer than the test
        if many:
            derived.suspend(session.connection())
        session.add_all(panics)
        session.flush()
        if many:
            derived.install(session.connection(), again=True)

    db.write_now(fill)


def ids(db: Database, filters: Filters, **more: Any) -> list[int]:
    return [row.id for row in db.read_now(lambda s: list_rows(s, filters, **more))]


@pytest.mark.parametrize("sort", Sort)
@FIXTURE
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["web-1", "web-2", "db-1"]),
            st.integers(0, 4),
            st.sampled_from([None, "6.1.0-9", "6.1.0-31", "5.10.0-1"]),
        ),
        max_size=14,
    ),
    st.integers(1, 5),
    st.booleans(),
)
async def test_pages_make_up_the_list_forwards_and_backwards(
    db: Database, sort: Sort, facts: list[tuple[str, int, str | None]], size: int, narrow: bool
) -> None:
    refill(db, [panic(host, hours=hours, kernel=kernel) for host, hours, kernel in facts])
    filters = Filters(sort=sort, host=(Pattern("web"),) if narrow else ())

    def read(session: Session) -> tuple[list[PanicRow], list[PanicRow], list[PanicRow]]:
        whole = list_rows(session, filters, limit=100)
        forwards: list[PanicRow] = []
        while page := list_rows(session, filters, limit=size, after=forwards[-1] if forwards else None):
            forwards += page
        backwards = whole[-1:]
        while backwards and (page := list_rows(session, filters, limit=size, before=backwards[0])):
            backwards = page + backwards
        return whole, forwards, backwards

    whole, forwards, backwards = db.read_now(read)
    assert whole == forwards == backwards
    assert len(whole) == sum(1 for host, _, _ in facts if not narrow or host.startswith("web"))
    keys = [_key(sort, row) for row in whole]
    assert keys == sorted(keys)


def _key(sort: Sort, row: PanicRow) -> Any:
    at = row.occurred_at.timestamp()
    if sort is Sort.NEWEST:
        return (-at, -row.id)
    if sort is Sort.OLDEST:
        return (at, row.id)
    if sort is Sort.HOST:
        return (row.host, at, row.id)
    order = [-number for kind, number, _ in kernel_order(row.kernel or "") if kind]
    return (row.kernel is None, order, -at, -row.id)


async def test_far_matches_are_found_behind_many_newer_panics(db: Database) -> None:
    """Beyond what is looked at one by one, by whatever way it is found."""
    old = [
        panic("db-1", hours=-n, ring="canary", title="soft lockup", frames=["rare_function"])
        for n in range(3)
    ]
    refill(db, [*old, *(panic(hours=1 + n) for n in range(3300))])
    for filters in (
        Filters(ring=(Pattern("canary"),)), Filters(words=("rare_func",)), Filters(words=("soft",), host=(Pattern("db"),)),  # noqa: E501
        Filters(ring=(Pattern("canary"),), sort=Sort.HOST), Filters(until=AT + timedelta(minutes=1)),
    ):  # fmt: skip
        assert sorted(ids(db, filters, limit=8)) == [1, 2, 3], filters
        assert db.read_now(lambda s, f=filters: count_panics(s, f, most=10)) == 3
    assert db.read_now(lambda s: count_panics(s, Filters(), most=1000)) == 1001
    assert db.read_now(lambda s: count_panics(s, Filters(words=("nvme",)), most=1000)) == 1001
    assert db.read_now(lambda s: count_panics(s, Filters())) == 3303


async def test_kernels_in_a_range_as_releases_are_numbered(db: Database) -> None:
    releases = ["6.1.0-9-amd64", "6.1.0-20-amd64", "6.1.0-31-amd64", "6.1.0-32-amd64", "6.10.0-1", None]
    refill(db, [panic(kernel=kernel) for kernel in releases])

    def found(low: str, high: str) -> list[int]:
        return sorted(ids(db, Filters(releases=(Releases(low, high),))))

    assert found("6.1.0-20", "6.1.0-31") == [2, 3]
    assert found("6.1.0-9", "6.1") == [1, 2, 3, 4]
    assert found("6.1.0-32", "") == [4, 5]
    assert found("", "6.1.0-9") == [1]


async def test_a_change_that_is_linked_or_likely(db: Database) -> None:
    incidents = [Incident(signature_key="k", title="t", channel="C0INCIDENTS") for _ in range(2)]
    db.write_now(lambda s: s.add_all(incidents))
    refill(db, [panic(), panic(incident_id=incidents[0].id), panic(incident_id=incidents[0].id), panic()])
    finding = ChangeFinding(
        incident_id=incidents[0].id, panic_id=2, likely=[{"key": "OPS-7"}, {"note": "no key"}]
    )
    db.write_now(
        lambda s: s.add_all(
            [
                finding,
                ChangeLink(panic_id=1, key="OPS-7", state="linked", linked_by="U0ONCALL"),
                ChangeLink(panic_id=3, key="OPS-7", state="removed", linked_by="U0ONCALL"),
                ChangeLink(panic_id=4, key="OPS-71", state="linked", linked_by="U0ONCALL"),
            ]
        )
    )
    assert sorted(ids(db, Filters(change=(Pattern("ops-7", Match.EXACT),)))) == [1, 2]
    assert sorted(ids(db, Filters(change=(Pattern("OPS-7*", Match.GLOB),)))) == [1, 2, 4]

    def weigh_again(session: Session) -> None:
        kept = session.get(ChangeFinding, finding.id)
        assert kept is not None
        kept.likely = [{"key": "OPS-9"}]

    db.write_now(weigh_again)
    assert ids(db, Filters(change=(Pattern("OPS-7", Match.EXACT),))) == [1]
    assert sorted(ids(db, Filters(change=(Pattern("OPS-9", Match.EXACT),)))) == [2, 3]


async def test_a_dump_that_is_there(db: Database) -> None:
    refill(db, [panic(dump_state=state) for state in DumpState])
    there = [n for n, state in enumerate(DumpState, 1) if state in ("incomplete", "unverified", "complete")]
    assert sorted(ids(db, Filters(dump=True))) == there


async def test_words_follow_the_row(db: Database) -> None:
    refill(db, [panic(), panic(title="hung task", frames=["io_schedule"])])
    assert ids(db, Filters(words=("NVME", "handle_irq"))) == [1]
    assert ids(db, Filters(words=("vme",))) == []

    def change(session: Session) -> None:
        first, second = session.get(Panic, 1), session.get(Panic, 2)
        assert first is not None
        assert second is not None
        first.title, first.frames = "general protection fault", ["xfs_bmap"]
        session.delete(second)

    db.write_now(change)
    assert ids(db, Filters(words=("nvme",))) == []
    assert ids(db, Filters(words=("xfs", "protection fault"))) == [1]
    assert ids(db, Filters(words=("hung",))) == []


HOSTILE = st.text(alphabet=st.one_of(st.sampled_from("\"'*^:()-+&|!<>\\%_{}#; aZ1é日"), st.characters(exclude_categories=["Cs", "Cc"])),  # noqa: E501
                  min_size=1, max_size=20)  # fmt: skip


@FIXTURE
@given(st.lists(HOSTILE, min_size=1, max_size=3), st.booleans())
@example(["NEAR(a b)", "title:x", "a OR b"], False)
@example(['"', "'", "a'"], True)
@example(["ab:*", "!a", "a & b"], False)
async def test_no_words_are_an_error_of_sql(db: Database, words: list[str], narrow: bool) -> None:
    if not ids(db, Filters()):
        refill(db, [panic()])
    filters = Filters(words=tuple(words), ring=(Pattern("no"),) if narrow else ())
    rows = ids(db, filters)
    assert db.read_now(lambda s: count_panics(s, filters, most=10)) == len(rows)


PLAIN = st.text(alphabet="ab_.- ", min_size=1, max_size=8)


@FIXTURE
@given(st.lists(st.tuples(PLAIN, st.lists(PLAIN, max_size=3)), min_size=1, max_size=4), PLAIN)
async def test_the_index_and_the_reader_agree(
    db: Database, texts: list[tuple[str, list[str]]], word: str
) -> None:
    if not searchable(word):
        return
    refill(db, [panic(title=title, frames=frames, host=f"h-{n}") for n, (title, frames) in enumerate(texts)])
    hosts = {row.host for row in db.read_now(lambda s: list_rows(s, Filters(words=(word,))))}
    apart = {f"h-{n}" for n, (title, frames) in enumerate(texts) if holds_words(title, frames, [word])}
    whole = {
        f"h-{n}"
        for n, (title, frames) in enumerate(texts)
        if holds_words(" ".join([title, *frames]), [], [word])
    }
    assert apart <= hosts <= whole  # PostgreSQL's words run on from the title into the frames
    if db.is_sqlite:
        assert hosts == apart
