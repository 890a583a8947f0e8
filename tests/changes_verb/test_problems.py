"""Problem tickets: made once for a signature that keeps coming back, and told of later panics now and then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from sqlmodel import select

from commands.changes.config import ProblemConfig
from storage import Incident, ProblemTicket

from .conftest import QUICK

Make = Callable[..., Any]
CONFIG = QUICK.model_copy(
    update={"problem": ProblemConfig(project="KERN", after=3, labels=("panicroom", "kernel"))}
)


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


async def test_what_is_no_one_thing_or_was_meant_makes_none(make_bench: Make) -> None:
    bench = make_bench(CONFIG, running=False)
    for n in range(4):
        await back(bench, f"web-{n}", kind="unknown")
    for n in range(4):
        await back(bench, f"db-{n}", signature_key="sysrq|x", deliberate=True)
    assert row(bench) is None


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
