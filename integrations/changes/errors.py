"""What can go wrong with the change tracker, and whether trying again can help.

ChangeError
├── BadKey           what was typed is no ticket key                 (permanent)
├── TicketUnknown    no such ticket, or not for this account         (permanent)
├── NotAllowed       the account may not do this                     (permanent)
│   └── BadCredentials  the tracker does not know the account        (permanent)
├── BadFeed          a feed of changes cannot be read                (permanent)
├── BadQuery         the tracker does not understand the search      (permanent)
├── TrackerRefused   any other refusal                               (permanent)
└── TrackerDown      no answer, a broken one, or "too much": `retry_after` seconds if it said so
"""

from __future__ import annotations

import inspect


class ChangeError(Exception):
    """The change tracker could not be used."""

    permanent = True

    def __init__(self, facts: str = "") -> None:
        message = inspect.cleandoc(type(self).__doc__ or "")
        super().__init__(f"{message} ({facts})" if facts else message)


class BadKey(ChangeError):
    """That is no ticket key. Write it as OPS-1182, or paste the ticket's address."""


class TicketUnknown(ChangeError):
    """There is no such ticket, or the bot's account may not see it. Check the key and the project's permissions."""


class NotAllowed(ChangeError):
    """The bot's account may not do this in the tracker. Give it browse, comment and link permission in the project."""


class BadCredentials(NotAllowed):
    """The tracker does not accept the bot's account. Check [jira] flavour, email, token, api_url (a scoped one)."""


class BadFeed(ChangeError):
    """The feed of changes cannot be read. Its form is described in docs/changes-feed.md."""


class BadQuery(ChangeError):
    """The tracker does not understand the search for changes. Check [jira] projects and jql."""


class TrackerRefused(ChangeError):
    """The tracker refused the call. Check [jira] url and flavour."""


class TrackerDown(ChangeError):
    """The tracker does not answer as it should just now. It is asked again later."""

    permanent = False

    def __init__(self, facts: str = "", *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(facts)
