"""The Jira tracker against the stand-in, over HTTP, in both flavours."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.demo.tracker import Ticket, Tracker, seed
from integrations.changes import (
    BadCredentials,
    BadKey,
    BadQuery,
    ChangeTracker,
    JiraConfig,
    JiraTracker,
    NotAllowed,
    TicketUnknown,
    TrackerDown,
    TrackerRefused,
)
from integrations.changes.comments import plain

from .conftest import NOW

MOMENT = datetime.fromtimestamp(NOW, UTC)
Serve = Callable[..., Awaitable[tuple[Tracker, str]]]
FLAVOURS = ["cloud", "datacenter"]
TOLD = {
    "marker": "[panicroom:P-41]",
    "body": "web-17 panicked: https://slack.example/archives/C1/p1_2?thread_ts=1.2&cid=C1",
    "global_id": "panicroom:P-41",
    "link_url": "https://slack.example/archives/C1/p1_2",
    "link_title": "P-41: web-17 panicked",
}


@dataclass
class Jira:
    stand_in: Tracker
    url: str
    made: list[JiraTracker]

    def tracker(self, **options: Any) -> JiraTracker:
        cloud = self.stand_in.flavour == "cloud"
        values = {
            "url": self.url,
            "flavour": self.stand_in.flavour,
            "email": self.stand_in.email if cloud else None,
            "token": self.stand_in.token,
            "projects": ["OPS", "KERN"],
            "timeout": 5,
        }
        tracker = JiraTracker(JiraConfig.model_validate(values | options), clock=lambda: MOMENT)
        self.made.append(tracker)
        return tracker


@pytest.fixture
async def jira(serve: Serve, request: pytest.FixtureRequest) -> AsyncIterator[Jira]:
    stand_in, url = await serve(flavour=getattr(request, "param", "cloud"), page_limit=2)
    made: list[JiraTracker] = []
    yield Jira(stand_in, url, made)
    for tracker in made:
        await tracker.close()


both = pytest.mark.parametrize("jira", FLAVOURS, indirect=True)


@both
async def test_a_ticket_is_read(jira: Jira) -> None:
    tracker: ChangeTracker = jira.tracker()
    change = await tracker.get("ops-1176")
    assert (change.key, change.status, change.kind, change.assignee) == (
        "OPS-1176",
        "Done",
        "Change",
        "databases",
    )
    assert change.url == f"{jira.url}/browse/OPS-1176"
    assert change.started == MOMENT - timedelta(days=2)
    assert change.ended == change.updated == MOMENT - timedelta(hours=5)
    assert (await tracker.get("KERN-77")).ended is None


async def test_making_a_tracker_calls_nobody(jira: Jira) -> None:
    jira.tracker()
    assert not jira.stand_in.calls


@both
async def test_changes_that_name_the_host_come_first(jira: Jira) -> None:
    found = await jira.tracker().find(
        "web-17",
        ring="prod-2",
        hardware="Dell PowerEdge R640",
        since=MOMENT - timedelta(days=7),
        until=MOMENT,
    )
    assert [(change.key, change.names) for change in found] == [
        ("OPS-1179", ("host",)),
        ("OPS-1182", ("ring",)),
        ("OPS-1171", ("hardware",)),
    ]


@both
async def test_only_what_was_under_way_counts(jira: Jira) -> None:
    tracker = jira.tracker()
    since = MOMENT - timedelta(hours=6)
    assert [c.key for c in await tracker.find("db-3", since=since, until=MOMENT)] == ["OPS-1176"]
    assert await tracker.find("db-3", since=MOMENT - timedelta(hours=4), until=MOMENT) == []
    assert (
        await tracker.find("db-3", since=MOMENT - timedelta(days=5), until=MOMENT - timedelta(days=3)) == []
    )
    assert await tracker.find("store-1", since=since, until=MOMENT) == []
    assert await tracker.find("web-1", since=since, until=MOMENT) == []
    assert await tracker.find("...", since=since, until=MOMENT) == []


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_pages_are_followed_to_the_limit(serve: Serve, flavour: str) -> None:
    tickets = [
        Ticket(f"OPS-{n}", str(n), f"web-17 step {n}", "", "Open", "Change", None, NOW - 60, NOW - n)
        for n in range(1, 8)
    ]
    stand_in, url = await serve(tickets=tickets, flavour=flavour, page_limit=2)
    jira = Jira(stand_in, url, [])
    found = await jira.tracker(max_results=5).find("web-17", since=MOMENT - timedelta(hours=1), until=MOMENT)
    assert [c.key for c in found] == [f"OPS-{n}" for n in range(1, 6)]
    assert len(await jira.tracker().find("web-17", since=MOMENT - timedelta(hours=1), until=MOMENT)) == 7
    for tracker in jira.made:
        await tracker.close()


@both
async def test_a_ticket_is_told_once_however_often(jira: Jira) -> None:
    tracker = jira.tracker()
    for _ in range(3):
        await tracker.tell("OPS-1182", **TOLD)
    await asyncio.gather(*(tracker.tell("OPS-1182", **TOLD) for _ in range(3)))
    ticket = jira.stand_in.ticket("OPS-1182")
    assert ticket is not None
    assert [(link.global_id, link.url, link.title) for link in ticket.links] == [
        (TOLD["global_id"], TOLD["link_url"], TOLD["link_title"])
    ]
    assert len(ticket.comments) == 1
    assert "https://slack.example/archives/C1/p1_2?thread_ts=1.2&cid=C1" in ticket.comments[0].body
    assert not any("applink" in call for call in jira.stand_in.calls)


@both
async def test_the_own_comment_is_found_far_down(jira: Jira) -> None:
    tracker = jira.tracker()
    await tracker.tell("OPS-1182", **TOLD)
    ticket = jira.stand_in.ticket("OPS-1182")
    assert ticket is not None
    for number in range(7):
        jira.stand_in.comment(ticket, f"someone says {number}")
    await tracker.tell("OPS-1182", **TOLD)
    assert len(ticket.comments) == 8
    await tracker.tell("OPS-1182", **(TOLD | {"marker": "[panicroom:P-42]", "global_id": "panicroom:P-42"}))
    assert (len(ticket.comments), len(ticket.links)) == (9, 2)


@pytest.mark.parametrize("lost", range(6))
@both
async def test_whichever_answer_is_lost_there_is_no_double(jira: Jira, lost: int) -> None:
    """A tell reads the links, links, reads the comments and comments: four calls."""
    tracker = jira.tracker()
    jira.stand_in.fail("slow", count=lost)
    jira.stand_in.fail("lost_answer")
    failed = False
    try:
        await tracker.tell("OPS-1182", **TOLD)
    except TrackerDown:
        failed = True
    assert failed == (lost < 4)
    jira.stand_in.faults.clear()
    await tracker.tell("OPS-1182", **TOLD)
    ticket = jira.stand_in.ticket("OPS-1182")
    assert ticket is not None
    assert (len(ticket.links), len(ticket.comments)) == (1, 1)


@both
async def test_what_jira_refuses_is_told_with_a_remedy(jira: Jira) -> None:
    tracker = jira.tracker()
    with pytest.raises(TicketUnknown, match=r"Check the key.*OPS-9: HTTP 404"):
        await tracker.get("OPS-9")
    with pytest.raises(TicketUnknown):
        await tracker.tell("SEC-1", **TOLD)
    with pytest.raises(NotAllowed, match="permission"):
        await tracker.tell("ARCHIVE-9", **TOLD)
    with pytest.raises(BadKey):
        await tracker.get("../myself")
    with pytest.raises(BadCredentials, match="token"):
        await jira.tracker(token="wrong").get("OPS-1182")
    with pytest.raises(BadCredentials, match="no spaces"):
        await jira.tracker(token="to\nken").get("OPS-1182")
    with pytest.raises(BadQuery, match="NOPE"):
        await jira.tracker(projects=["NOPE"]).find("web-17", since=MOMENT, until=MOMENT)


async def test_the_wrong_flavour_is_refused_for_good(serve: Serve) -> None:
    stand_in, url = await serve(flavour="cloud")
    config = {"url": url, "flavour": "datacenter", "token": stand_in.token, "projects": ["OPS"]}
    tracker = JiraTracker(JiraConfig.model_validate(config), clock=lambda: MOMENT)
    with pytest.raises(BadCredentials, match="flavour"):
        await tracker.find("web-17", since=MOMENT, until=MOMENT)
    await tracker.close()


@pytest.mark.parametrize(
    ("mode", "delay", "retry_after"),
    [
        ("500", 0, None),
        ("503", 0, None),
        ("429", 30, 30.0),
        ("429", 0, None),
        ("down", 0, None),
        ("html", 0, None),
    ],
)
@both
async def test_what_may_pass_is_transient_and_tried_once(
    jira: Jira, mode: Any, delay: float, retry_after: float | None
) -> None:
    tracker = jira.tracker()
    jira.stand_in.fail(mode, delay=delay, count=100)
    with pytest.raises(TrackerDown) as down:
        await tracker.get("OPS-1182")
    assert (down.value.permanent, down.value.retry_after) == (False, retry_after)
    assert len(jira.stand_in.calls) == 1
    jira.stand_in.faults.clear()
    assert (await tracker.get("OPS-1182")).key == "OPS-1182"


async def test_a_slow_jira_holds_neither_the_caller_nor_the_loop(jira: Jira) -> None:
    tracker = jira.tracker(timeout=0.2)
    jira.stand_in.fail("slow", delay=60.0)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    started = time.monotonic()
    with pytest.raises(TrackerDown, match=r"no answer in 0\.2 s"):
        await tracker.get("OPS-1182")
    assert time.monotonic() - started < 45
    ticking.cancel()
    assert ticks, "the loop stood still meanwhile"


async def test_nobody_there_is_transient_and_the_token_is_in_no_message() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        config = {"url": url, "email": "a@b.c", "token": "s3cret-token", "projects": ["OPS"], "timeout": 1}
        tracker = JiraTracker(JiraConfig.model_validate(config))
        with pytest.raises(TrackerDown, match="cannot be reached") as down:
            await tracker.get("OPS-1182")
        await tracker.close()
    assert "s3cret" not in f"{down.value!r} {down.value.__cause__!r}"


async def test_another_404_and_410_of_search_is_a_refusal(jira: Jira) -> None:
    tracker = jira.tracker(url=f"{jira.url}/no/such/path")
    with pytest.raises(TrackerRefused, match="url"):
        await tracker.find("web-17", since=MOMENT, until=MOMENT)


def test_plain_text_shows_as_itself_and_addresses_stay() -> None:
    assert plain("a*b I-7 *b* [~x|y] {code} https://a.example/p_1-2?x=~1 -!img!") == (
        "a*b I-7 \\*b\\* \\[\\~x\\|y\\] \\{code\\} https://a.example/p_1-2?x=~1 \\-\\!img\\!"
    )


def test_the_demo_has_a_change_for_the_demo_hosts() -> None:
    assert {"OPS-1182", "OPS-1179"} <= {ticket.key for ticket in seed(NOW)}


@pytest.mark.parametrize("marker", ["(panicroom I-7)", "[panicroom:P-41]", "~panicroom_{I-7}!"])
@both
async def test_a_marker_is_found_again_however_it_is_escaped(jira: Jira, marker: str) -> None:
    tracker = jira.tracker()
    ticket = jira.stand_in.ticket("OPS-1182")
    assert ticket is not None
    for written in (marker, plain(marker), marker.replace("-", "\\-")):
        ticket.comments.clear()
        jira.stand_in.comment(ticket, f"said before {written}")
        await tracker.tell("OPS-1182", **(TOLD | {"marker": marker}))
        assert len(ticket.comments) == 1
    ticket.comments.clear()
    jira.stand_in.comment(ticket, "said before (panicroom I-71)")
    await tracker.tell("OPS-1182", **(TOLD | {"marker": marker}))
    assert len(ticket.comments) == 2


# -- written once, edited later -------------------------------------------------------------------------------


@both
async def test_what_is_told_anew_edits_the_own_comment_and_moves_the_link(jira: Jira) -> None:
    tracker = jira.tracker()
    ticket = jira.stand_in.ticket("OPS-1182")
    assert ticket is not None
    await tracker.tell("OPS-1182", **TOLD)
    jira.stand_in.comment(ticket, f"is it this? {ticket.comments[0].body}", author="on-call")
    later = TOLD | {"body": "resolved: a bad driver", "link_url": "https://slack.example/archives/C1/p9"}
    for lost in ("", "/comment/", ""):
        if lost:
            jira.stand_in.fail("lost_answer", path=lost)
            with pytest.raises(TrackerDown):
                await tracker.tell("OPS-1182", renew=True, **(later | {"body": "resolved: again"}))
        else:
            await tracker.tell("OPS-1182", renew=True, **later)
    assert len(ticket.comments) == 2
    assert ticket.comments[0].body == "resolved: a bad driver\n\n\\[panicroom:P-41\\]"
    assert ticket.comments[1].body.startswith("is it this?"), (
        "a person's comment that quotes ours is not touched"
    )
    assert [link.url for link in ticket.links] == [later["link_url"]]


async def test_a_comment_that_a_person_deleted_is_not_written_again(jira: Jira) -> None:
    tracker = jira.tracker()
    ticket = jira.stand_in.ticket("OPS-1182")
    assert ticket is not None
    await tracker.tell("OPS-1182", **TOLD)
    ticket.comments.clear()
    await tracker.tell("OPS-1182", renew=True, **TOLD)
    assert ticket.comments == []


# -- what a person types, and what the answers are made of ----------------------------------------------------


@both
async def test_a_person_finds_tickets_by_key_and_by_words(jira: Jira) -> None:
    tracker = jira.tracker()
    assert [c.key for c in await tracker.search("ops-1102")] == ["OPS-1102"]
    assert [c.key for c in await tracker.search("KERNEL prod-2 rol")] == ["OPS-1182"]
    assert [c.key for c in await tracker.search("ro")] == ["OPS-1182"]
    assert (
        await tracker.search("OPS-9999")
        == await tracker.search(" -- ")
        == await tracker.search("no AND such")
        == []
    )


@both
async def test_explicit_fields_and_the_flavours_own_paging(jira: Jira) -> None:
    """A search asks for few fields, and Cloud is never sent `startAt`."""
    asked = jira.stand_in.queries
    await jira.tracker().find(
        "web-17", ring="prod-2", hardware="R640", since=MOMENT - timedelta(days=7), until=MOMENT
    )
    assert len(asked) >= 2, "more than one page"
    for query in asked:
        fields = set(
            ",".join(query["fields"] if isinstance(query["fields"], list) else [query["fields"]]).split(",")
        )
        assert {"summary", "status", "description", "labels"} <= fields
        assert not fields & {"*all", "*navigable", "comment"}
        assert ("startAt" in query) == (jira.stand_in.flavour == "datacenter")
    assert ("nextPageToken" in asked[-1]) == (jira.stand_in.flavour == "cloud")


@both
async def test_a_ticket_that_was_moved_is_found_by_its_earlier_key(jira: Jira) -> None:
    jira.stand_in.move("OPS-1182", "KERN-300")
    change = await jira.tracker().get("OPS-1182")
    assert (change.key, change.url) == ("KERN-300", f"{jira.url}/browse/KERN-300")
    await jira.tracker().tell("OPS-1182", **TOLD)
    ticket = jira.stand_in.ticket("KERN-300")
    assert ticket is not None
    assert len(ticket.comments) == 1


async def test_a_ticket_moved_to_where_the_account_may_not_look_is_unknown(jira: Jira) -> None:
    jira.stand_in.move("OPS-1182", "SEC-300")
    with pytest.raises(TicketUnknown):
        await jira.tracker().get("OPS-1182")


@both
async def test_wiki_text_names_what_it_marks_up_and_is_kept_plain(jira: Jira) -> None:
    ticket = jira.stand_in.ticket("OPS-1102")
    assert ticket is not None
    jira.stand_in.change(
        ticket, description="{color:red}*web-99*{color} and _prod-7_", resolved=None, status="Open"
    )
    (found,) = await jira.tracker().find(
        "web-99", ring="prod-7", since=MOMENT - timedelta(days=60), until=MOMENT
    )
    assert found.names == ("host", "ring")
    assert "*" not in found.text
    assert "store-1: new disk shelf" in found.text


@pytest.mark.parametrize(("mode", "status"), [("401", 401), ("403", 403), ("404", 404)])
@both
async def test_refusals_of_every_call_are_permanent(jira: Jira, mode: Any, status: int) -> None:
    tracker = jira.tracker()
    kinds = {401: BadCredentials, 403: NotAllowed, 404: (TicketUnknown, TrackerRefused)}[status]
    jira.stand_in.fail(mode, count=100)
    since = MOMENT - timedelta(days=1)
    for ask in (
        lambda: tracker.get("OPS-1182"),
        lambda: tracker.tell("OPS-1182", **TOLD),
        lambda: tracker.find("web-17", since=since, until=MOMENT),
        lambda: tracker.search("kernel"),
    ):
        with pytest.raises(kinds) as refused:  # type: ignore[arg-type]
            await ask()
        assert refused.value.permanent


@pytest.mark.parametrize("mode", ["500", "503", "429", "html", "down"])
@both
async def test_what_may_pass_is_transient_in_a_search_and_while_telling(jira: Jira, mode: Any) -> None:
    tracker = jira.tracker()
    jira.stand_in.fail(mode, count=100)
    with pytest.raises(TrackerDown):
        await tracker.search("kernel")
    with pytest.raises(TrackerDown):
        await tracker.tell("OPS-1182", **TOLD)


@both
async def test_a_ticket_is_made_once_and_says_what_was_meant(jira: Jira) -> None:
    tracker = jira.tracker()
    wanted: dict[str, Any] = {
        "kind": "Problem",
        "summary": "NULL pointer",
        "body": "on *web-17* {code}",
        "labels": ("panicroom",),
        "mark": "panicroom-0123456789abcdef",
    }
    jira.stand_in.fail("lost_answer", path="/issue")
    with pytest.raises(TrackerDown):
        await tracker.create("KERN", **wanted)
    made = await tracker.create("KERN", **wanted)
    assert [t.key for t in jira.stand_in.tickets() if t.kind == "Problem"] == [made.key]
    ticket = jira.stand_in.ticket(made.key)
    assert ticket is not None
    assert ticket.description == "on \\*web-17\\* \\{code\\}"
    assert ticket.labels == ["panicroom", "panicroom-0123456789abcdef"]
    for _ in range(2):
        await tracker.comment(made.key, marker="(panicroom x P-2)", body="again")
    assert len(ticket.comments) == 1
    with pytest.raises(TrackerRefused, match="issue type"):
        await tracker.create("KERN", **(wanted | {"kind": "Riddle", "mark": "panicroom-1"}))
    with pytest.raises(NotAllowed):
        await tracker.create("ARCHIVE", **(wanted | {"mark": "panicroom-2"}))


async def test_a_token_with_scopes_is_taken_at_the_gateway_and_links_lead_to_the_site(serve: Serve) -> None:
    stand_in, url = await serve(cloud_id="1a11d016-demo", page_limit=2)
    jira = Jira(stand_in, url, [])
    at_the_site, through = jira.tracker(), jira.tracker(api_url=f"{url}/ex/jira/1a11d016-demo")
    with pytest.raises(BadCredentials, match="api_url"):
        await at_the_site.get("OPS-1182")
    assert (await through.get("OPS-1182")).url == f"{url}/browse/OPS-1182"
    assert len(await through.search("roll kernel")) == 1
    found = await through.find("web-17", since=MOMENT - timedelta(days=7), until=MOMENT)
    assert [c.key for c in found] == ["OPS-1179"]
    for body in ("first", "then"):
        await through.tell("OPS-1182", **(TOLD | {"body": body}))
    ticket = stand_in.ticket("OPS-1182")
    assert ticket is not None
    assert (len(ticket.links), [c.body.splitlines()[0] for c in ticket.comments]) == (1, ["then"])
    for tracker in jira.made:
        await tracker.close()


@both
async def test_who_may_not_comment_is_told_so_though_jira_calls_it_a_bad_request(jira: Jira) -> None:
    with pytest.raises(NotAllowed, match="HTTP 400: You do not have the permission to comment"):
        await jira.tracker().comment("ARCHIVE-9", marker="(panicroom x P-2)", body="again")
