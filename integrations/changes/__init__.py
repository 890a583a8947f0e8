"""Change tickets: find the ones that name a host, read one, and tell one about a panic."""

from __future__ import annotations

from integrations.changes.change import Change, ChangeTracker, read_key
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
from integrations.changes.jira import JiraTracker

__all__ = [
    "BadCredentials",
    "BadKey",
    "BadQuery",
    "Change",
    "ChangeError",
    "ChangeTracker",
    "JiraConfig",
    "JiraTracker",
    "NotAllowed",
    "TicketUnknown",
    "TrackerDown",
    "TrackerRefused",
    "read_key",
]
