"""What every verb is handed: the neighbours, the database, the clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlmodel import Session

from commands.access import Access
from commands.hostrecord import HostRecord, Line, Run
from commands.inventory import Inventory
from integrations.slack.client import SlackClient
from storage import Database, utc_now


@dataclass
class Context:
    """Built once by the composition root. `wake()` tells the printer that a message wants to be sent."""

    db: Database
    slack: SlackClient
    inventory: Inventory
    access: Access
    store_dir: Path  # where artefacts are kept
    clock: Callable[[], datetime] = utc_now
    wake: Callable[[], None] = lambda: None
    read_reports: Callable[[], None] = lambda: None  # tells the intake that a report was committed
    # What may have caused a panic, with the host's own record of it, in lines for the runbook; None: nobody weighs.
    weigh_changes: Callable[[int, HostRecord, Run], Awaitable[list[Line]]] | None = None
    # Called inside the transaction in which a panic changes its incident: `hook(session, panic_id, old, new)`.
    on_moved: list[Callable[[Session, int, int | None, int], None]] = field(default_factory=list)
    # Called after a panic was committed to an incident: `await hook(panic_id)`. Verbs add themselves.
    on_panic: list[Callable[[int], Awaitable[None]]] = field(default_factory=list)
