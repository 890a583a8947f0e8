"""Change tickets: find the ones that name a host, read one, and tell one about a panic."""

from __future__ import annotations

from integrations.changes.change import Change, ChangeTracker, Scope, read_key
from integrations.changes.config import JiraConfig
from integrations.changes.errors import (
    BadCredentials,
    BadFeed,
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
    "BadFeed",
    "BadKey",
    "BadQuery",
    "Change",
    "ChangeError",
    "ChangeTracker",
    "JiraConfig",
    "JiraTracker",
    "NotAllowed",
    "Scope",
    "TicketUnknown",
    "TrackerDown",
    "TrackerRefused",
    "read_key",
]
