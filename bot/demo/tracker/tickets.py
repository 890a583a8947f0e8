"""The stand-in's tickets, who may do what with them, and what it does wrong on demand."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

Flavour = Literal["cloud", "datacenter"]
Mode = Literal["down", "slow", "500", "503", "429", "lost_answer", "html", "401", "403", "404"]
DONE = {"Done", "Closed", "Resolved", "Cancelled"}
RUNNING = {"In Progress", "Implementing", "Awaiting approval"}
PROJECTS = {
    "OPS": "Operations",
    "KERN": "Kernel",
    "ARCHIVE": "Archive (read only)",
    "SEC": "Security (hidden)",
}
HIDDEN = {"SEC"}
READ_ONLY = {"ARCHIVE"}


@dataclass
class Comment:
    """A comment; `body` is wiki text (API 2), or what was in the document's text nodes (API 3)."""

    id: str
    body: str
    created: float
    author: str = "panicroom"
    updated: float = 0.0  # 0: never edited


@dataclass
class Link:
    """A remote link; one `global_id` is one link of a ticket."""

    id: int
    global_id: str
    url: str
    title: str


@dataclass
class Ticket:
    """A change ticket; times in seconds since the epoch."""

    key: str
    id: str
    summary: str
    description: str
    status: str
    kind: str
    assignee: str | None
    created: float
    updated: float
    resolved: float | None = None
    labels: list[str] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    earlier_keys: list[str] = field(default_factory=list)  # before it was moved

    @property
    def project(self) -> str:
        return self.key.rpartition("-")[0]

    @property
    def category(self) -> str:
        """The status's category: To Do, In Progress or Done."""
        return "Done" if self.status in DONE else "In Progress" if self.status in RUNNING else "To Do"


@dataclass
class Fault:
    """What the next `count` calls whose path contains `path` get instead of an answer.

    down: the connection is cut; slow: `delay` seconds before the answer; 500, 503: the status; 429: the status with
    `delay` as Retry-After; 401, 403, 404: the refusal; html: a page, status 200; lost_answer: the call is carried out,
    then the connection is cut.
    """

    mode: Mode
    count: int = 1
    delay: float = 0.0
    path: str = ""


class Tracker:
    """The stand-in's state. With `data` it is kept in that JSON file and survives a restart.

    email, token: Cloud's basic authentication; Data Center takes the token alone as a bearer.
    cloud_id: the token has scopes, as a service account's has: REST answers it at the gateway's address alone
    (`/ex/jira/CLOUD_ID`), and at the site's with 401.
    """

    def __init__(
        self,
        tickets: Iterable[Ticket],
        *,
        flavour: Flavour = "cloud",
        email: str = "bot@demo.invalid",
        token: str = "demo-tracker-token",  # noqa: S107
        clock: Callable[[], float],
        data: Path | None = None,
        page_limit: int = 100,
        cloud_id: str | None = None,
    ) -> None:
        self.flavour: Flavour = flavour
        self.cloud_id = cloud_id
        self.email = email
        self.token = token
        self.clock = clock
        self.page_limit = page_limit
        self.faults: list[Fault] = []
        self.calls: deque[str] = deque(maxlen=1000)
        self.queries: deque[dict[str, Any]] = deque(maxlen=100)  # the parameters of the searches
        self._data = data
        self._tickets = {ticket.key: ticket for ticket in tickets}
        if data is not None and data.exists():
            self._tickets = {raw["key"]: _restored(raw) for raw in json.loads(data.read_text())}

    def tickets(self) -> list[Ticket]:
        """Every ticket that its user may see."""
        return [ticket for ticket in self._tickets.values() if ticket.project not in HIDDEN]

    def ticket(self, key: str) -> Ticket | None:
        """The ticket of that key or id; None when there is none or its user may not see it."""
        for ticket in self.tickets():
            if key == ticket.id or key.upper() in (ticket.key, *ticket.earlier_keys):
                return ticket
        return None

    def move(self, key: str, to: str) -> Ticket:
        """Give the ticket another key, as a move into another project does. The earlier one leads to it still."""
        ticket = self._tickets.pop(key)
        ticket.earlier_keys.append(key)
        ticket.key = to
        self._tickets[to] = ticket
        self._touched(ticket)
        return ticket

    def change(self, ticket: Ticket, **facts: Any) -> None:
        """Set fields of the ticket, as a person at the tracker does."""
        for name, value in facts.items():
            setattr(ticket, name, value)
        self._touched(ticket)

    def create(self, project: str, summary: str, description: str, kind: str, labels: list[str]) -> Ticket:
        """A new ticket of the project, which the caller has checked to be there."""
        numbers = [int(t.key.rpartition("-")[2]) for t in self._tickets.values() if t.project == project]
        key = f"{project}-{max(numbers, default=0) + 1}"
        now = self.clock()
        ident = str(15001 + len(self._tickets))
        ticket = Ticket(key, ident, summary, description, "Open", kind, None, now, now, labels=labels)
        self._tickets[key] = ticket
        self._touched(ticket)
        return ticket

    def comment(self, ticket: Ticket, body: str, author: str = "panicroom") -> Comment:
        """Add a comment; the caller has checked that it may."""
        count = sum(len(t.comments) for t in self._tickets.values())
        comment = Comment(str(20001 + count), body, self.clock(), author)
        ticket.comments.append(comment)
        self._touched(ticket)
        return comment

    def edit(self, ticket: Ticket, comment: Comment, body: str) -> None:
        """Put another text in the place of the comment's; the caller has checked that it may."""
        comment.body, comment.updated = body, self.clock()
        self._touched(ticket)

    def link(self, ticket: Ticket, global_id: str | None, url: str, title: str) -> tuple[Link, bool]:
        """Add a remote link, or change the one of the same global id; (link, whether it is new)."""
        for link in ticket.links:
            if global_id and link.global_id == global_id:
                link.url, link.title = url, title
                self._touched(ticket)
                return link, False
        number = 10001 + sum(len(t.links) for t in self._tickets.values())
        link = Link(number, global_id or "", url, title)
        ticket.links.append(link)
        self._touched(ticket)
        return link, True

    def fail(self, mode: Mode, *, count: int = 1, delay: float = 0.0, path: str = "") -> None:
        """Make the next `count` calls whose path contains `path` go wrong (see `Fault`)."""
        self.faults.append(Fault(mode, count, delay, path))

    def fault(self, path: str) -> Fault | None:
        """The fault that this call gets, which is thereby used up."""
        for fault in self.faults:
            if fault.count > 0 and fault.path in path:
                fault.count -= 1
                return fault
        return None

    def _touched(self, ticket: Ticket) -> None:
        ticket.updated = self.clock()
        if self._data is not None:
            fresh = self._data.with_suffix(".new")
            fresh.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps([asdict(t) for t in self._tickets.values()], indent=1))
            fresh.replace(self._data)


def _restored(raw: dict[str, Any]) -> Ticket:
    comments = [Comment(**comment) for comment in raw.pop("comments")]
    links = [Link(**link) for link in raw.pop("links")]
    return Ticket(**raw, comments=comments, links=links)


def seed(now: float) -> list[Ticket]:
    """The demo's change tickets, their times told from `now` (seconds since the epoch)."""
    moment = datetime.fromtimestamp(now, UTC)

    def ago(**span: float) -> float:
        return (moment - timedelta(**span)).timestamp()

    return [
        Ticket(
            "OPS-1182",
            "11182",
            "roll kernel 6.1.0-56 to ring prod-2",
            "Package linux-image-6.1.0-56-cloud-amd64 to all hosts of ring prod-2, ten at a time. "
            "Back out: boot the previous entry.",
            "In Progress",
            "Change",
            "kernel-engineer",
            ago(hours=3),
            ago(minutes=14),
            labels=["kernel", "prod-2", "rollout"],
        ),
        Ticket(
            "OPS-1179",
            "11179",
            "web-17: replace NIC and update its firmware",
            "Port 2 of web-17 flaps. New card, firmware 22.31.6; the driver comes with the running kernel.",
            "Implementing",
            "Change",
            "on-call",
            ago(hours=26),
            ago(hours=2),
            labels=["nic", "firmware"],
        ),
        Ticket(
            "OPS-1176",
            "11176",
            "db-3 db-4: raise shared buffers to 24 GB",
            "More memory for the database on db-3 and db-4 (HPE ProLiant DL380 Gen10).",
            "Done",
            "Change",
            "databases",
            ago(days=2),
            ago(hours=5),
            resolved=ago(hours=5),
            labels=["memory", "databases"],
        ),
        Ticket(
            "OPS-1171",
            "11171",
            "BIOS 2.21 on every Dell PowerEdge R640",
            "Microcode and memory fixes, ring by ring, canary first.",
            "Awaiting approval",
            "Change",
            "admin",
            ago(days=6),
            ago(days=1),
            labels=["bios", "firmware"],
        ),
        Ticket(
            "OPS-1150",
            "11150",
            "canary: kdump test on canary-1 with sysrq",
            "A crash on purpose, to see that a dump is saved and told.",
            "In Progress",
            "Change",
            "kernel-engineer",
            ago(hours=8),
            ago(hours=1),
            labels=["drill", "canary"],
        ),
        Ticket(
            "OPS-1102",
            "11102",
            "store-1: new disk shelf",
            "Two shelves for store-1; nothing on the kernel's side.",
            "Closed",
            "Change",
            "storage",
            ago(days=40),
            ago(days=33),
            resolved=ago(days=33),
        ),
        Ticket(
            "KERN-77",
            "12077",
            "NULL pointer dereference in labcrash_read_cookie",
            "Seen on 6.1.0-56 with the labcrash module.",
            "Open",
            "Bug",
            "kernel-engineer",
            ago(days=3),
            ago(days=3),
            labels=["kernel"],
        ),
        Ticket(
            "ARCHIVE-9",
            "13009",
            "old rollout",
            "Nobody may write here.",
            "Closed",
            "Change",
            None,
            ago(days=400),
            ago(days=399),
        ),
        Ticket(
            "SEC-1", "14001", "hidden", "Not for the bot.", "Open", "Change", None, ago(days=1), ago(days=1)
        ),
    ]
