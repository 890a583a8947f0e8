"""Every answer of the stand-in, of both flavours, is shaped as Jira's are published to be (see `shapes`)."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator, ValidationError

from bot.demo.tracker import Tracker, adf, make_app, seed
from bot.demo.tracker.render import author_json, issue_json
from integrations.changes.webhook import changed_keys

from . import shapes
from .conftest import NOW
from .shapes import Schema

Serve = Callable[..., Awaitable[tuple[Tracker, str]]]
EVERY = [("cloud", "2"), ("cloud", "3"), ("cloud", "latest"), ("datacenter", "2"), ("datacenter", "latest")]
ARCHIVED = "ARCHIVE-9"  # a project that the account may read, and no more


def fits(value: Any, schema: Schema) -> None:
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(value)


class Client:
    """Asks as a program does that has read the documentation; each answer must have the status and shape given."""

    def __init__(self, tracker: Tracker, url: str, version: str, session: aiohttp.ClientSession) -> None:
        self.tracker = tracker
        self.api = f"{url}/rest/api/{version}"
        self.version = version
        self.cloud = tracker.flavour == "cloud"
        self.session = session
        self.asked: set[tuple[str, str]] = set()
        token = f"{tracker.email}:{tracker.token}"
        self.known = (
            "Basic " + base64.b64encode(token.encode()).decode() if self.cloud else f"Bearer {tracker.token}"
        )

    def prose(self, text: str) -> Any:
        return adf.document(text) if self.version == "3" else text

    async def ask(
        self,
        method: str,
        template: str,
        schema: Schema,
        body: Any = None,
        *,
        status: int = 200,
        as_nobody: bool = False,
        query: dict[str, str] | None = None,
        headers: Schema | None = None,
        **names: str,
    ) -> Any:
        """`template` is the path as it is routed, `/issue/{key}`."""
        self.asked.add((method, template))
        given = {} if as_nobody else {"Authorization": self.known}
        path = template.format(**names)
        async with self.session.request(
            method, self.api + path, json=body, params=query or {}, headers=given
        ) as answer:
            told = await answer.json()
            assert answer.status == status, told
            fits(told, schema)
            lower = {name.lower(): value for name, value in answer.headers.items()}
            if headers is not None:
                fits(lower, headers)
            elif not self.cloud and not as_nobody and not template.endswith("serverInfo"):
                fits(lower, shapes.budget())
            return told


@pytest.mark.parametrize(("flavour", "version"), EVERY)
async def test_every_answer_has_the_published_shape(serve: Serve, flavour: str, version: str) -> None:
    tracker, url = await serve(flavour=flavour)
    async with aiohttp.ClientSession() as session:
        client = Client(tracker, url, version, session)
        await _who_and_what(client)
        await _searching(client)
        await _issues(client)
        await _comments(client)
        await _links(client)
        await _refusals(client)
    prefix = f"/rest/api/{version}"
    served = {
        (route.method, route.resource.canonical.removeprefix(prefix))
        for route in make_app(tracker).router.routes()
        if route.resource is not None and route.resource.canonical.startswith(prefix + "/")
    }
    assert {one for one in served if one[0] != "HEAD"} == client.asked, "a path that nobody has compared"


async def _who_and_what(client: Client) -> None:
    cloud = client.cloud
    await client.ask("GET", "/serverInfo", shapes.server_info(cloud), as_nobody=True)
    await client.ask("GET", "/myself", shapes.myself(cloud))
    await client.ask("GET", "/field", shapes.all_fields(cloud))


async def _searching(client: Client) -> None:
    jql = "project = OPS ORDER BY updated DESC"
    wanted = [
        "summary",
        "status",
        "issuetype",
        "assignee",
        "updated",
        "description",
        "labels",
        "resolutiondate",
    ]
    if not client.cloud:
        for method in ("GET", "POST"):
            asked: dict[str, Any] = {"jql": jql, "maxResults": "2"}
            page = await client.ask(
                method,
                "/search",
                shapes.classic_search(),
                asked if method == "POST" else None,
                query=asked if method == "GET" else None,
            )
            assert (len(page["issues"]), page["total"] > 2) == (2, True)
        await client.ask("GET", "/search", shapes.ERRORS, status=400, query={"jql": "nonsense ="})
        return
    for method in ("GET", "POST"):
        await client.ask(method, "/search", shapes.ERRORS, {} if method == "POST" else None, status=410)
    schema = shapes.enhanced_search(client.version)
    page = await client.ask("GET", "/search/jql", schema, query={"jql": jql, "maxResults": "2"})
    assert [list(one) for one in page["issues"]] == [["id"], ["id"]]
    seen, token = [], None
    while True:
        asked = {"jql": jql, "maxResults": 2, "fields": wanted} | ({"nextPageToken": token} if token else {})
        page = await client.ask("POST", "/search/jql", schema, asked)
        seen += [one["key"] for one in page["issues"]]
        if page["isLast"]:
            break
        token = page["nextPageToken"]
    assert len(seen) == len(set(seen)) == 6
    await client.ask("GET", "/search/jql", shapes.ERRORS, status=400, query={"jql": "order by key"})


async def _issues(client: Client) -> None:
    schema = shapes.issue(client.cloud, client.version)
    whole = await client.ask("GET", "/issue/{key}", schema, key="OPS-1176")
    for name in shapes.fields(client.cloud, client.version)["properties"]:
        assert name in whole["fields"]
    await client.ask("GET", "/issue/{key}", schema, key=ARCHIVED, query={"fields": "summary,assignee"})
    made = {
        "project": {"key": "KERN"}, "issuetype": {"name": "Problem"}, "summary": "it comes back",
        "description": client.prose("again and again"), "labels": ["kernel"],
    }  # fmt: skip
    told = await client.ask("POST", "/issue", shapes.issue_made(), {"fields": made}, status=201)
    assert told["self"].startswith(client.api)
    await client.ask("GET", "/issue/{key}", schema, key=told["key"])
    refused = await client.ask(
        "POST", "/issue", shapes.ERRORS, {"fields": made | {"summary": ""}}, status=400
    )
    assert set(refused["errors"]) == {"summary"}
    archived = {"fields": made | {"project": {"key": "ARCHIVE"}}}
    await client.ask("POST", "/issue", shapes.ERRORS, archived, status=403)


async def _comments(client: Client) -> None:
    one, page = (make(client.cloud, client.version) for make in (shapes.comment, shapes.comments))
    path = "/issue/{key}/comment"
    for text in ("first\nsecond line", "another"):
        body = {"body": client.prose(text)}
        made = await client.ask("POST", path, one, body, status=201, key="OPS-1182")
        assert made["body"] == client.prose(text)
    last = {"orderBy": "-created", "maxResults": "1"}
    told = await client.ask("GET", path, page, key="OPS-1182", query=last)
    assert (told["total"], [c["id"] for c in told["comments"]]) == (2, [made["id"]])
    await client.ask("GET", path, shapes.ERRORS, key="OPS-1182", status=400, query={"orderBy": "author"})
    edited = {"body": client.prose("put right")}
    await client.ask("PUT", path + "/{id}", one, edited, key="OPS-1182", id=made["id"])
    ticket = client.tracker.ticket("OPS-1182")
    assert ticket is not None
    foreign = client.tracker.comment(ticket, "of somebody else", author="on-call")
    for key, number, status in (("OPS-1182", foreign.id, 400), ("OPS-1182", "999", 404)):
        await client.ask("PUT", path + "/{id}", shapes.ERRORS, edited, status=status, key=key, id=number)
    await client.ask("POST", path, shapes.ERRORS, edited, status=400, key=ARCHIVED)
    empty = {"body": client.prose("")}
    await client.ask("POST", path, shapes.ERRORS, empty, status=400, key="OPS-1182")


async def _links(client: Client) -> None:
    path, asked = (
        "/issue/{key}/remotelink",
        {"object": {"url": "https://slack.example.com/1", "title": "I-7"}},
    )
    one, made = shapes.remote_link(), shapes.remote_link_made()
    known = asked | {"globalId": "panicroom:1"}
    first = await client.ask("POST", path, made, known, status=201, key="OPS-1182")
    assert await client.ask("POST", path, made, known, key="OPS-1182") == first
    await client.ask("POST", path, made, asked, status=201, key="OPS-1182")
    told = await client.ask("GET", path, shapes.rows(one), key="OPS-1182")
    assert [link.get("globalId") for link in told] == ["panicroom:1", None]
    alone = await client.ask("GET", path, one, key="OPS-1182", query={"globalId": "panicroom:1"})
    assert (alone["id"], alone["self"]) == (first["id"], first["self"])
    without = {"object": {"url": "https://slack.example.com/1"}}
    refused = await client.ask("POST", path, shapes.ERRORS, without, status=400, key="OPS-1182")
    assert list(refused["errors"]) == ["title"]
    await client.ask("POST", path, shapes.ERRORS, known, status=403, key=ARCHIVED)


async def _refusals(client: Client) -> None:
    for key in ("OPS-9999", "SEC-1"):
        for path in ("/issue/{key}", "/issue/{key}/comment", "/issue/{key}/remotelink"):
            await client.ask("GET", path, shapes.ERRORS, status=404, key=key)
    unknown = shapes.ERRORS if client.cloud else shapes.UNKNOWN_TO_DATA_CENTER
    await client.ask("GET", "/myself", unknown, status=401, as_nobody=True)
    for seconds in (0, 90):
        client.tracker.fail("429", delay=seconds)
        headers = shapes.exceeded(client.cloud, told=bool(seconds))
        await client.ask("GET", "/myself", shapes.ERRORS, status=429, headers=headers)
    for status in (401, 403, 404):
        client.tracker.fail(str(status))  # type: ignore[arg-type]
        await client.ask("GET", "/issue/{key}", shapes.ERRORS, status=status, key="OPS-1182", headers={})


async def test_at_the_gateway_it_is_the_same_and_elsewhere_the_token_is_unknown(serve: Serve) -> None:
    tracker, url = await serve(cloud_id="1a11d016-demo")
    async with aiohttp.ClientSession() as session:
        client = Client(tracker, url, "3", session)
        await client.ask("GET", "/myself", shapes.ERRORS, status=401)
        through = Client(tracker, f"{url}/ex/jira/1a11d016-demo", "3", session)
        issue = await through.ask("GET", "/issue/{key}", shapes.issue(True, "3"), key="OPS-1182")
        assert issue["self"].startswith(through.api)
        told = await through.ask("GET", "/serverInfo", shapes.server_info(True))
        assert told["baseUrl"] == url, "people browse at the site"


def notification(tracker: Tracker, site: str) -> dict[str, Any]:
    """What Cloud sends when a ticket was moved and set to another status."""
    ticket = tracker.move("OPS-1182", "KERN-300")
    moved = {"field": "Key", "fieldtype": "jira", "fieldId": "issuekey", "fromString": "OPS-1182"}
    status = {"field": "status", "fieldtype": "jira", "fieldId": "status", "from": "3", "fromString": "Open"}
    return {
        "timestamp": int(NOW * 1000),
        "webhookEvent": "jira:issue_updated",
        "issue_event_type_name": "issue_moved",
        "user": author_json("on-call", site, "2", cloud=True),
        "issue": issue_json(ticket, site, ["*all"], "2", cloud=True),
        "changelog": {
            "id": "10124",
            "items": [
                {**moved, "from": None, "to": None, "toString": "KERN-300"},
                {**status, "to": "10001", "toString": "In Progress"},
            ],
        },
    }


def test_a_notification_of_the_published_shape_names_its_tickets() -> None:
    told = notification(Tracker(seed(NOW), clock=lambda: NOW), "https://example.atlassian.net")
    fits(told, shapes.notification())
    assert changed_keys(json.dumps(told).encode()) == {"OPS-1182", "KERN-300"}


def test_the_shapes_refuse_what_is_none() -> None:
    """They are no rubber stamps."""
    page = {"issues": [{"id": "1"}], "isLast": True}
    fits(page, shapes.enhanced_search("3"))
    wrong: list[tuple[Any, Schema]] = [
        (page | {"nextPageToken": "x"}, shapes.enhanced_search("3")),
        (page | {"isLast": False}, shapes.enhanced_search("3")),
        (page | {"total": 1}, shapes.enhanced_search("3")),
        (page | {"issues": [{"id": 1}]}, shapes.enhanced_search("3")),
        ({"errorMessages": "no", "errors": {}}, shapes.ERRORS),
        ({"id": "10000", "self": "https://x/1"}, shapes.remote_link_made()),
        ({"id": "10000", "key": "OPS-1"}, shapes.issue_made()),
        ("a text", shapes.prose("3")),
        (adf.document("a document"), shapes.prose("2")),
        ({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "0"}, shapes.exceeded(True, told=False)),
    ]
    for value, schema in wrong:
        with pytest.raises(ValidationError):
            fits(value, schema)


def test_no_page_of_the_stand_in_is_left_out() -> None:
    """What is not REST is for people: the index, a ticket, and the faults that a demo makes."""
    app = make_app(Tracker(seed(NOW), clock=lambda: NOW))
    others = {
        route.resource.canonical
        for route in app.router.routes()
        if isinstance(route.resource, web.Resource) and not route.resource.canonical.startswith("/rest/")
    }
    assert others == {"/", "/browse/{key}", "/demo/faults"}
