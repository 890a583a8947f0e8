"""Lists and counts on both databases are what a plain reading of every panic gives, whatever way they are found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session

from storage import Database, DumpState, Incident, IncidentState, Panic, derived
from storage.filters import Filters, Match, Pattern, Sort, kernel_order
from storage.queries import count_panics, list_rows
from storage.wordindex import holds_words

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
PANICS = 2600  # more than are looked at one by one; the last filter of `_history` is a far and rare one
KERNELS = ("6.1.0-9", "6.1.0-30", "6.1.0-31", "5.10.0-1", None)
STATES = (IncidentState.OPEN, IncidentState.RESOLVED, IncidentState.RESOLVED)


def _history() -> list[dict[str, Any]]:
    """Frequent values, rare ones, and such as stopped long ago."""
    made = []
    for n in range(1, PANICS + 1):
        rare = n % 400 == 7 and n < PANICS // 2
        made.append(
            {
                "id": n, "host": f"web-{n % 60}" if n % 3 else f"DB_{n % 7}",
                "occurred_at": AT + timedelta(minutes=n // 2),
                "kernel": KERNELS[n % 5], "kind": "mce" if n < 900 else "null_deref",
                "ring": "canary" if rare else f"prod-{n % 2}", "hardware": "Dell R640" if n % 4 else "HPE DL380",
                "signature_key": f"k|f{n % 11}|m", "title": "NULL deref in nvme_irq" if n % 2 else "soft lockup",
                "frames": ["xfs_bmap" if n % 90 == 0 else "io_schedule"],
                "dump_state": DumpState.COMPLETE if n % 5 == 0 else DumpState.NONE, "incident_id": n % 3 + 1,
            }
        )  # fmt: skip
    return made


HISTORY = _history()


@pytest.fixture
def full(db: Database) -> Database:
    def fill(session: Session) -> None:
        session.add_all(
            [Incident(signature_key="k", title="t", channel="C0INCIDENTS", state=state) for state in STATES]
        )
        session.flush()
        derived.suspend(session.connection())  # row by row the triggers would take longer than the test
        session.add_all([Panic(**facts) for facts in HISTORY])
        session.flush()
        derived.install(session.connection(), again=True)

    db.write_now(fill)
    return db


def _one(*texts: str, how: Match = Match.PREFIX) -> st.SearchStrategy[tuple[Pattern, ...]]:
    return st.one_of(st.just(()), st.sampled_from(texts).map(lambda text: (Pattern(text, how),)))


FILTERS = st.builds(
    Filters,
    host=st.one_of(_one("web-1", "WEB", "db_", "none"), _one("web-*7", "*_?", how=Match.GLOB)),
    kernel=_one("6.1.0-3", "6.1", "5.10", "7."),
    kind=_one("mce", "null"),
    ring=_one("canary", "prod-1"),
    hardware=_one("640", "HPE", how=Match.CONTAINS),
    signature=_one("k|f1", "k|f3|m"),
    states=st.sampled_from([(), (), ("open",), ("resolved",), ("none",)]),
    dump=st.booleans(),
    since=st.sampled_from([None, None, AT + timedelta(minutes=200), AT + timedelta(minutes=1290)]),
    until=st.sampled_from([None, None, AT + timedelta(minutes=450)]),
    words=st.sampled_from([(), (), ("nvme",), ("xfs",), ("soft", "xfs_bm"), ("absent",)]),
    upto_id=st.sampled_from([None, PANICS, 1700]),
    sort=st.sampled_from(Sort),
)


def _holds(f: Filters, p: dict[str, Any]) -> bool:
    for field, name in (("host", "host"), ("kernel", "kernel"), ("kind", "kind"), ("ring", "ring"),
                        ("hardware", "hardware"), ("signature", "signature_key")):  # fmt: skip
        patterns = getattr(f, field)
        if patterns and not any(p[name] is not None and x.matches(p[name]) for x in patterns):
            return False
    return (
        (not f.states or STATES[p["incident_id"] - 1].value in f.states)
        and (not f.dump or p["dump_state"] is DumpState.COMPLETE)
        and (f.since is None or p["occurred_at"] >= f.since)
        and (f.until is None or p["occurred_at"] < f.until)
        and (f.upto_id is None or p["id"] <= f.upto_id)
        and holds_words(p["title"], p["frames"], f.words)
    )


def _ordered(sort: Sort, found: list[dict[str, Any]]) -> list[int]:
    rows = sorted(
        found, key=lambda p: (p["occurred_at"], p["id"]), reverse=sort in (Sort.NEWEST, Sort.KERNEL)
    )
    if sort is Sort.HOST:
        rows.sort(key=lambda p: p["host"].encode())
    if sort is Sort.KERNEL:
        rows.sort(key=lambda p: kernel_order(p["kernel"]) if p["kernel"] else (), reverse=True)
        rows.sort(key=lambda p: p["kernel"] is None)
    return [p["id"] for p in rows]


async def test_a_page_and_a_count_are_what_reading_all_gives(full: Database) -> None:
    hosts = {
        row.host: None for row in full.read_now(lambda s: list_rows(s, Filters(sort=Sort.HOST), limit=PANICS))
    }
    place = {host: rank for rank, host in enumerate(hosts)}  # PostgreSQL sorts names as its locale does

    @settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
    @given(FILTERS, st.integers(1, 9))
    def check(filters: Filters, size: int) -> None:
        matching = [p for p in HISTORY if _holds(filters, p)]
        wanted = _ordered(filters.sort, matching)
        if filters.sort is Sort.HOST:
            known = {p["id"]: place[p["host"]] for p in HISTORY}
            wanted = sorted(_ordered(Sort.OLDEST, matching), key=known.__getitem__)

        def read(session: Session) -> tuple[list[int], list[int], list[int], int, int]:
            first = list_rows(session, filters, limit=size)
            second = list_rows(session, filters, limit=size, after=first[-1]) if first else []
            back = list_rows(session, filters, limit=size, before=second[0]) if second else first
            return (
                [r.id for r in first], [r.id for r in second], [r.id for r in back],
                count_panics(session, filters), count_panics(session, filters, most=500),
            )  # fmt: skip

        first, second, back, exact, cut = full.read_now(read)
        assert first == wanted[:size]
        assert second == wanted[size : 2 * size]
        assert back == first
        assert (exact, cut) == (len(wanted), min(len(wanted), 501))

    check()
