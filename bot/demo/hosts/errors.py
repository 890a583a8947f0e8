"""What goes wrong with the replayed fleet.

FleetError
├── UnknownHost
├── UnknownCase
├── HostNotUp
├── NoFreePort
├── HistoryUnreadable
└── ReportRefused
"""

from __future__ import annotations

import inspect


class FleetError(Exception):
    """The replayed fleet cannot do that."""

    permanent = True

    def __init__(self, facts: str = "") -> None:
        message = inspect.cleandoc(type(self).__doc__ or "")
        super().__init__(f"{message} ({facts})" if facts else message)


class UnknownHost(FleetError):
    """No replayed host has that name: take one that the hosts panel lists."""


class UnknownCase(FleetError):
    """No capture has that name: take one that bot.demo.hosts.captures.CASES lists."""


class HostNotUp(FleetError):
    """That host is not up, so it cannot panic: wait until it has rebooted, or take another host."""

    permanent = False


class NoFreePort(FleetError):
    """No free TCP port was found for a replayed host: stop what holds them, or start with another --ssh-port-base."""


class ReportRefused(FleetError):
    """The bot refused the host's report for good: compare the report secret and the inventory on both sides."""


class HistoryUnreadable(FleetError):
    """What the replayed hosts lived through cannot be read: remove the file, or start afresh with demo-reset."""
