"""Problem tickets: made once for a signature that keeps coming back, and told of later panics now and then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from sqlmodel import select

from commands.changes.config import ProblemConfig
from commands.changes.desk import ChangeDesk
from storage import ChangeLink, Incident, ProblemTicket

from .conftest import QUICK, on_both

Make = Callable[..., Any]
CONFIG = QUICK.model_copy(
    update={"problem": ProblemConfig(project="KERN", after=3, labels=("panicroom", "kernel"))}
)


@on_both
async def test_a_panic_that_comes_back_has_one_ticket_linked_to_all_and_told_seldom(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench(CONFIG)
    await back(bench, "web-1")
    await back(bench, "web-2")
    old = datetime.now(UTC) - timedelta(days=90)
    await back(bench, "web-3", occurred_at=old, signature_key="another|one")
    assert row(bench) is None
    bench.jira.tracker.fail("503", count=1)
    bench.jira.tracker.fail("lost_answer", path="/api/2/issue")
    await back(bench, "web-4")
    made = await waiting(lambda: (found := row(bench)) and found.key and found)
    (ticket,) = [t for t in bench.jira.tracker.tickets() if t.kind == "Problem"]
    assert (made.key, ticket.project) == (ticket.key, "KERN")
    assert ticket.summary == "Kernel panic keeps coming back: NULL pointer in nvme_irq <!channel>"
    assert ticket.labels[:2] == ["panicroom", "kernel"]
    assert "3 panics so far:" in ticket.description
    for n, host in ((1, "web-1"), (2, "web-2"), (4, "web-4")):
        assert f"P-{n} (I-{n}) on {host}" in ticket.description
        assert bench.link(ticket.key, n).problem
        assert "*Problem ticket*" in bench.card(ticket.key, n)
    assert bench.link(ticket.key, 3) is None

    incident = bench.ctx.db.read_now(lambda s: s.get(Incident, 4))
    for host in ("web-5", "web-6"):
        await back(bench, host, incident=incident)
    assert row(bench).next_at > datetime.now(UTC) + timedelta(hours=23), "not at once"
    assert bench.link(ticket.key, 5).problem
    assert ticket.comments == []
    let_a_day_pass(bench)
    await waiting(lambda: ticket.comments)
    await waiting(lambda: row(bench).next_at is None)
    assert [c.body.splitlines()[0] for c in ticket.comments] == ["It has come back 2 times."]
    assert "P-6 (I-4) on web-6" in ticket.comments[0].body
    await back(bench, "web-7", incident=incident)
    bench.jira.tracker.fail("lost_answer", path="/comment")
    let_a_day_pass(bench)
    await waiting(lambda: row(bench).next_at is None)
    assert [c.body.splitlines()[0] for c in ticket.comments][1:] == ["It has come back."]
    assert ticket.links == []


async def test_a_panic_that_comes_while_the_ticket_is_made_is_linked_and_told_later(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench(CONFIG)
    for host in ("web-1", "web-2"):
        await back(bench, host)
    bench.jira.hold("after", "POST", "/issue")
    await back(bench, "web-3")
    await waiting(bench.jira.holding.is_set)
    await back(bench, "web-4")
    bench.jira.let_go()
    made = await waiting(lambda: (found := row(bench)) and found.key and found)
    assert made.next_at > datetime.now(UTC) + timedelta(hours=23)
    assert bench.link(made.key, 4).problem
    let_a_day_pass(bench)
    (ticket,) = [t for t in bench.jira.tracker.tickets() if t.kind == "Problem"]
    await waiting(lambda: ticket.comments)
    assert "P-4 (I-4) on web-4" in ticket.comments[0].body


async def test_what_is_no_one_thing_or_was_meant_makes_none(make_bench: Make) -> None:
    bench = make_bench(CONFIG, running=False)
    for n in range(4):
        await back(bench, f"web-{n}", kind="unknown")
    for n in range(4):
        await back(bench, f"db-{n}", signature_key="sysrq|x", deliberate=True)
    assert row(bench) is None


@on_both
async def test_panics_whose_count_was_lost_are_counted_at_the_next_start(
    make_bench: Make, waiting: Any
) -> None:
    """The process ended after the panics were committed, and before the hook of any of them ran."""
    bench = make_bench(CONFIG, running=False)
    for n in range(4):
        await bench.panic(f"web-{n}")
        await bench.panic(f"db-{n}", signature_key="sysrq|x", deliberate=True)
        await bench.panic(f"new-{n}", kind="unknown", signature_key="unknown")
    await bench.panic("old", occurred_at=datetime.now(UTC) - timedelta(days=90), signature_key="rare|x")
    await bench.panic("new", signature_key="rare|x")
    await bench.panic("newer", signature_key="rare|x")
    bench.start()
    made = await waiting(lambda: (found := row(bench)) and found.key and found)
    (ticket,) = [t for t in bench.jira.tracker.tickets() if t.kind == "Problem"]
    assert "4 panics so far:" in ticket.description
    assert [bool(bench.link(made.key, n)) for n in (1, 2, 4, 7, 10)] == [True, False, True, True, True]

    # Of a ticket that is there, too: its later panics stand beside it, and it is told of them in its time.
    await bench.stop_working()
    later = [await bench.panic("web-7"), await bench.panic("web-8")]
    assert bench.link(made.key, later[0].id) is None
    again = ChangeDesk(bench.ctx, bench.desk.tracker, CONFIG)
    bench.desk = again
    bench.start()
    await waiting(lambda: all(bench.link(made.key, p.id) for p in later))
    told = await waiting(lambda: (found := row(bench)) and found.next_at and found)
    assert told.next_at > datetime.now(UTC) + timedelta(hours=23)
    let_a_day_pass(bench)
    await waiting(lambda: row(bench).next_at is None)
    assert [c.body.splitlines()[0] for c in ticket.comments] == ["It has come back 2 times."]


async def test_counting_again_changes_nothing_that_was_counted(make_bench: Make, waiting: Any) -> None:
    bench = make_bench(CONFIG)
    for n in range(3):
        await back(bench, f"web-{n}")
    made = await waiting(lambda: (found := row(bench)) and found.key and found.next_at is None and found)
    links = bench.ctx.db.read_now(lambda s: len(s.exec(select(ChangeLink)).all()))
    for _ in range(3):
        await bench.desk.problems.recount()
    assert row(bench).model_dump() == made.model_dump()
    assert bench.ctx.db.read_now(lambda s: len(s.exec(select(ChangeLink)).all())) == links
    assert len([t for t in bench.jira.tracker.tickets() if t.kind == "Problem"]) == 1


async def test_a_project_that_refuses_is_tried_again_the_day_after(make_bench: Make, waiting: Any) -> None:
    refusing = CONFIG.model_copy(update={"problem": ProblemConfig(project="ARCHIVE", after=2)})
    bench = make_bench(refusing)
    await back(bench, "web-1")
    await back(bench, "web-2")
    failed = await waiting(lambda: (found := row(bench)) and found.error and found)
    assert "account may not do this" in failed.error
    assert failed.next_at > datetime.now(UTC) + timedelta(hours=23)


@pytest.mark.parametrize(
    "wrong", [{"project": "kern"}, {"labels": ["two words"]}, {"summary": "{host}"}, {"summary": "{title!r}"}]
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ProblemConfig.model_validate({"project": "KERN"} | wrong)


async def back(bench: Any, host: str, **facts: Any) -> None:
    panic = await bench.panic(host, **facts)
    await bench.desk.on_panic(panic.id)


def row(bench: Any) -> ProblemTicket | None:
    found = bench.ctx.db.read_now(lambda s: s.exec(select(ProblemTicket)).first())
    assert found is None or isinstance(found, ProblemTicket)
    return found


def let_a_day_pass(bench: Any) -> None:
    def act(session: Any) -> None:
        session.exec(select(ProblemTicket)).one().next_at = datetime.now(UTC)

    bench.ctx.db.write_now(act)
    bench.desk.wake()
