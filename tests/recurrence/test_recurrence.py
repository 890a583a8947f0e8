"""Recurrence facts on a real SQLite database, against a model that counts by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlmodel import Session, SQLModel

from storage import Database, Incident, KnownCause, Panic, Signature, SlackMessage
from storage.kernels import includes_fix, kernel_base, kernel_order
from storage.queries import threads_of
from storage.recurrence import Recurrence, ordinal, recurrence, recurrence_line

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NVME = "null_deref|nvme_irq|nvme"
K30, K31 = "6.1.0-30-amd64", "6.1.0-31-amd64"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/panicroom.db")
    SQLModel.metadata.create_all(database.engine)
    yield database
    database.close()


def panic(host: str = "web-17", *, days: float = 0, **facts: Any) -> Panic:
    known: dict[str, Any] = {
        "kind": "null_deref",
        "title": "NULL pointer dereference in nvme_irq",
        "signature_key": NVME,
        "kernel": K31,
    }
    return Panic(host=host, occurred_at=NOON + timedelta(days=days), **{**known, **facts})


def store(db: Database, *rows: Any) -> None:
    db.write_now(lambda s: s.add_all(rows))


def facts_of(db: Database, row: Panic) -> Recurrence:
    return db.read_now(lambda s: recurrence(s, s.get_one(Panic, row.id)))


def line_of(db: Database, row: Panic) -> str:
    return recurrence_line(facts_of(db, row))


def test_the_only_panic_known_is_the_first_of_everything(db: Database) -> None:
    row = panic()
    store(db, row)
    assert line_of(db, row) == "first panic on this host · first with this signature"


def test_the_line_of_the_design_sketch(db: Database) -> None:
    rows = [panic("web-17", days=-20, kind="gpf", signature_key="gpf|x", kernel=K30)]
    rows += [panic(f"web-{n}", days=-9 + n / 10) for n in range(20, 30)]
    rows += [panic("web-17", days=-2), panic("web-17")]
    for row in rows:
        store(db, row)
    assert line_of(db, rows[-1]) == (
        "3rd panic on this host in 30 d · 12th with this signature (11 hosts), all on 6.1.0-31-amd64, "
        "never on 6.1.0-30-amd64 (seen on 1 host) · first seen 2026-11-13, last before this 2026-11-18"
        " · similar: P-12, P-11, P-10"
    )


def test_the_similar_ones_can_be_left_out_of_the_line(db: Database) -> None:
    rows = [panic("web-1", days=-1), panic("web-2")]
    store(db, *rows)
    facts = facts_of(db, rows[1])
    assert recurrence_line(facts) == f"{recurrence_line(facts, similar=False)} · similar: P-1"


def test_imported_panics_have_no_incident_and_count(db: Database) -> None:
    incident = Incident(signature_key=NVME, title="t", channel="C0")
    store(db, incident)
    rows = [panic(days=-500), panic("web-2", days=-500), panic(incident_id=incident.id)]
    store(db, *rows)
    assert facts_of(db, rows[0]).previous_incident is None
    assert line_of(db, rows[0]).startswith("first panic on this host · first of 3 with this signature")
    assert line_of(db, rows[2]).startswith(
        "first panic on this host in 30 d, 2nd in all · 3rd with this signature"
    )
    assert facts_of(db, rows[2]).similar == (2, 1)


def test_threads_are_known_of_those_that_stand_in_slack(db: Database) -> None:
    incidents = [Incident(signature_key=NVME, title="t", channel="C0") for _ in range(2)]
    store(db, *incidents)
    store(
        db,
        *(panic(incident_id=i) for i in (1, 1, 2, None)),
        SlackMessage(key="incident:1", channel="C0", ts="1.2", permalink="https://slack.example/p1"),
        SlackMessage(key="incident:2", channel="C0"),
    )
    known = db.read_now(lambda s: threads_of(s, [1, 2, 3, 4, 99]))
    assert known == {1: "https://slack.example/p1", 2: "https://slack.example/p1"}
    assert db.read_now(lambda s: threads_of(s, [])) == {}


def test_a_kernel_without_any_panic_is_not_said_to_be_free_of_it(db: Database) -> None:
    rows = [panic("web-1", days=-1), panic("web-2")]
    store(db, *rows)
    assert "never on" not in line_of(db, rows[1])
    store(db, panic("web-3", kind="gpf", signature_key="gpf|x", kernel=K30))
    assert "all on 6.1.0-31-amd64, never on 6.1.0-30-amd64 (seen on 1 host)" in line_of(db, rows[1])


def test_new_since_the_oldest_kernel_with_it_when_hosts_enough_ran_an_older_one(db: Database) -> None:
    rows = [panic("web-1", days=-1), panic("web-2", kernel="6.1.0-32-amd64")]
    other = {"kind": "gpf", "signature_key": "gpf|x", "kernel": K30}
    store(db, *rows, panic("web-3", days=-50.5, **other))
    assert "new since" not in line_of(db, rows[1])
    store(db, panic("web-4", days=-10, **other), panic("web-4", days=-9, **other))
    assert (
        ", new since 6.1.0-31-amd64, 1 on 6.1.0-31-amd64, 1 on 6.1.0-32-amd64, "
        "never on 6.1.0-30-amd64 (seen on 2 hosts, 41 days) · first seen"
    ) in line_of(db, rows[1])
    assert facts_of(db, rows[1]).new_since == K31


def test_another_flavour_of_the_same_release_does_not_make_it_new(db: Database) -> None:
    cloud = {"kernel": "6.1.0-31-cloud-amd64"}
    rows = [panic("web-1", days=-1, **cloud), panic("web-2", **cloud)]
    other = {"kind": "gpf", "signature_key": "gpf|x", "kernel": K31}
    store(db, *rows, panic("web-3", **other), panic("web-4", **other))
    line = line_of(db, rows[1])
    assert "all on 6.1.0-31-cloud-amd64, never on 6.1.0-31-amd64 (seen on 2 hosts)" in line
    assert "new since" not in line


def known(db: Database, fixed_in: str | None, *, days: float) -> None:
    moment = NOON + timedelta(days=days)
    store(db, Signature(key=NVME, kind="null_deref", title="t", first_seen=NOON, last_seen=NOON))
    store(db, KnownCause(signature_key=NVME, fixed_in=fixed_in, by="U0", at=moment, marked_at=moment))


@pytest.mark.parametrize(
    ("fixed_in", "said", "came_back"),
    [
        ("6.1.0-29", -5, True),
        ("6.1.0-31", -5, True),
        ("6.1.0-31-cloud-amd64", -5, True),
        ("6.1.0-32", -5, False),  # it panicked on an older one
        ("6.1.0-29", 1, False),  # it was said only after this panic
        ("6.10", -5, False),
        ("nonsense", -5, False),
        (None, -5, False),
    ],
)
def test_it_came_back_when_a_kernel_with_the_fix_panicked_after_that_was_said(
    db: Database, fixed_in: str | None, said: float, came_back: bool
) -> None:
    rows = [panic("web-1", days=-9, kernel=K30), panic("web-2")]
    store(db, *rows)
    known(db, fixed_in, days=said)
    words = f" · came back after being marked fixed in {fixed_in} · "
    assert (words in line_of(db, rows[1])) == came_back
    assert "came back" not in line_of(db, rows[0])


def test_a_panic_on_a_kernel_not_known_says_nothing_of_a_fix(db: Database) -> None:
    rows = [panic("web-1", days=-9), panic("web-2", kernel=None)]
    store(db, *rows)
    known(db, "6.1.0-29", days=-5)
    assert "came back" not in line_of(db, rows[1])


def test_deliberate_panics_of_a_signature_are_counted_where_the_roll_up_does_not(db: Database) -> None:
    rows = [panic("web-1", days=-2, deliberate=True), panic("web-2", days=-1), panic("web-3", kernel=K30)]
    store(db, *rows)
    facts = facts_of(db, rows[2])
    assert (facts.signature_ordinal, facts.signature_total, facts.signature_hosts) == (3, 3, 3)
    assert dict(facts.by_kernel) == {K31: 2, K30: 1}


def test_first_and_last_seen(db: Database) -> None:
    rows = [panic(f"web-{i}", days=i - 5) for i in range(4)]
    store(db, *rows)
    assert "first seen" not in line_of(db, rows[0])
    assert " · last 2026-11-18 · " in line_of(db, rows[0])
    assert " · first seen 2026-11-15, last 2026-11-18 · " in line_of(db, rows[1])
    assert " · first seen 2026-11-15, last before this 2026-11-17 · " in line_of(db, rows[3])
    assert facts_of(db, rows[0]).signature_previous_at is None


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_texts_are_compared_as_releases(kernel: str, fixed_in: str) -> None:
    assert kernel.startswith(kernel_base(kernel))
    if kernel_base(kernel) and kernel_base(fixed_in):
        assert includes_fix(kernel, fixed_in) or includes_fix(fixed_in, kernel)
    else:
        assert not includes_fix(kernel, fixed_in)


@pytest.mark.parametrize(
    ("release", "base"),
    [
        ("6.1.0-31-amd64", "6.1.0-31"),
        ("6.1.0-31-cloud-amd64", "6.1.0-31"),
        ("5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.13.1"),
        ("6.8.0-45-generic", "6.8.0-45"),
        ("6.12.1-2arch", "6.12.1"),
        ("6.1.0", "6.1.0"),
        ("amd64", ""),
    ],
)
def test_a_release_without_its_flavour(release: str, base: str) -> None:
    assert kernel_base(release) == base


def test_never_on_an_older_kernel_is_not_said_while_some_kernels_are_unknown(db: Database) -> None:
    rows = [
        panic("web-1", days=-1, kernel=None),
        panic("web-2"),
        panic("web-3", kind="gpf", signature_key="gpf|x", kernel=K30),
    ]
    store(db, *rows)
    line = line_of(db, rows[1])
    assert "1 on 6.1.0-31-amd64, 1 on a kernel not known" in line
    assert "never on" not in line
    assert "all on" not in line


def test_several_kernels_are_counted_most_first(db: Database) -> None:
    rows = [panic(f"web-{i}", days=i - 9, kernel=k) for i, k in enumerate([K30, K31, K31])]
    store(db, *rows)
    assert "3rd with this signature (3 hosts), 2 on 6.1.0-31-amd64, 1 on 6.1.0-30-amd64" in line_of(
        db, rows[2]
    )


def test_an_earlier_panic_keeps_its_place_when_later_ones_arrive(db: Database) -> None:
    rows = [panic("web-1", days=-2), panic("web-2", days=-1)]
    store(db, *rows)
    assert "2nd with this signature (2 hosts)" in line_of(db, rows[1])
    store(db, panic("web-3"))
    assert "2nd of 3 with this signature (3 hosts)" in line_of(db, rows[1])


def test_unknown_causes_have_nothing_in_common(db: Database) -> None:
    rows = [panic(f"web-{i}", days=i - 9, kind="unknown", signature_key="unknown") for i in range(3)]
    store(db, *rows)
    facts = facts_of(db, rows[2])
    assert not facts.readable
    assert facts.similar == ()
    assert recurrence_line(facts) == "first panic on this host"


def test_only_the_last_thirty_days_of_a_host_are_recent(db: Database) -> None:
    rows = [panic(days=-90), panic(days=-31), panic(days=-30), panic(days=-29), panic()]
    store(db, *rows)
    assert line_of(db, rows[4]).startswith("2nd panic on this host in 30 d, 5th in all · ")
    assert facts_of(db, rows[4]).host_previous_at == NOON - timedelta(days=29)


def test_hardware_and_ring_are_named_only_when_others_exist(db: Database) -> None:
    rows = [panic(f"web-{i}", days=i - 9, hardware="Dell R640", ring="prod-2") for i in range(2)]
    store(db, *rows)
    assert "R640" not in line_of(db, rows[1])
    store(db, panic("db-1", kind="gpf", signature_key="gpf|x", hardware="HPE DL360", ring="prod-1"))
    line = line_of(db, rows[1])
    assert "only on Dell R640, only in ring prod-2" in line
    assert (facts_of(db, rows[1]).same_hardware, facts_of(db, rows[1]).same_ring) == (2, 2)
    store(db, panic("db-2", hardware="HPE DL360", ring="prod-1"))
    line = line_of(db, rows[1])
    assert ", 2 on Dell R640, 2 in ring prod-2 · " in line
    assert "only" not in line


def test_the_previous_incident_of_the_signature(db: Database) -> None:
    incidents = [
        Incident(signature_key=NVME, title="t", channel="C0", opened_at=NOON + timedelta(days=d))
        for d in (-9, -3, 0, 4)
    ]
    store(db, *incidents)
    row = panic(incident_id=incidents[2].id)
    store(db, row)
    assert facts_of(db, row).previous_incident == incidents[1].id
    db.write_now(
        lambda s: s.get_one(Incident, incidents[1].id).sqlmodel_update({"merged_into_id": incidents[2].id})
    )
    assert facts_of(db, row).previous_incident == incidents[0].id


@pytest.mark.parametrize(
    ("number", "word"),
    [(1, "first"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"),
     (21, "21st"), (22, "22nd"), (111, "111th"), (1001, "1001st")],
)  # fmt: skip
def test_ordinals(number: int, word: str) -> None:
    assert ordinal(number) == word


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_kernel_names_can_be_ordered(names: list[str]) -> None:
    in_order = sorted(names, key=kernel_order)
    assert all(kernel_order(a) <= kernel_order(b) for a, b in pairwise(in_order))


def test_kernels_are_ordered_as_numbers() -> None:
    names = ["6.1.0-31-amd64", "6.1.0-9-amd64", "5.10.0-2-amd64", "6.12.1"]
    assert sorted(names, key=kernel_order) == ["5.10.0-2-amd64", "6.1.0-9-amd64", "6.1.0-31-amd64", "6.12.1"]


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["web-1", "web-2", "db-1"]),
        st.integers(-70, 0),
        st.sampled_from([NVME, "gpf|x", "unknown"]),
        st.sampled_from([None, K30, K31, "6.1.0-9-amd64"]),
        st.sampled_from([None, "prod-1", "prod-2"]),
        st.sampled_from([None, "Dell R640", "HPE DL360"]),
    ),
    min_size=1,
    max_size=14,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=ROWS)
def test_counts_equal_those_of_a_naive_model(db: Database, made: list[tuple[Any, ...]]) -> None:
    rows = [
        panic(h, days=d, signature_key=s, kind=s.split("|")[0], kernel=k, ring=r, hardware=w)
        for h, d, s, k, r, w in made
    ]

    def clean_slate(session: Session) -> None:
        session.connection().exec_driver_sql("DELETE FROM panic")
        session.add_all(rows)

    db.write_now(clean_slate)
    for row in rows:
        facts = facts_of(db, row)
        earlier = [o for o in rows if (o.occurred_at, o.id) <= (row.occurred_at, row.id)]
        here = [o for o in earlier if o.host == row.host]
        assert facts.host_ordinal == len(here)
        assert facts.host_ordinal_30d == sum(
            o.occurred_at > row.occurred_at - timedelta(days=30) for o in here
        )
        assert facts.host_previous_at == max((o.occurred_at for o in here if o.id != row.id), default=None)
        if row.kind == "unknown":
            assert not facts.readable
            assert facts.signature_total == 0
            continue
        same = [o for o in rows if o.signature_key == row.signature_key]
        assert facts.signature_total == len(same)
        assert facts.signature_ordinal == sum(o in earlier for o in same)
        assert facts.signature_hosts == len({o.host for o in same})
        assert dict(facts.by_kernel) == Counter(o.kernel for o in same if o.kernel)
        assert facts.kernel_unknown == sum(o.kernel is None for o in same)
        assert (facts.signature_first, facts.signature_last) == (
            min(o.occurred_at for o in same),
            max(o.occurred_at for o in same),
        )
        newest = sorted(
            (o for o in same if o.id != row.id), key=lambda o: (o.occurred_at, o.id), reverse=True
        )
        assert facts.similar == tuple(o.id for o in newest[:3])
        line = recurrence_line(facts)
        on_kernels = {o.kernel for o in same}
        new = facts.new_since
        claims_all = [k for k in (K30, K31, "6.1.0-9-amd64") if f"all on {k}" in line]
        claims_all += [new] if new and f"new since {new}, all on it" in line else []
        alike = len(on_kernels) == 1 and len(same) > 1 and None not in on_kernels
        assert claims_all == (list(on_kernels) if alike else [])
        if "never on " in line:
            free = line.split("never on ")[1].split(" (")[0]
            assert free not in on_kernels
            assert None not in on_kernels
            ran = [o for o in rows if o.kernel == free]
            assert facts.without_hosts == len({o.host for o in ran}) > 0
            assert (
                facts.without_days == (max(o.occurred_at for o in ran) - min(o.occurred_at for o in ran)).days
            )
        if new:
            assert facts.without_hosts >= 2
            assert min((k for k in on_kernels if k), key=kernel_order) == new
        for claim, attribute in (
            ("only in ring ", "ring"),
            ("only on Dell", "hardware"),
            ("only on HPE", "hardware"),
        ):
            if claim in line:
                assert len({getattr(o, attribute) for o in same}) == 1
                assert len({getattr(o, attribute) for o in rows} - {None}) > 1


def test_every_query_uses_an_index(db: Database) -> None:
    rows = [panic(f"web-{i % 7}", days=-i / 10, hardware="h", ring="r") for i in range(40)]
    store(db, *rows)
    statements: list[tuple[str, Any]] = []

    def keep(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", keep)
    facts_of(db, rows[0])
    event.remove(db.engine, "before_cursor_execute", keep)
    asked = [s for s in statements if "FROM panic" in s[0] and "panic.text" not in s[0]]
    assert 0 < len(asked) <= 16
    with db.engine.connect() as connection:
        for statement, parameters in asked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            for step in plan:
                assert not str(step[3]).startswith("SCAN panic") or "USING" in str(step[3]), (statement, plan)
