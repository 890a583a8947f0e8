"""What the runbook reads of a host's recent past, as the verb that weighs changes takes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from integrations.ssh import CommandResult

# Runs a fixed command on the host, audited: `await run(argv)`. Raises an SshError when the connection is lost.
Run = Callable[[Sequence[str]], Awaitable[CommandResult]]
# (state, words) as a step of the runbook shows them; the state is ok, warn or skipped.
Line = tuple[str, str]


@dataclass(frozen=True)
class PackageEvent:
    """One package at one time (UTC). `sort` is kernel, driver, firmware or other."""

    at: datetime
    action: str
    name: str
    version: str
    sort: str


@dataclass(frozen=True)
class NetworkCard:
    """One interface by `ethtool -i`."""

    interface: str
    driver: str
    version: str | None = None
    firmware: str | None = None


@dataclass(frozen=True)
class HostRecord:
    """What a host says of its own past. None: it does not say."""

    host: str
    packages: tuple[PackageEvent, ...] = ()
    kernel: str | None = None
    kernel_first_booted: datetime | None = None
    bios: str | None = None
    cards: tuple[NetworkCard, ...] = ()
    zone_offset: int = 0  # seconds east of UTC
