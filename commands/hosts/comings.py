"""What comes of going to a host: each is what a durable step answers, so it is kept as JSON."""

from __future__ import annotations

from typing import TypedDict


class Knock(TypedDict):
    """What came of trying the host: `reached`, `again` after `seconds`, `lost` for good (`note`), or `stop`."""

    said: str
    seconds: float
    refusals: int
    note: str


class Went(TypedDict):
    """How a visit went: to its end (`done`), until the connection `broke` in the step `at`, or it is to `stop`."""

    said: str
    at: str


class Came(TypedDict):
    """What came of an attempt: the run `ended` (`at`: its state), the host is to be tried `again` after `seconds`, or
    the connection `broke` in the step `at`."""

    said: str
    at: str
    seconds: float
    refusals: int


def knocked(said: str, refusals: int = 0, *, seconds: float = 0, note: str = "") -> Knock:
    return {"said": said, "seconds": seconds, "refusals": refusals, "note": note}
