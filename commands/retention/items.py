"""What retention knows of: copies in central, dumps on hosts, what keeps them, and what becomes of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

CENTRAL, LOCAL = "central", "local"


class Standing(StrEnum):
    """What a copy in central is worth."""

    VERIFIED = "verified"
    DAMAGED = "damaged"  # it was verified; a later look found it otherwise
    PARTIAL = "partial"  # parts of a copy that failed or was cancelled
    LEAVING = "leaving"  # its removal was begun: it is finished, whatever else


class Reason(StrEnum):
    """The rule that decided; the words are in `Decision.why`."""

    # It stays:
    GUARDED = "guarded"
    TERM = "term"
    NEWEST = "newest"
    CLOCK = "clock"
    ELSEWHERE = "elsewhere"
    LATEST = "latest"
    UNVERIFIED = "unverified"
    UNRECORDED = "unrecorded"
    # It goes:
    BEGUN = "begun"
    AGE = "age"
    SUPERSEDED = "superseded"
    BUDGET = "budget"
    NEWER = "newer"


@dataclass(frozen=True)
class Clock:
    """Whether the present time is to be believed; `why` where it is not."""

    trusted: bool = True
    why: str = ""


@dataclass(frozen=True)
class Guard:
    """What keeps the dumps of a panic beyond any term. `incident`: the open one's name."""

    pinned: bool = False
    pinned_until: datetime | None = None  # None: until somebody unpins it
    held: bool = False
    incident: str | None = None
    busy: str | None = None  # what works on it now: a copy, an analysis

    def keeps(self, now: datetime, clock: Clock) -> str | None:
        """Why nothing may go; None when nothing speaks against it."""
        if self.held:
            return "legal hold"
        if self.pinned and self.pinned_until is None:
            return "pinned"
        if self.pinned and self.pinned_until is not None and (now < self.pinned_until or not clock.trusted):
            return f"pinned until {day(self.pinned_until)}"
        if self.incident is not None:
            return f"{self.incident} is open"
        return f"in use: {self.busy}" if self.busy else None


@dataclass(frozen=True)
class Copy:
    """A copy in central. `since`: when its term began (its verification, or its last try where it has none)."""

    id: int
    panic_id: int
    host: str
    criticality: str
    signature: str
    size: int
    since: datetime
    standing: Standing = Standing.VERIFIED
    sha256: str | None = None
    guard: Guard = Guard()
    reachable: bool = True  # it is in the store that is set now
    ring: str | None = None


@dataclass(frozen=True)
class LocalDump:
    """A dump on its host. `recorded`: the bot knows path, size, time and inode of it. `copy_id`: the verified copy in
    central that was made of this very file. `parted`: such a copy has gone after its term. `made_of`: the copy that
    says which file it was, whatever became of it."""

    panic_id: int
    host: str
    criticality: str
    path: str
    size: int
    occurred_at: datetime
    recorded: bool = False
    copy_id: int | None = None
    parted: bool = False
    guard: Guard = Guard()
    made_of: int | None = None
    ring: str | None = None


@dataclass(frozen=True)
class Inventory:
    """All that there is, as the books have it. `incoming`: bytes that copies under way will need in central."""

    copies: tuple[Copy, ...] = ()
    locals: tuple[LocalDump, ...] = ()
    budget: int | None = None  # of central
    incoming: int = 0
    clock: Clock = field(default=Clock())

    @property
    def stored(self) -> int:
        return sum(copy.size for copy in self.copies)


@dataclass(frozen=True)
class Decision:
    """What becomes of one item. `rests_on`: the copy in central that makes it right to let this one go."""

    where: str  # CENTRAL or LOCAL
    remove: bool
    reason: Reason
    item: Copy | LocalDump
    why: str
    rests_on: int | None = None

    @property
    def bytes(self) -> int:
        return self.item.size

    @property
    def key(self) -> tuple[str, int]:
        """(where, id of the copy) or (where, id of the panic whose local dump it is)."""
        return (self.where, self.item.id if isinstance(self.item, Copy) else self.item.panic_id)


def day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
