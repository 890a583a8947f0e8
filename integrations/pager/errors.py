"""What can go wrong with a call to the pager.

PagerError
├── PagerRefused      the webhook said no; the same event will be refused again     (permanent)
├── PagerBusy         HTTP 429; `retry_after` seconds                               (not permanent)
└── PagerUnreachable  no answer, or the webhook failed                              (not permanent)
"""

from __future__ import annotations


class PagerError(Exception):
    """The pager was not called."""

    permanent = False

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class PagerRefused(PagerError):
    """The pager refused the event. Check [pager] url and routing_key."""

    permanent = True


class PagerBusy(PagerError):
    """The pager takes no more events for now."""

    def __init__(self, message: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class PagerUnreachable(PagerError):
    """The pager does not answer. The event is sent again; its dedup key makes it count once."""
