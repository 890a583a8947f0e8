"""What the answers say of rate limits: Cloud only once one is exceeded, Data Center each time."""

from __future__ import annotations

from datetime import UTC, datetime

from bot.demo.tracker.tickets import Tracker

_BUCKET = 100


def budget(tracker: Tracker) -> dict[str, str]:
    """The headers of an answer to who is known."""
    return _bucket(_BUCKET - 1, 0) if tracker.flavour == "datacenter" else {}


def exceeded(tracker: Tracker, seconds: float) -> dict[str, str]:
    """The headers of a 429. Cloud may leave out how long to wait: it does for no `seconds`."""
    wait = int(seconds)
    if tracker.flavour == "datacenter":
        return _bucket(0, wait)
    headers = {
        "X-RateLimit-Limit": str(_BUCKET),
        "X-RateLimit-Remaining": "0",
        "RateLimit-Reason": "jira-burst-based",
    }
    if wait:
        again = datetime.fromtimestamp(tracker.clock() + wait, UTC)
        headers |= {"Retry-After": str(wait), "X-RateLimit-Reset": f"{again:%Y-%m-%dT%H:%MZ}"}
    return headers


def _bucket(left: int, wait: int) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(_BUCKET),
        "X-RateLimit-Remaining": str(left),
        "X-RateLimit-Interval-Seconds": "1",
        "X-RateLimit-FillRate": "10",
        "Retry-After": str(wait),
    }
