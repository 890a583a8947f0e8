"""Jira, Cloud or Data Center, through the `jira` library: its calls in threads of our own, its errors told as ours."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, TypeVar

import requests
import structlog
from jira import JIRA, JIRAError

from integrations.changes import comments
from integrations.changes.change import Change, read_key
from integrations.changes.comments import plain
from integrations.changes.config import JiraConfig
from integrations.changes.errors import (
    BadCredentials,
    BadKey,
    BadQuery,
    ChangeError,
    NotAllowed,
    TicketUnknown,
    TrackerDown,
    TrackerRefused,
)
from integrations.changes.prose import texts
from integrations.changes.query import changes_queries, named, quoted, typed_query

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
_THREADS = 3
_OFFERED = 25  # to a person who types in a box
_Raw = dict[str, Any]


class JiraTracker:
    """A `ChangeTracker` over Jira's REST API 2. Making one calls nobody.

    The library is told to try once: who calls decides when to try again. `clock` gives the present, aware.
    """

    source = "jira"

    def __init__(
        self, config: JiraConfig, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._config = config
        self._clock = clock
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="jira")
        self._of_thread = threading.local()  # a requests session is not safe to share between threads
        self._telling = asyncio.Lock()  # look and post go together, or two calls at once would both post

    async def get(self, key: str) -> Change:
        """The ticket of that key (or address). `BadKey`, `TicketUnknown`, `NotAllowed`, `TrackerDown`."""
        wanted = read_key(key)
        fields = ",".join(self._fields())
        raw = await self._call(lambda jira: jira.issue(wanted, fields=fields).raw, about=wanted)
        return self._change(raw, {})

    async def find(
        self,
        host: str,
        *,
        ring: str | None = None,
        hardware: str | None = None,
        service: str | None = None,
        since: datetime,
        until: datetime,
    ) -> list[Change]:
        """Changes under way between the two moments that name the host, the service, the ring or the hardware.

        Those that name the host come first, then by the number of things named, then the latest. At most `max_results`
        are asked for in each search. `BadQuery`, `NotAllowed`, `TrackerDown`.
        """
        terms = {"host": host, "service": service, "ring": ring, "hardware": hardware}
        limit = self._config.max_results
        raws: list[_Raw] = []
        for query in changes_queries(self._config, terms, since, self._clock()):
            raws += await self._call(partial(self._search, query=query, limit=limit), about="search")
        changes = list({c.key: c for c in (self._change(raw, terms) for raw in raws)}.values())
        fitting = [c for c in changes if c.names and _under_way(c, since, until)]
        return sorted(fitting, key=_telling_first)

    async def search(self, text: str) -> list[Change]:
        """Tickets of the set projects for what a person types, the latest touched first: a key or words.

        A key gives that ticket, of any project that the account may see. `BadQuery`, `NotAllowed`, `TrackerDown`.
        """
        try:
            return [await self.get(text)]
        except BadKey:
            pass
        except TicketUnknown:
            return []
        query = typed_query(self._config, text)
        if query is None:
            return []
        limit = min(self._config.max_results, _OFFERED)
        raws = await self._call(partial(self._search, query=query, limit=limit), about="search")
        return [self._change(raw, {}) for raw in raws]

    async def tell(
        self,
        key: str,
        *,
        marker: str,
        body: str,
        global_id: str,
        link_url: str,
        link_title: str,
        renew: bool = False,
    ) -> None:
        """Put one remote link (of `global_id`) and one comment (with `marker` in it) on the ticket.

        `body` is plain text: its addresses become links, nothing else in it is markup. Called again with the same
        ids it makes nothing new: Jira keeps one link a global id, and a comment with the marker is looked for before
        one is written. One that says something else than `body` is edited, if it is the account's own. `renew`: it
        was written before; should a person have deleted it, it is not written again. `TicketUnknown`, `NotAllowed`,
        `TrackerDown`.
        """
        wanted = read_key(key)
        target = {"url": link_url, "title": link_title[:255]}
        text = plain(body if marker in body else f"{body}\n\n{marker}")
        async with self._telling:
            await self._call(lambda jira: comments.put_link(jira, wanted, target, global_id), about=wanted)
            marked = await self._call(lambda jira: comments.marked(jira, wanted, marker), about=wanted)
            if not marked:
                if not renew:
                    await self._call(lambda jira: jira.add_comment(wanted, text), about=wanted)
                return
            if any(comments.says(comment, text) for comment in marked):
                return
            own = await self._call(lambda jira: comments.own(jira, marked), about=wanted)
            if own is not None:
                await self._call(lambda jira: comments.edit(jira, wanted, own, text), about=wanted)

    async def create(
        self, project: str, *, kind: str, summary: str, body: str, labels: Sequence[str], mark: str
    ) -> Change:
        """A new ticket with the label `mark`; the one that has it already, when it was made before.

        Cloud's index may be seconds behind: who calls again after a lost answer does so with a pause. `NotAllowed`,
        `TrackerRefused` (no such project or type, or a field is required that is not set), `TrackerDown`.
        """
        query = f"project = {quoted(project)} AND labels = {quoted(mark)} ORDER BY created ASC"
        async with self._telling:
            found = await self._call(partial(self._search, query=query, limit=1), about="search")
            if found:
                return self._change(found[0], {})
            fields = {
                "project": {"key": project},
                "issuetype": {"name": kind},
                "summary": summary,
                "description": plain(body),
                "labels": list(dict.fromkeys([*labels, mark])),
            }
            made = await self._call(lambda jira: jira.create_issue(fields, prefetch=False), about=project)
        return await self.get(str(made.key))

    async def comment(self, key: str, *, marker: str, body: str) -> None:
        """One comment with `marker` in it, however often it is called with the same marker. Errors as of `tell`."""
        wanted = read_key(key)
        async with self._telling:
            if not await self._call(lambda jira: comments.marked(jira, wanted, marker), about=wanted):
                text = plain(f"{body}\n\n{marker}")
                await self._call(lambda jira: jira.add_comment(wanted, text), about=wanted)

    async def close(self) -> None:
        """Let the threads end; calls that are under way are left to their time-outs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _call(self, ask: Callable[[JIRA], _T], *, about: str) -> _T:
        """Run one exchange in a thread. `timeout` bounds each wait; all of it may take three times as long."""
        loop = asyncio.get_running_loop()
        limit = self._config.timeout * 3
        try:
            async with asyncio.timeout(limit):
                return await loop.run_in_executor(self._pool, lambda: ask(self._client()))
        except ChangeError:
            raise
        except TimeoutError:
            failure: ChangeError = TrackerDown(f"{about}: no answer in {limit:g} s")
        except JIRAError as refused:
            failure = _told(refused, about)
        except requests.exceptions.Timeout:
            failure = TrackerDown(f"{about}: no answer in {self._config.timeout:g} s")
        except requests.exceptions.JSONDecodeError:
            failure = TrackerDown(f"{about}: {self._config.asked_at} answered with something that is no JSON")
        except (requests.exceptions.RequestException, OSError) as unreachable:
            failure = TrackerDown(
                f"{about}: {self._config.asked_at} cannot be reached: {type(unreachable).__name__}"
            )
        except (KeyError, TypeError, AttributeError, ValueError) as unreadable:
            failure = TrackerDown(f"{about}: an answer that is not Jira's: {type(unreadable).__name__}")
        _log.warning("tracker_call_failed", about=about, error=str(failure), permanent=failure.permanent)
        # not chained: the library's error prints the answer's headers and with them session cookies
        raise failure from None

    def _client(self) -> JIRA:
        client: JIRA | None = getattr(self._of_thread, "client", None)
        if client is None:
            token = self._config.token.get_secret_value()
            if not token.isascii() or not token.isprintable() or " " in token:
                raise BadCredentials("a token has no spaces, line breaks or letters outside ASCII")
            client = self._of_thread.client = _client(self._config)
        return client

    def _search(self, jira: JIRA, query: str, limit: int) -> list[_Raw]:
        fields = list(dict.fromkeys([*self._fields(), *self._config.name_fields]))
        raws: list[_Raw] = []
        token: str | None = None
        more = True
        while more and len(raws) < limit:
            wanted = limit - len(raws)
            if self._config.flavour == "cloud":
                page = jira.enhanced_search_issues(
                    query, nextPageToken=token, maxResults=wanted, fields=list(fields), json_result=True
                )
                token = page.get("nextPageToken")
                more = bool(token and page["issues"])
            else:
                page = jira.search_issues(
                    query, startAt=len(raws), maxResults=wanted, fields=list(fields), json_result=True
                )
                more = bool(page["issues"]) and len(raws) + len(page["issues"]) < page["total"]
            raws += page["issues"]
        return raws[:limit]

    def _fields(self) -> list[str]:
        own = ["summary", "status", "issuetype", "assignee", "updated"]
        return list(dict.fromkeys([*own, self._config.started_field, self._config.ended_field]))

    def _change(self, raw: _Raw, terms: dict[str, str | None]) -> Change:
        try:
            key, fields = read_key(str(raw["key"])), raw["fields"]
            text = "\n".join(texts([fields.get(name) for name in self._config.name_fields]))
            return Change(
                key=key,
                summary=str(fields.get("summary") or ""),
                status=str((fields.get("status") or {}).get("name") or ""),
                kind=str((fields.get("issuetype") or {}).get("name") or ""),
                assignee=(fields.get("assignee") or {}).get("displayName"),
                started=_moment(fields.get(self._config.started_field)),
                ended=_moment(fields.get(self._config.ended_field)),
                updated=_moment(fields.get("updated")),
                url=f"{self._config.url}/browse/{key}",
                source=self.source,
                names=named(terms, text),
                text=text,
            )
        except (ChangeError, KeyError, TypeError, AttributeError):
            raise TrackerDown(f"{self._config.asked_at} answered with a ticket that is not Jira's") from None


def _client(config: JiraConfig) -> JIRA:
    token = config.token.get_secret_value()
    cloud = config.flavour == "cloud"
    client = JIRA(
        server=config.asked_at,
        basic_auth=(config.email or "", token) if cloud else None,
        token_auth=None if cloud else token,
        options={"rest_api_version": "2"},
        validate=False,
        get_server_info=False,
        max_retries=0,
        timeout=config.timeout,
        logging=False,
    )
    known: Any = client
    # what get_server_info would have asked for: without it the library refuses Cloud's search
    known.deploymentType = "Cloud" if cloud else "Server"
    # add_remote_link asks for these before each link, which needs an administrator; ours never lead to another Jira
    known._applicationlinks = []
    return client


def _told(refused: JIRAError, about: str) -> ChangeError:
    status = refused.status_code or 0
    said = " ".join(re.sub(r"<[^>]*>", " ", str(refused.text or "")).split())[:300]
    facts = f"{about}: HTTP {status}{': ' if said else ''}{said}"
    if status == 401:
        return BadCredentials(facts)
    if status == 403 or (status == 400 and about != "search" and "permission" in said.lower()):
        return NotAllowed(facts)  # Jira answers with 400 who may not comment, or not edit a comment
    if status == 404 and about != "search":
        return TicketUnknown(facts)
    if status == 400 and about == "search":
        return BadQuery(facts)
    if status in {408, 425, 429} or status >= 500 or not status:
        return TrackerDown(facts, retry_after=_retry_after(refused))
    return TrackerRefused(facts)


def _retry_after(refused: JIRAError) -> float | None:
    headers = getattr(refused.response, "headers", None) or {}
    told = str(headers.get("Retry-After") or "")
    return (float(told) or None) if told.isascii() and told.isdecimal() and len(told) < 7 else None


def _moment(told: object) -> datetime | None:
    """Jira's date or time as an aware UTC datetime; None for none, or for what cannot be read."""
    if not isinstance(told, str) or not told:
        return None
    try:
        moment = datetime.fromisoformat(told)
        if len(told) == 10:
            return datetime.combine(date.fromisoformat(told), time(), UTC)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _under_way(change: Change, since: datetime, until: datetime) -> bool:
    begun = change.started is None or change.started <= until
    return begun and (change.ended is None or change.ended >= since)


def _telling_first(change: Change) -> tuple[bool, int, timedelta]:
    latest = change.updated or change.started or datetime.fromtimestamp(0, UTC)
    return "host" not in change.names, -len(change.names), datetime.max.replace(tzinfo=UTC) - latest
