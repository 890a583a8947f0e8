"""A change ticket as the bot knows it, and what it asks of a tracker."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from integrations.changes.errors import BadKey

_KEY = re.compile(r"[A-Z][A-Z0-9_]{1,31}-[1-9][0-9]{0,9}")


@dataclass(frozen=True)
class Scope:
    """What a change says it touches, in lower case. `hosts` are names or globs (`web-*`). Nothing at all: unsaid."""

    hosts: tuple[str, ...] = ()
    rings: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    everywhere: bool = False

    @property
    def said(self) -> bool:
        return bool(self.hosts or self.rings or self.hardware or self.services or self.everywhere)


@dataclass(frozen=True)
class Change:
    """One change, as a tracker, a feed or a host tells it. Times are aware UTC datetimes; what is not said is None.

    started, ended: when the change began and was over (by default: when the ticket was created and resolved).
    names: which of the things asked for a ticket names, most telling first: host, service, ring, hardware.
    source: the tracker's name, the feed's, or `host:NAME` for what was read on that host; `key` is known in it.
    scope: what it says it touches. For a ticket it may be unsaid: its `text` is searched for names of the fleet.
    text: all that it says of itself (for a ticket: the fields in which it names things), plain.
    """

    key: str
    summary: str
    status: str
    kind: str
    assignee: str | None
    started: datetime | None
    ended: datetime | None
    updated: datetime | None
    url: str
    source: str
    names: tuple[str, ...] = ()
    scope: Scope = Scope()
    text: str = ""


class ChangeTracker(Protocol):
    """A tracker of changes. Every call may raise a `ChangeError`; one with `permanent` False may work later."""

    async def get(self, key: str) -> Change:
        """The ticket of that key. `TicketUnknown` when there is none."""
        ...

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
        """Changes that name the host or what it belongs to and were under way between the two moments; best first."""
        ...

    async def search(self, text: str) -> list[Change]:
        """Tickets of the set projects for what a person types: their words in the summary, or a key; latest first."""
        ...

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
        """Put one link and one comment on the ticket, however often it is called with the same ids.

        A comment that says something else than `body` is edited. `renew`: one that was deleted is not made again.
        """
        ...

    async def create(
        self, project: str, *, kind: str, summary: str, body: str, labels: Sequence[str], mark: str
    ) -> Change:
        """A new ticket with the label `mark`; the one that has it already, when it was made before."""
        ...

    async def comment(self, key: str, *, marker: str, body: str) -> None:
        """One comment with `marker` in it, however often it is called with the same marker."""
        ...

    async def close(self) -> None:
        """Give back what the tracker holds. No call after it."""
        ...


def read_key(text: str) -> str:
    """The ticket key in what a person typed: a key in any case, or a ticket's address. `BadKey` when there is none."""
    typed = text.strip().strip("<>").split("|", 1)[0]
    if typed.lower().startswith(("http://", "https://")):
        try:
            address = urlsplit(typed)
        except ValueError:
            raise BadKey(repr(text[:80])) from None
        typed = (
            parse_qs(address.query).get("selectedIssue") or [address.path.rstrip("/").rpartition("/")[2]]
        )[0]
    key = typed.upper()
    if not key.isascii() or not _KEY.fullmatch(key):
        raise BadKey(repr(text[:80]))
    return key
