"""Why a notification was not taken.

InboundError
├── Unsigned        the signature is missing, unreadable or wrong        (HTTP 401)
├── Stale           signed well, but the time is too far from ours       (HTTP 401, with our time)
└── InvalidReport   the body is no report: `field` and why               (HTTP 400 or 422)
"""

from __future__ import annotations


class InboundError(Exception):
    """The notification was not taken."""

    code = "refused"

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        self.field = field
        self.message = message or (type(self).__doc__ or "").strip()
        super().__init__(self.message)


class Unsigned(InboundError):
    """The signature does not fit. Sign `v1:TIMESTAMP:BODY` with HMAC-SHA256 and a secret that the bot knows."""

    code = "bad_signature"


class Stale(InboundError):
    """The timestamp is too far from the server's time. Sign again with the server's time."""

    code = "stale_timestamp"


class InvalidReport(InboundError):
    """The body is no report."""

    code = "invalid_report"
