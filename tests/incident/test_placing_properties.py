"""Placing and correcting as a whole: random panics, readings, resolutions and corrections, and what always holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete
from sqlmodel import Session, SQLModel, select

from commands.errors import CommandError
from commands.incident import corrections, life, placing
from commands.incident.config import IncidentConfig, RoutingConfig
from storage import Correction, Database, Incident, IncidentState, Panic
from tests.incident.floor import open_database

CONFIG, ROUTING = IncidentConfig(), RoutingConfig(channel="C0INCIDENTS")
START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HOSTS = [f"web-{n}" for n in range(9)]
SIGNATURES = ["unknown", "null_deref|nvme_irq", "kernel_bug|ext4_writepages", "panic|sysrq"]


@dataclass(frozen=True)
class Step:
    what: str  # panic, read, resolve, acknowledge, merge, split, reclassify, undo
    who: int
    signature: str
    seconds: int


def steps(*whats: str) -> st.SearchStrategy[list[Step]]:
    return st.lists(
        st.builds(
            Step,
            what=st.sampled_from(whats),
            who=st.integers(0, 8),
            signature=st.sampled_from(SIGNATURES),
            seconds=st.sampled_from([1, 10, 40, 100, 400, 4000, 30_000, 100_000]),
        ),
        min_size=1,
        max_size=22,
    )


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = open_database(Path(tmp_path_factory.mktemp("placing")))
    yield database
    database.close()


def emptied(session: Session) -> None:
    for table in reversed(SQLModel.metadata.sorted_tables):
        session.execute(delete(table))


def take(session: Session, step: Step, now: datetime) -> None:
    panics = session.exec(select(Panic).order_by(Panic.id)).all()  # type: ignore[arg-type]
    if step.what == "panic":
        deliberate = step.signature.endswith("sysrq") and step.who % 2 == 0  # the same key, by accident, too
        new = Panic(
            host=HOSTS[step.who],
            occurred_at=now,
            title=step.signature,
            kind=step.signature.split("|")[0],
            signature_key=step.signature,
            deliberate=deliberate,
        )
        session.add(new)
        session.flush()
        placing.place(session, new, CONFIG, ROUTING, now)
        return
    if not panics:
        return
    panic = panics[step.who % len(panics)]
    incident = session.get_one(Incident, panic.incident_id)
    if step.what == "read" and panic.signature_key == "unknown" and step.signature != "unknown":
        panic.signature_key, panic.kind = step.signature, step.signature.split("|")[0]
        panic.title, panic.deliberate = step.signature, step.signature.endswith("sysrq")
        session.add(panic)
        session.flush()
        placing.move(session, panic, CONFIG, ROUTING, now)
    elif step.what == "resolve":
        life.resolve(session, incident, "a cause", "", "U0ONCALL", now)
    elif step.what == "acknowledge":
        life.acknowledge(session, incident, "U0ONCALL", now)
    elif step.what == "merge":
        other = session.get_one(Incident, panics[0].incident_id)
        corrections.merge(session, incident, other, "U0ADMIN", now)
    elif step.what == "split":
        corrections.split(session, panic, CONFIG, ROUTING, "U0ADMIN", now)
    elif step.what == "reclassify":
        kind = step.signature.split("|")[0]
        corrections.reclassify(session, panic, kind, "", CONFIG, ROUTING, "U0ADMIN", now)
    elif step.what == "undo":
        corrections.undo(session, incident, "U0ADMIN", now)


def played(session: Session, story: list[Step], check: Any = None) -> datetime:
    emptied(session)
    now = START
    for step in story:
        now += timedelta(seconds=step.seconds)
        try:
            with session.begin_nested():
                take(session, step, now)
                session.flush()
        except CommandError:
            continue
        if check is not None:
            check(session)
    return now


def threads(session: Session) -> list[tuple[Incident, list[Panic]]]:
    return [
        (i, list(session.exec(select(Panic).where(Panic.incident_id == i.id)).all()))
        for i in session.exec(select(Incident)).all()
    ]


def everybody_is_somewhere(session: Session) -> None:
    for panic in session.exec(select(Panic)).all():
        assert panic.incident_id is not None
        assert session.get_one(Incident, panic.incident_id).state is not IncidentState.MERGED
    for incident in session.exec(select(Incident)).all():
        if incident.state is IncidentState.MERGED:
            assert incident.merged_into_id not in (None, incident.id)


def nobody_shares_who_must_not(session: Session) -> None:
    everybody_is_somewhere(session)
    for incident, panics in threads(session):
        hosts = {p.host for p in panics}
        if incident.wave:
            assert {p.signature_key for p in panics} <= {"unknown"}
            continue
        assert len({p.signature_key for p in panics}) <= 1
        if any(p.signature_key == "unknown" or p.deliberate for p in panics):
            assert len(hosts) == 1


COMMON = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@COMMON
@given(story=steps("panic", "panic", "panic", "read", "resolve", "acknowledge"))
def test_every_panic_has_one_living_thread_and_strangers_never_share_it(
    db: Database, story: list[Step]
) -> None:
    db.write_now(lambda s: played(s, story, nobody_shares_who_must_not))


@COMMON
@given(story=steps("panic", "panic", "read", "resolve", "merge", "split", "reclassify", "undo"))
def test_corrections_lose_nobody(db: Database, story: list[Step]) -> None:
    db.write_now(lambda s: played(s, story, everybody_is_somewhere))


def picture(session: Session) -> tuple[Any, ...]:
    """Who is where, what is known of them, and how the threads that hold somebody stand."""
    panics = session.exec(select(Panic).order_by(Panic.id)).all()  # type: ignore[arg-type]
    return (
        [
            (p.id, p.incident_id, p.kind, p.title, p.signature_key, p.deliberate, p.reclassified)
            for p in panics
        ],
        [
            (i.id, i.state, i.merged_into_id, i.severity, i.signature_key, i.title)
            for i, inside in threads(session)
            if inside
        ],
    )


@COMMON
@given(
    story=steps("panic", "panic", "read", "resolve", "acknowledge"),
    amends=steps("merge", "split", "reclassify"),
)
def test_undo_restores_who_is_where(db: Database, story: list[Step], amends: list[Step]) -> None:
    """However many corrections: taken back one after the other, each leaves the picture that was before it."""

    def play(session: Session) -> None:
        now = played(session, story)
        pictures = []
        for step in amends[:6]:
            before, made = picture(session), len(session.exec(select(Correction)).all())
            try:
                with session.begin_nested():
                    take(session, step, now)
            except CommandError:
                continue
            if len(session.exec(select(Correction)).all()) > made:
                pictures.append(before)
        for before in reversed(pictures):
            standing = select(Correction).where(Correction.undone_at == None)  # noqa: E711 - SQL
            last = session.exec(standing.order_by(Correction.id.desc())).first()  # type: ignore[union-attr]
            assert last is not None
            corrections.undo(session, session.get_one(Incident, last.after["into"]), "U0ADMIN", now)
            session.flush()
            assert picture(session) == before

    db.write_now(play)
