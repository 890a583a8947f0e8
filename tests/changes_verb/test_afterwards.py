"""What comes after a ticket was linked: the incident ends, the ticket changes, is moved, or goes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import select

from commands.incident import life
from commands.incident.moves import telling_moves
from storage import Artefact, Incident, Panic, TimelineEntry

from .conftest import QUICK, on_both

Make = Callable[..., Any]
ASKED_OFTEN = QUICK.model_copy(update={"poll_every": timedelta(milliseconds=50)})


@on_both
async def test_one_comment_says_in_the_end_how_it_ended(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    panic = await bench.panic()
    await bench.type("link P-1 OPS-1182 the rollout")
    await bench.type("link P-1 OPS-1179")
    await waiting(lambda: bench.link("OPS-1182").told_at and bench.link("OPS-1179").told_at)
    ticket, second = bench.jira.ticket("OPS-1182"), bench.jira.ticket("OPS-1179")
    bench.store(Artefact(panic_id=1, kind="bundle", name="b.tar.gz", sha256="ab" * 32, size=1, path="b"))
    await waiting(lambda: f"sha256 {'ab' * 32}" in ticket.comments[0].body)
    resolve(bench, panic, "a bad driver")
    await waiting(lambda: all("Cause: a bad driver" in t.comments[0].body for t in (ticket, second)))
    assert "Note: the rollout" in ticket.comments[0].body
    bench.ctx.db.write_now(lambda s: life.reopen(s, s.get_one(Incident, 1), "U0ONCALL", bench.ctx.clock()))
    await waiting(lambda: not any("Resolved" in t.comments[0].body for t in (ticket, second)))
    assert (len(ticket.comments), len(ticket.links), len(second.comments)) == (1, 1, 1)
    await waiting(lambda: not bench.desk._working)
    calls = len(bench.jira.tracker.calls)
    for _ in range(3):
        bench.desk.wake()
        await waiting(lambda: not bench.desk._event.is_set())
    assert len(bench.jira.tracker.calls) == calls, "what the ticket says already is not told again"


async def test_what_was_done_while_the_list_of_what_is_due_was_read_is_not_done_again(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench()
    await bench.panic()
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").told_at and not bench.desk._working)
    calls = len(bench.jira.tracker.calls)
    await bench.desk._work(bench.desk.the_tracker(), bench.link("OPS-1182").id)
    assert len(bench.jira.tracker.calls) == calls


async def test_an_end_that_the_tracker_does_not_take_is_told_later_or_said_on_the_card(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench()
    panic = await bench.panic()
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").told_at)
    bench.jira.tracker.fail("503", count=2)
    bench.jira.tracker.fail("403", path="/comment/")
    resolve(bench, panic, "x")
    await waiting(
        lambda: "the comment could not be renewed: The bot's account may not" in bench.card("OPS-1182")
    )
    await bench.click("changes.retry", "P-1 OPS-1182")
    await waiting(lambda: "Cause: x" in bench.jira.ticket("OPS-1182").comments[0].body)
    await waiting(lambda: bench.link("OPS-1182").error is None)


async def test_what_was_unlinked_is_not_written_on_any_more(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    panic = await bench.panic()
    await bench.type("link P-1 OPS-1182")
    await bench.type("link P-1 OPS-1179")
    await waiting(lambda: bench.link("OPS-1182").told_at and bench.link("OPS-1179").told_at)
    await bench.type("unlink P-1 OPS-1182")
    resolve(bench, panic, "x")
    await waiting(lambda: "Cause: x" in bench.jira.ticket("OPS-1179").comments[0].body)
    assert "Cause" not in bench.jira.ticket("OPS-1182").comments[0].body


async def test_a_panic_split_off_leaves_the_comment_to_the_incident_it_is_of(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench()
    first = await bench.panic("web-17")
    incident = bench.ctx.db.read_now(lambda s: s.get(Incident, first.incident_id))
    await bench.panic("web-18", incident=incident)
    other = await bench.panic("db-1")
    for ref in ("P-1", "P-2"):
        await bench.type(f"link {ref} OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").told_at and bench.link("OPS-1182", 2).told_at)
    (comment,) = bench.jira.ticket("OPS-1182").comments
    assert "2 hosts: web-17, web-18." in comment.body

    def move(session: Any) -> None:
        with telling_moves(session, bench.ctx.on_moved):
            session.get_one(Panic, 2).incident_id = other.incident_id

    bench.ctx.db.write_now(move)
    resolve(bench, other, "of the other")
    await waiting(lambda: bench.link("OPS-1182", 2).told_resolved)
    assert "of the other" not in comment.body
    resolve(bench, first, "of this")
    await waiting(lambda: "Cause: of this" in comment.body)
    assert len(bench.jira.ticket("OPS-1182").comments) == 1


@on_both
async def test_a_ticket_that_changes_changes_its_cards(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    await bench.panic()
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").told_at)
    bench.jira.tracker.change(bench.jira.ticket("OPS-1182"), status="Done", assignee="on-call <!here>")
    assert await bench.desk.on_ticket_changed({"OPS-1182", "OPS-4711"}) == 1
    await waiting(lambda: "*Status*\nDone" in bench.card("OPS-1182"))
    assert "on-call &lt;!here&gt;" in bench.card("OPS-1182")
    assert said(bench) == ["OPS-1182 is Done now (it was In Progress)"]
    await bench.desk.on_ticket_changed({"OPS-1182"})
    await waiting(lambda: bench.link("OPS-1182").look_at > datetime.now(UTC))
    assert len(said(bench)) == 1, "nothing has changed since"


async def test_without_a_webhook_the_ticket_is_asked_for(make_bench: Make, waiting: Any) -> None:
    bench = make_bench(ASKED_OFTEN)
    panic = await bench.panic()
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").told_at)
    await bench.desk.on_ticket_changed({"OPS-1182"})
    bench.jira.tracker.fail("503", count=2)
    bench.jira.tracker.change(bench.jira.ticket("OPS-1182"), status="Implementing")
    await waiting(lambda: "*Status*\nImplementing" in bench.card("OPS-1182"))
    bench.jira.tracker.change(bench.jira.ticket("OPS-1182"), status="Done", resolved=1795435200.0)
    resolve(bench, panic, "x")
    await waiting(lambda: bench.link("OPS-1182").look_at is None)
    assert bench.link("OPS-1182").status == "Done"


async def test_a_ticket_that_was_moved_goes_on_under_its_new_key(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    await bench.panic()
    await bench.type("link P-1 OPS-1182")
    await bench.type("link P-1 OPS-1179")
    await waiting(lambda: bench.link("OPS-1182").told_at and bench.link("OPS-1179").told_at)
    bench.jira.tracker.move("OPS-1182", "KERN-300")
    await bench.desk.on_ticket_changed({"OPS-1182"})
    await waiting(lambda: bench.link("KERN-300"))
    assert "|KERN-300>" in bench.card("KERN-300")
    assert bench.link("OPS-1182") is None
    assert said(bench) == ["OPS-1182 was moved at the tracker: it is KERN-300 now"]
    await bench.type("link P-1 OPS-1182")  # by the key it had: it is linked already
    await waiting(lambda: bench.link("OPS-1182").state == "removed")
    assert bench.link("KERN-300").state == "linked"
    await bench.type("unlink P-1 KERN-300")
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("KERN-300").state == "linked")
    assert bench.link("OPS-1182").state == "removed"
    assert len(bench.jira.ticket("KERN-300").comments) == 1


async def test_a_ticket_that_is_gone_says_so_and_comes_back(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    await bench.panic()
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").told_at)
    bench.jira.tracker.move("OPS-1182", "SEC-2")
    await bench.desk.on_ticket_changed({"OPS-1182"})
    await waiting(lambda: "it can no longer be read: There is no such ticket" in bench.card("OPS-1182"))
    assert bench.link("OPS-1182").look_at is None
    assert said(bench) == ["OPS-1182 of P-1 can no longer be read at the tracker"]
    bench.jira.tracker.move("SEC-2", "OPS-1182")
    await bench.desk.on_ticket_changed({"OPS-1182"})
    await waiting(lambda: "no longer" not in bench.card("OPS-1182"))


def resolve(bench: Any, panic: Panic, cause: str) -> None:
    def act(session: Any) -> None:
        incident = session.get_one(Incident, panic.incident_id)
        life.resolve(session, incident, cause, "", "U0ONCALL", bench.ctx.clock())

    bench.ctx.db.write_now(act)


def said(bench: Any) -> list[str]:
    return bench.ctx.db.read_now(
        lambda s: list(
            s.exec(
                select(TimelineEntry.text)
                .where(TimelineEntry.verb == "change-status")
                .order_by(TimelineEntry.id)
            ).all()
        )
    )
