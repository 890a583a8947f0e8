"""Linking change tickets, against a real tracker's protocol: what the thread and the ticket say in the end."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import select
from structlog.testing import capture_logs

from bot.demo.tracker import Ticket
from bot.demo.workspace import check_message
from commands.changes.choosing import SearchBox
from commands.changes.config import ChangesConfig
from commands.changes.likely import unsearched
from commands.errors import Refused
from commands.incident.moves import telling_moves
from commands.incident.rendering import draw
from storage import (
    AuditEntry,
    ChangeLink,
    ChangeRecord,
    Incident,
    Panic,
    SlackMessage,
    SlackRequest,
    TimelineEntry,
)

from .conftest import on_both

Make = Callable[..., Any]
AUTO = ChangesConfig(retry_first=timedelta(milliseconds=30), retry_longest=timedelta(milliseconds=120))


async def test_a_linked_ticket_has_a_card_one_comment_and_one_link(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    panic = await bench.panic()
    said = await bench.type("link P-1 ops-1182 it's the rollout <!here>")
    assert said == "OPS-1182 is being linked to P-1; its card appears in the thread."
    await waiting(lambda: "comment with this thread's link" in bench.card("OPS-1182"))
    card = bench.card("OPS-1182")
    assert (
        f"*Change* *<{bench.jira.url}/browse/OPS-1182|OPS-1182>* roll kernel 6.1.0-56 to ring prod-2" in card
    )
    for piece in (
        "In Progress",
        "kernel-engineer",
        "2 h 59 min before the panic",
        "not ended",
        "it's the rollout &lt;!here&gt;",
    ):
        assert piece in card, piece
    assert "it's the rollout &lt;!here&gt;" in card
    assert "by <@U0ONCALL>" in card
    ticket = bench.jira.ticket("OPS-1182")
    link = await bench.ctx.slack.permalink(*parent(bench))
    assert [c.body.count(link) for c in ticket.comments] == [1]
    assert "web" in ticket.comments[0].body
    assert "rollout" in ticket.comments[0].body
    assert [(x.url, x.global_id) for x in ticket.links] == [(link, f"panicroom:{mark(bench, panic)}")]
    assert f"(panicroom {mark(bench, panic)})" in ticket.comments[0].body.replace("\\", "")
    assert timeline(bench) == ["OPS-1182 linked to P-1: it's the rollout &lt;!here&gt;"]
    assert sorted(audit(bench)) == [
        ("U0ONCALL", "link", "P-1 ops-1182 it's the rollout <!here>", "done"),
        ("panicroom", "changes.tell", "P-1 OPS-1182", "done"),
    ]


async def test_the_same_again_says_so_and_tells_the_ticket_nothing_new(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench()
    await bench.panic()
    bench.jira.hold("before", "GET", "/issue/OPS-1182")
    await bench.type("link P-1 OPS-1182")
    await waiting(bench.jira.holding.is_set)
    assert "being linked to P-1 already" in await bench.type("link P-1 OPS-1182", user="U0KERNEL")
    bench.jira.let_go()
    await waiting(lambda: bench.link("OPS-1182").told_at)
    assert "is linked to P-1 already (by <@U0ONCALL>" in await bench.type(
        "link P-1 OPS-1182", user="U0KERNEL"
    )
    assert len(bench.jira.ticket("OPS-1182").comments) == 1
    assert len(timeline(bench)) == 1


async def test_the_browser_address_of_a_ticket_is_as_good_as_its_key(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    await bench.panic()
    await bench.type(f"link P-1 <{bench.jira.url}/browse/OPS-1179|OPS-1179>")
    await waiting(lambda: bench.link("OPS-1179").state == "linked")


async def test_in_a_thread_the_panic_need_not_be_named(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    await bench.panic()
    await bench.type("link OPS-1182 see there", thread_ts=parent(bench)[1])
    await waiting(lambda: bench.link("OPS-1182").state == "linked")
    assert bench.link("OPS-1182").note == "see there"


async def test_what_is_typed_wrongly_is_answered_with_an_example(make_bench: Make) -> None:
    bench = make_bench(running=False)
    await bench.panic()
    for line, piece in (
        ("link", "say which ticket"),
        ("link P-1", "say which ticket"),
        ("link P-1 <!channel>", "no ticket key"),
        ("link P-1 OPS", "no ticket key"),
        ("link P-1 OPS-0", "no ticket key"),
    ):
        said = await bench.type(line)
        assert piece in said, line
        assert "For example: `/panic link P-41 OPS-1182`" in said
        assert "<!" not in said
    assert "there is no panic P-9" in await bench.type("link P-9 OPS-1182")
    assert "not linked to P-1" in await bench.type("unlink P-1 OPS-1182")


async def test_a_viewer_is_refused(make_bench: Make) -> None:
    bench = make_bench(running=False)
    await bench.panic()
    assert "needs the role *responder*" in await bench.type("link P-1 OPS-1182", user="U0VIEWER")
    assert bench.link("OPS-1182") is None


async def test_an_unknown_or_hidden_ticket_fails_for_good_and_says_why(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench()
    await bench.panic()
    await bench.type("link P-1 OPS-9999")
    await waiting(lambda: bench.link("OPS-9999").state == "failed")
    card = bench.card("OPS-9999")
    assert "*OPS-9999* could not be linked to P-1: There is no such ticket" in card
    assert "Try now" in card
    # Not the last: the router may record that the verb was done after the desk has found what came of it.
    assert ("U0ONCALL", "link", "P-1 OPS-9999", "failed") in audit(bench)
    assert bench.link("OPS-9999").next_at is None
    assert timeline(bench)[-1].startswith("OPS-9999 could not be linked")
    bench.jira.tracker._tickets["OPS-9999"] = Ticket(
        "OPS-9999", "9", "made later", "", "Open", "Change", None, 1.0, 1.0
    )
    assert "being tried again now" in await bench.click("changes.retry", "P-1 OPS-9999")
    await waiting(lambda: bench.link("OPS-9999").told_at)
    assert "made later" in bench.card("OPS-9999")


async def test_a_ticket_that_may_not_be_written_on_stays_linked_and_says_so(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench()
    await bench.panic()
    await bench.type("link P-1 ARCHIVE-9")
    await waiting(lambda: "could not be told" in bench.card("ARCHIVE-9"))
    link = bench.link("ARCHIVE-9")
    assert (link.state, link.told_at, link.next_at) == ("linked", None, None)
    assert "old rollout" in bench.card("ARCHIVE-9")
    assert "account may not do this" in bench.card("ARCHIVE-9")
    assert ("panicroom", "changes.tell", "P-1 ARCHIVE-9", "failed") in audit(bench)


async def test_a_tracker_that_is_down_is_asked_again_and_the_thread_says_when(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench()
    await bench.panic()
    bench.jira.tracker.fail("503", count=10_000)  # until the card was seen
    await bench.type("link P-1 OPS-1182")
    card = await waiting(lambda: (c := bench.card("OPS-1182")) and "not linked yet" in c and c)
    assert "does not answer as it should" in card
    assert re.search(r"Tried \d+ times?; next try <!date\^", card)
    assert "Nothing needs to be done" in card
    bench.jira.tracker.faults.clear()
    await waiting(lambda: bench.link("OPS-1182").told_at)
    card = bench.card("OPS-1182")
    assert "roll kernel" in card
    assert "not linked yet" not in card
    assert bench.link("OPS-1182").error is None


async def test_an_answer_lost_after_the_comment_landed_makes_no_second_comment(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench()
    await bench.panic()
    bench.jira.tracker.fail("lost_answer", path="/comment")  # the look, before the comment
    bench.jira.tracker.fail("lost_answer", path="/remotelink")
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").told_at)
    assert len(bench.jira.ticket("OPS-1182").comments) == len(bench.jira.ticket("OPS-1182").links) == 1


async def test_the_ticket_is_told_once_the_parent_message_stands(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    panic = await bench.panic(posted=False)
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").state == "linked")
    assert "is being told" in bench.card("OPS-1182")
    ts = await bench.ctx.slack.post("C0INCIDENTS", "parent", [], key="x")

    def posted(session: Any) -> None:
        row = session.exec(
            select(SlackMessage).where(SlackMessage.key == f"incident:{panic.incident_id}")
        ).one()
        row.ts = ts

    bench.ctx.db.write_now(posted)
    await waiting(lambda: bench.link("OPS-1182").told_at)


async def test_unlinking_marks_the_card_and_leaves_the_ticket_alone(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    await bench.panic()
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").told_at)
    assert "OPS-1182 is unlinked from P-1" in await bench.click("changes.unlink", "P-1 OPS-1182")
    assert "was unlinked from P-1" in bench.card("OPS-1182")
    assert "stays there" in bench.card("OPS-1182")
    assert len(bench.jira.ticket("OPS-1182").comments) == 1
    assert "was unlinked before" in await bench.type("unlink P-1 OPS-1182")
    assert timeline(bench)[-1] == "OPS-1182 unlinked"
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").state == "linked")
    assert "Unlink" in bench.card("OPS-1182")


async def test_unlinked_while_the_tracker_is_asked_stays_unlinked(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    await bench.panic()
    bench.jira.hold("after", "GET", "/issue/OPS-1182")
    await bench.type("link P-1 OPS-1182")
    await bench.jira.holding.wait()
    await bench.type("unlink P-1 OPS-1182")
    bench.jira.let_go()
    await waiting(lambda: not bench.desk._working)
    assert bench.link("OPS-1182").state == "removed"
    assert bench.jira.ticket("OPS-1182").comments == []


async def test_links_left_over_from_before_a_restart_are_worked_on(make_bench: Make, waiting: Any) -> None:
    before = make_bench(running=False)
    await before.panic()
    await before.type("link P-1 OPS-1182")
    after = make_bench()
    await waiting(lambda: after.link("OPS-1182").told_at)


async def test_without_a_tracker_people_are_told_what_to_set(make_bench: Make) -> None:
    bench = make_bench(running=False)
    await bench.panic()
    tracker, bench.desk.tracker = bench.desk.tracker, None
    assert "no change tracker is set up" in await bench.type("link P-1 OPS-1182")
    await bench.desk.run()
    bench.desk.tracker = tracker


async def test_a_panic_without_a_thread_is_told_why(make_bench: Make) -> None:
    bench = make_bench(running=False)
    imported = Panic(host="web-1", title="t", signature_key="k", occurred_at=datetime(2020, 1, 1, tzinfo=UTC))
    bench.store(imported)
    said = await bench.type("link P-1 OPS-1182")
    assert "P-1 has no thread to put the ticket in" in said
    assert bench.link("OPS-1182") is None


async def test_an_id_that_begins_anew_with_a_new_database_does_not_silence_the_comment(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench()
    await bench.panic()
    earlier = "Kernel panic P-1 (I-1) on web-9: of another installation. (panicroom I-1)"
    bench.jira.tracker.comment(bench.jira.ticket("OPS-1182"), earlier)
    bench.jira.tracker.link(bench.jira.ticket("OPS-1182"), "panicroom:I-1", "https://old.example/p1", "old")
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").told_at)
    assert len(bench.jira.ticket("OPS-1182").comments) == 2
    assert len(bench.jira.ticket("OPS-1182").links) == 2


# -- once a request -----------------------------------------------------------------------------------


async def test_a_request_that_is_worked_on_again_after_a_crash_makes_nothing_twice(make_bench: Make) -> None:
    bench = make_bench(running=False)
    await bench.panic()
    bench.store(*(SlackRequest(dedupe=f"d-{n}", kind="command", body="{}") for n in range(3)))

    async def handle(verb: str, number: int, text: str) -> list[str]:
        """The verb without the router that records what came of it: as when the process dies in between."""
        before = len(bench.answers)
        ask = replace(bench.ask(text), request_id=f"d-{number}")
        await bench.router.verbs[verb].handler(ask)
        return bench.answers[before:]

    assert len(await handle("link", 0, "P-1 OPS-1182 first")) == 1
    assert "is unlinked from P-1" in (await handle("unlink", 1, "P-1 OPS-1182"))[0]
    assert await handle("link", 0, "P-1 OPS-1182 first") == []
    assert bench.link("OPS-1182").state == "removed", "what was unlinked since stays unlinked"
    await handle("link", 2, "P-1 OPS-1182 again")
    assert await handle("unlink", 1, "P-1 OPS-1182") == []
    assert bench.link("OPS-1182").state == "pending", "what was linked since stays linked"
    assert len(timeline(bench)) == 3


# -- a panic that moves -------------------------------------------------------------------------------


async def test_the_cards_follow_a_panic_into_another_thread_and_back(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    first = await bench.panic("web-17")
    other = await bench.panic("db-1")
    await bench.type("link P-1 OPS-1182")
    await bench.type("link P-1 OPS-1179")
    await waiting(lambda: bench.link("OPS-1182").told_at and bench.link("OPS-1179").told_at)
    await bench.type("unlink P-1 OPS-1179")
    cards = {m.key: m.wanted for m in messages(bench)}

    def move(to: int | None) -> Any:
        def act(session: Any) -> None:
            with telling_moves(session, bench.ctx.on_moved):
                session.get_one(Panic, first.id).incident_id = to

        return act

    here_id, there_id = first.incident_id, other.incident_id
    bench.ctx.db.write_now(move(there_id))
    there, here = shown(bench, "change:1:2"), shown(bench, "change:1:1")
    assert "*Change*" in there
    assert "with the link of a thread that P-1 was in" in there
    assert here == "OPS-1182 went with P-1 to I-2."
    assert {m.key: m.wanted for m in messages(bench)}["change:1:1"] == cards["change:1:1"] + 1
    assert not [m for m in messages(bench) if m.key == "change:2:2"], "what was unlinked stays behind"
    assert "was unlinked" in shown(bench, "change:2:1")

    bench.ctx.db.write_now(move(here_id))
    assert "*Change*" in shown(bench, "change:1:1")
    assert shown(bench, "change:1:2") == "OPS-1182 went with P-1 to I-1."
    assert len(bench.jira.ticket("OPS-1182").comments) == 1


# -- found by itself ----------------------------------------------------------------------------------


@on_both
async def test_the_change_that_fits_best_is_found_shown_and_told(make_bench: Make, waiting: Any) -> None:
    bench = make_bench(AUTO)
    panic = await bench.panic("web-17", ring="prod-2", hardware="Dell PowerEdge R640")
    await bench.desk.on_panic(panic.id)
    await waiting(lambda: (link := bench.link("OPS-1182")) and link.told_at)
    card = bench.card("OPS-1182")
    assert "*Likely change*" in card
    assert (
        "found by Panicroom itself: it started 2 h before and was still under way; covers the panicking"
        in card
    )
    assert "names kernel 6.1.0-56" in card
    assert "Not related" in card
    assert (
        "found this change by itself: it started 2 h before" in bench.jira.ticket("OPS-1182").comments[0].body
    )
    assert audit(bench) == [
        ("panicroom", "changes.find", "P-1 OPS-1182", "done"),
        ("panicroom", "changes.tell", "P-1 OPS-1182", "done"),
    ]
    (said,) = timeline(bench, "change-search")
    assert "likely change of P-1: OPS-1182" in said
    assert "also possible: OPS-1179" in said


async def test_a_likely_change_becomes_the_change_when_a_person_confirms_it(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench(AUTO)
    panic = await bench.panic("web-17")
    await bench.desk.on_panic(panic.id)
    await waiting(lambda: (link := bench.link("OPS-1179")) and link.told_at)
    assert "Confirm" in bench.card("OPS-1179")
    assert await bench.click("changes.confirm", "P-1 OPS-1179") == "OPS-1179 is confirmed for P-1. Thank you."
    card = bench.card("OPS-1179")
    assert "*Change*" in card
    assert "by <@U0ONCALL>" in card
    assert "Confirm" not in card
    assert timeline(bench) == ["OPS-1179 confirmed for P-1"]
    assert "already" in await bench.type("link P-1 OPS-1179")
    assert len(bench.jira.ticket("OPS-1179").comments) == 1


async def test_when_nothing_names_it_only_the_timeline_says_so(make_bench: Make, waiting: Any) -> None:
    bench = make_bench(AUTO)
    panic = await bench.panic("lonely-1")
    await bench.desk.on_panic(panic.id)
    (said,) = await waiting(lambda: timeline(bench, "change-search"))
    assert said == "no change found: none is known of the 7d before the first panic (P-1)"


async def test_not_related_holds_for_the_whole_incident(make_bench: Make, waiting: Any) -> None:
    bench = make_bench(AUTO)
    first = await bench.panic("web-17")
    await bench.desk.on_panic(first.id)
    await waiting(lambda: bench.link("OPS-1179"))
    await bench.click("changes.unlink", "P-1 OPS-1179")
    incident = bench.ctx.db.read_now(lambda s: s.get(Incident, first.incident_id))
    second = await bench.panic("web-17", incident=incident)
    await bench.desk.on_panic(second.id)
    await waiting(lambda: len(timeline(bench, "change-search")) == 2)
    assert bench.link("OPS-1179", second.id) is None


async def test_a_search_survives_a_tracker_that_is_down_and_a_restart(make_bench: Make, waiting: Any) -> None:
    bench = make_bench(AUTO)
    panic = await bench.panic("web-17")
    bench.jira.tracker.fail("down", count=1000)
    await bench.desk.on_panic(panic.id)
    await waiting(lambda: len(bench.jira.tracker.calls) >= 2)
    await bench.stop()
    bench.jira.tracker.faults.clear()
    after = make_bench(AUTO)  # nobody tells it of the panic: it looks for itself
    await waiting(lambda: after.link("OPS-1179"))
    assert len(timeline(after, "change-search")) == 1


async def test_a_fleet_wide_panic_does_not_search_for_each_host(make_bench: Make, waiting: Any) -> None:
    bench = make_bench(AUTO.model_copy(update={"searches_per_incident": 2}))
    first = await bench.panic("web-1")
    incident = bench.ctx.db.read_now(lambda s: s.get(Incident, first.incident_id))
    rest = [await bench.panic(f"web-{n}", incident=incident) for n in range(2, 9)]
    for panic in (first, *rest):
        await bench.desk.on_panic(panic.id)
    await waiting(lambda: not bench.desk._searches and not bench.desk._working)
    assert 2 <= len(timeline(bench, "change-search")) <= 5, (
        "what was under way at the same time may still end"
    )
    assert len([c for c in bench.jira.tracker.calls if "search" in c]) <= 5


async def test_many_links_and_searches_are_a_few_tasks_and_all_are_done(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench(AUTO.model_copy(update={"concurrency": 3}), running=False)
    first = await bench.panic("lonely-0")
    incidents = [await bench.panic(f"lonely-{n}") for n in range(1, 7)]
    now = datetime.now(UTC)
    bench.store(
        *(
            ChangeLink(panic_id=first.id, key=f"OPS-{9000 + n}", linked_by="U0ONCALL", next_at=now)
            for n in range(40)
        )
    )
    bench.jira.hold("before", "GET", "/issue/OPS-9000")
    bench.start()
    for panic in incidents:
        await bench.desk.on_panic(panic.id)
    async with asyncio.timeout(45):
        await bench.jira.holding.wait()
    most = 0

    def all_but_the_held_one() -> bool:
        nonlocal most
        most = max(most, len(bench.desk._working))
        waiting_for = [n for n in range(40) if bench.link(f"OPS-{9000 + n}").state == "pending"]
        return waiting_for == [0] and not bench.desk._searches

    await waiting(all_but_the_held_one)
    bench.jira.let_go()
    await waiting(lambda: bench.link("OPS-9000").state == "failed")
    assert most <= 3
    assert len(timeline(bench, "change-search")) == 7, "the one that the start of the desk found, too"


async def test_while_nothing_can_be_written_the_tracker_is_not_asked_in_a_loop(
    make_bench: Make, waiting: Any
) -> None:
    bench = make_bench(AUTO.model_copy(update={"retry_first": timedelta(seconds=0.2)}), running=False)
    panic = await bench.panic("lonely-1")
    await bench.type("link P-1 OPS-1182")
    refuse = "CREATE TRIGGER full BEFORE {} BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
    both = ("UPDATE ON change_link", "INSERT ON timeline_entry")

    def fill(session: Any) -> None:
        for number, what in enumerate(both):
            session.connection().exec_driver_sql(refuse.format(what).replace("full", f"full{number}", 1))

    def empty(session: Any) -> None:
        for number in range(len(both)):
            session.connection().exec_driver_sql(f"DROP TRIGGER full{number}")

    bench.ctx.db.write_now(fill)
    with capture_logs():  # rendering the tracebacks would take longer than the pauses
        begun = time.monotonic()
        bench.start()
        await bench.desk.on_panic(panic.id)
        await waiting(lambda: len([c for c in bench.jira.tracker.calls if "OPS-1182" in c]) >= 3)
        assert time.monotonic() - begun >= 0.4, "the pause between two tries is kept"
        bench.ctx.db.write_now(empty)
        await waiting(lambda: bench.link("OPS-1182").told_at)
        await waiting(lambda: timeline(bench, "change-search"))
    await waiting(lambda: not bench.desk._searches)


@on_both
async def test_what_is_left_to_search_is_asked_for_in_two_queries(make_bench: Make) -> None:
    bench = make_bench(running=False)
    expected = []
    for n in range(6):
        first = await bench.panic(f"web-{n}-0")
        incident = bench.ctx.db.read_now(lambda s, i=first.incident_id: s.get(Incident, i))
        rest = [await bench.panic(f"web-{n}-{m}", incident=incident) for m in range(1, 4)]
        searched = [first, *rest][: n % 4]
        bench.store(
            *(TimelineEntry(incident_id=incident.id, panic_id=p.id, verb="change-search") for p in searched)
        )
        expected += [p.id for p in [first, *rest][n % 4 : 2]]
    moved = await bench.panic("moved-1")
    bench.store(TimelineEntry(incident_id=1, panic_id=moved.id, verb="change-search"))  # in its old thread
    old = await bench.panic("old-1", occurred_at=datetime(2020, 1, 1, tzinfo=UTC))
    asked: list[str] = []

    def keep(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(bench.ctx.db.engine, "before_cursor_execute", keep)
    since = datetime.now(UTC) - timedelta(hours=24)
    found = bench.ctx.db.read_now(lambda s: unsearched(s, since, 2))
    event.remove(bench.ctx.db.engine, "before_cursor_execute", keep)
    # The entry of the one that moved counts where it was made: incident 1 has one search left.
    assert found == [*(i for i in expected if i != 2), moved.id]
    assert old.id not in found
    assert len([s for s in asked if "SELECT" in s]) == 2


# -- the form -----------------------------------------------------------------------------------------


async def test_the_form_has_a_box_that_searches_the_tracker(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    await bench.panic("web-17", ring="prod-2")
    trigger = bench.workspace.workspace.tickets.trigger("U0ONCALL")
    await bench.click("changes.link", "P-1", trigger_id=trigger, message_ts="17.5")
    view = await bench.form()
    assert [b.get("block_id") for b in view["blocks"]][1:] == ["ticket", "key", "note"]

    async def offered(typed: str) -> list[dict[str, Any]]:
        return list(await bench.router.options["changes.search"](bench.ask(value=typed, view=view)))

    options = await offered("")
    assert [o["value"] for o in options] == ["OPS-1179", "OPS-1182"]
    assert options[0]["text"]["text"].startswith("OPS-1179 (Implementing) web-17: replace NIC")
    assert [o["value"] for o in await offered("disk she")] == ["OPS-1102"]
    assert [o["value"] for o in await offered("ops-1171")] == ["OPS-1171"]
    (unknown,) = await offered("OPS-9999")
    assert (unknown["value"], "does not know it" in str(unknown)) == ("OPS-9999", True)
    assert await offered("nothing of the kind") == []
    sent = {"ticket": {"changes.search": {"selected_option": options[1]}}, "key": {"value": {"value": ""}},
            "note": {"value": {"value": "the rollout"}}}  # fmt: skip
    ask = bench.ask(view=view, values=sent)
    assert bench.router.check("changes.link", ask) == {}
    await bench.router.submit("changes.link", ask)
    await waiting(lambda: bench.link("OPS-1182").told_at)
    assert bench.link("OPS-1182").note == "the rollout"


@on_both
async def test_a_slow_tracker_leaves_the_box_with_what_was_last_known(make_bench: Make, waiting: Any) -> None:
    bench = make_bench()
    await bench.panic("web-17")
    await bench.type("link P-1 OPS-1182")
    await waiting(lambda: bench.link("OPS-1182").told_at)
    seen = ChangeRecord(source="jira", key="OPS-1171", summary="BIOS 2.21 %", started=datetime.now(UTC))
    feed = ChangeRecord(source="pipeline", key="OPS-5", summary="BIOS", started=datetime.now(UTC))
    bench.store(seen, feed)
    patient = bench.jira.client(timeout=120)  # so that it is the box that gives up, however busy the machine
    box = SearchBox(bench.ctx, lambda: patient, bench.desk.suggestions, within=0.3)
    bench.jira.hold("before", "GET", "/search/jql")
    async with asyncio.timeout(45):
        options = await box.options(bench.ask(value="roll KERNEL"))
    assert [(o["value"], o["description"]["text"]) for o in options] == [
        ("OPS-1182", "as last known; the tracker does not answer")
    ]
    calls = len(bench.jira.tracker.calls)
    assert [o["value"] for o in await box.options(bench.ask(value="bios"))] == ["OPS-1171"]
    assert [o["value"] for o in await box.options(bench.ask(value="%"))] == ["OPS-1171"], "no wildcard"
    assert [o["value"] for o in await box.options(bench.ask(value="ops-77"))] == ["OPS-77"]
    assert len(bench.jira.tracker.calls) == calls, "a slow tracker is not asked at each letter"
    bench.jira.let_go()
    await patient.close()


async def test_the_box_is_for_responders(make_bench: Make) -> None:
    bench = make_bench(running=False)
    with pytest.raises(Refused):
        await bench.router.options["changes.search"](bench.ask(value="kernel", user="U0VIEWER"))
    assert not bench.jira.tracker.calls


async def test_the_form_says_which_field_is_wrong(make_bench: Make) -> None:
    bench = make_bench(running=False)

    def wrong(key: str, chosen: str | None = None) -> dict[str, str]:
        values: dict[str, Any] = {"key": {"value": {"value": key}}}
        if chosen:
            values["ticket"] = {"changes.search": {"selected_option": {"value": chosen}}}
        return dict(bench.router.check("changes.link", bench.ask(values=values)))

    assert "Type a ticket key" in wrong("")["key"]
    assert "no ticket key" in wrong("what?")["key"]
    assert "Leave one" in wrong("OPS-1", "OPS-2")["key"]
    assert wrong("ops-2", "OPS-2") == wrong("ops-2") == wrong("", "OPS-2") == {}


def parent(bench: Any) -> tuple[str, str]:
    row = bench.ctx.db.read_now(
        lambda s: s.exec(select(SlackMessage).where(SlackMessage.renderer == "incident")).first()
    )
    return row.channel, row.ts


def timeline(bench: Any, verb: str | None = None) -> list[str]:
    rows = bench.ctx.db.read_now(lambda s: s.exec(select(TimelineEntry).order_by(TimelineEntry.id)).all())
    return [r.text for r in rows if (r.verb == verb if verb else r.verb != "change-search")]


def mark(bench: Any, panic: Any) -> str:
    key = f"incident:{panic.incident_id}"
    row = bench.ctx.db.read_now(lambda s: s.exec(select(SlackMessage).where(SlackMessage.key == key)).one())
    return f"I-{panic.incident_id}-{int(row.created_at.timestamp())}"


def messages(bench: Any) -> list[SlackMessage]:
    rows = bench.ctx.db.read_now(lambda s: s.exec(select(SlackMessage).order_by(SlackMessage.id)).all())
    return [r for r in rows if r.key.startswith("change:")]


def shown(bench: Any, key: str) -> str:
    """The fallback text and what the blocks say, for one card; "OPS-1 went …" stands in both and is told once."""

    def look(session: Any) -> str:
        message = session.exec(select(SlackMessage).where(SlackMessage.key == key)).one()
        drawn = draw(message.renderer, session, message.subject_id)
        assert drawn is not None
        assert check_message({"text": drawn.text, "blocks": drawn.blocks}) == []
        if message.renderer == "change_moved":
            return drawn.text.removeprefix(":arrow_right: ")
        return json.dumps(drawn.blocks, ensure_ascii=False)

    return str(bench.ctx.db.read_now(look))


def audit(bench: Any) -> list[tuple[str, str, str, str]]:
    rows = bench.ctx.db.read_now(lambda s: s.exec(select(AuditEntry).order_by(AuditEntry.id)).all())
    return [(r.actor, r.verb, r.subject, r.outcome) for r in rows]
