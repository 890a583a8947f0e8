"""The stand-in, asked by the `jira` library as its own users use it."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from jira import JIRA, JIRAError

from bot.demo.tracker import Tracker

Serve = Callable[..., Awaitable[tuple[Tracker, str]]]
FLAVOURS = ["cloud", "datacenter"]


def client(tracker: Tracker, url: str, **options: Any) -> JIRA:
    cloud = tracker.flavour == "cloud"
    options.setdefault(
        "basic_auth" if cloud else "token_auth", (tracker.email, tracker.token) if cloud else tracker.token
    )
    return JIRA(url, max_retries=0, timeout=5, **options)


async def in_thread(ask: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_the_library_learns_what_it_talks_to_and_who_it_is(serve: Serve, flavour: str) -> None:
    tracker, url = await serve(flavour=flavour)
    jira = await in_thread(lambda: client(tracker, url))
    assert (jira.deploymentType, jira._is_cloud) == (
        ("Cloud", True) if flavour == "cloud" else ("Server", False)
    )
    assert (await in_thread(jira.myself))["displayName"] == "panicroom"


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_an_issue_is_read_with_the_fields_asked_for(serve: Serve, flavour: str) -> None:
    tracker, url = await serve(flavour=flavour)
    jira = await in_thread(lambda: client(tracker, url))
    issue = await in_thread(lambda: jira.issue("OPS-1182"))
    assert issue.fields.summary == "roll kernel 6.1.0-56 to ring prod-2"
    assert issue.fields.status.name == "In Progress"
    assert issue.fields.assignee.displayName == "kernel-engineer"
    few = await in_thread(lambda: jira.issue("OPS-1182", fields="summary,labels"))
    assert set(few.raw["fields"]) == {"summary", "labels"}


@pytest.mark.parametrize(("key", "status"), [("OPS-9999", 404), ("SEC-1", 404)])
async def test_what_is_not_there_and_what_is_hidden_look_the_same(
    serve: Serve, key: str, status: int
) -> None:
    tracker, url = await serve()
    jira = await in_thread(lambda: client(tracker, url))
    with pytest.raises(JIRAError, match="do not have permission to see it") as refused:
        await in_thread(lambda: jira.issue(key))
    assert refused.value.status_code == status


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_wrong_credentials_are_401(serve: Serve, flavour: str) -> None:
    _, url = await serve(flavour=flavour)
    for wrong in ({"basic_auth": ("someone", "else")}, {"token_auth": "else"}, {}):
        jira = await in_thread(lambda wrong=wrong: JIRA(url, max_retries=0, get_server_info=False, **wrong))
        with pytest.raises(JIRAError, match="must be authenticated") as refused:
            await in_thread(lambda jira=jira: jira.issue("OPS-1182"))
        assert refused.value.status_code == 401


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_comments_are_added_and_paged(serve: Serve, flavour: str) -> None:
    tracker, url = await serve(flavour=flavour)
    jira = await in_thread(lambda: client(tracker, url))
    for number in range(3):
        await in_thread(lambda number=number: jira.add_comment("OPS-1182", f"comment {number}"))
    comments = await in_thread(lambda: jira.comments("OPS-1182", order_by="-created", max_results=2))
    assert [comment.body for comment in comments] == ["comment 2", "comment 1"]
    rest = await in_thread(lambda: jira.comments("OPS-1182", order_by="-created", max_results=2, start_at=2))
    assert [comment.body for comment in rest] == ["comment 0"]
    with pytest.raises(JIRAError, match="can not be empty"):
        await in_thread(lambda: jira.add_comment("OPS-1182", ""))
    with pytest.raises(JIRAError, match="do not have the permission to comment") as refused:
        await in_thread(lambda: jira.add_comment("ARCHIVE-9", "x"))
    assert refused.value.status_code == 400


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_a_remote_link_is_one_for_each_global_id(serve: Serve, flavour: str) -> None:
    tracker, url = await serve(flavour=flavour)
    jira = await in_thread(lambda: client(tracker, url))

    def link(target: str, global_id: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            jira.add_remote_link("OPS-1182", {"url": target, "title": "a thread"}, globalId=global_id)

    await in_thread(lambda: link("https://a.example/1", "one"))
    await in_thread(lambda: link("https://a.example/2", "one"))
    await in_thread(lambda: link("https://a.example/3", "two"))
    links = await in_thread(lambda: jira.remote_links("OPS-1182"))
    assert [(link.globalId, link.object.url) for link in links] == [
        ("one", "https://a.example/2"),
        ("two", "https://a.example/3"),
    ]


async def test_cloud_pages_by_token_and_knows_no_classic_search(serve: Serve) -> None:
    tracker, url = await serve()
    jira = await in_thread(lambda: client(tracker, url))
    query = "project = OPS ORDER BY key ASC"
    first = await in_thread(lambda: jira.enhanced_search_issues(query, maxResults=4, fields="summary"))
    assert first.nextPageToken
    second = await in_thread(
        lambda: jira.enhanced_search_issues(
            query, maxResults=4, fields="summary", nextPageToken=first.nextPageToken
        )
    )
    assert [issue.key for issue in [*first, *second]] == [
        "OPS-1102", "OPS-1150", "OPS-1171", "OPS-1176", "OPS-1179", "OPS-1182",
    ]  # fmt: skip
    assert second.nextPageToken is None
    everything = await in_thread(lambda: jira.enhanced_search_issues(query, maxResults=0, fields="summary"))
    assert len(everything) == 6
    with pytest.raises(JIRAError, match="Unbounded"):
        await in_thread(lambda: jira.enhanced_search_issues("ORDER BY key"))
    headers = {"Authorization": aiohttp.encode_basic_auth(tracker.email, tracker.token)}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"{url}/rest/api/3/search/jql", params={"jql": query}) as answer:
            assert (await answer.json())["issues"][0] == {"id": "11102"}
        async with session.get(f"{url}/rest/api/2/search", params={"jql": query}) as answer:
            assert answer.status == 410
        other = {"jql": "project = KERN", "nextPageToken": first.nextPageToken}
        async with session.get(f"{url}/rest/api/3/search/jql", params=other) as answer:
            assert answer.status == 400
        async with session.post(
            f"{url}/rest/api/3/issue/OPS-1182/comment", json={"body": "a string"}
        ) as answer:
            assert answer.status == 400


async def test_data_center_searches_the_classic_way_and_knows_no_other(serve: Serve) -> None:
    tracker, url = await serve(flavour="datacenter")
    jira = await in_thread(lambda: client(tracker, url))
    found = await in_thread(
        lambda: jira.search_issues("project = OPS ORDER BY key DESC", startAt=1, maxResults=2)
    )
    assert [issue.key for issue in found] == ["OPS-1179", "OPS-1176"]
    assert found.total == 6
    headers = {"Authorization": f"Bearer {tracker.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for path in ("/rest/api/2/search/jql?jql=project=OPS", "/rest/api/3/myself"):
            async with session.get(url + path) as answer:
                assert answer.status == 404


@pytest.mark.parametrize(
    "query", ["project = NOPE", "nonsense", 'text ~ "', "updated >= yesterday", "key ~ x", "a = b; drop"]
)
async def test_a_wrong_query_is_400(serve: Serve, query: str) -> None:
    tracker, url = await serve()
    jira = await in_thread(lambda: client(tracker, url))
    with pytest.raises(JIRAError) as refused:
        await in_thread(lambda: jira.enhanced_search_issues(query, fields="summary"))
    assert refused.value.status_code == 400


async def test_faults_come_when_asked_for_and_are_used_up(serve: Serve) -> None:
    tracker, url = await serve()
    jira = await in_thread(lambda: client(tracker, url))
    async with aiohttp.ClientSession() as session:
        async with session.post(
            f"{url}/demo/faults", json={"mode": "500", "count": 2, "path": "issue"}
        ) as answer:
            assert answer.status == 200
        async with session.post(f"{url}/demo/faults", json={"mode": "?"}) as answer:
            assert answer.status == 400
    for _ in range(2):
        with pytest.raises(JIRAError) as refused:
            await in_thread(lambda: jira.issue("OPS-1182"))
        assert refused.value.status_code == 500
    await in_thread(lambda: jira.issue("OPS-1182"))
    tracker.fail("429", delay=7)
    with pytest.raises(JIRAError) as refused:
        await in_thread(jira.myself)
    assert refused.value.response.headers["Retry-After"] == "7"
    tracker.fail("down")
    with pytest.raises(requests.exceptions.ConnectionError):
        await in_thread(jira.myself)
    tracker.fail("lost_answer", path="comment")
    with pytest.raises(requests.exceptions.ConnectionError):
        await in_thread(lambda: jira.add_comment("OPS-1182", "landed"))
    assert [comment.body for comment in await in_thread(lambda: jira.comments("OPS-1182"))] == ["landed"]


async def test_what_was_written_survives_a_restart(serve: Serve, tmp_path: Path) -> None:
    first, url = await serve(data=tmp_path / "tracker.json")
    jira = await in_thread(lambda: client(first, url))
    await in_thread(lambda: jira.add_comment("OPS-1182", "kept"))
    second, _ = await serve(data=tmp_path / "tracker.json", tickets=[])
    ticket = second.ticket("OPS-1182")
    assert ticket is not None
    assert [comment.body for comment in ticket.comments] == ["kept"]


async def test_pages_for_people_show_hostile_text_as_text(serve: Serve) -> None:
    tracker, url = await serve()
    ticket = tracker.ticket("OPS-1182")
    assert ticket is not None
    tracker.comment(ticket, "<script>alert(1)</script> \\[x\\] https://a.example/t?a=1&b=<2>")
    tracker.link(ticket, "x", "javascript:alert(1)", "<b>click</b>")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/browse/OPS-1182") as answer:
            page = await answer.text()
        async with session.get(f"{url}/browse/SEC-1") as answer:
            assert answer.status == 404
        async with session.get(f"{url}/") as answer:
            assert "OPS-1182" in await answer.text()
    assert "roll kernel 6.1.0-56 to ring prod-2" in page
    assert "<script>" not in page
    assert "<b>" not in page
    assert "javascript:" not in page
    assert 'href="https://a.example/t?a=1&amp;b=&lt;2&gt;"' in page
    assert "[x]" in page
