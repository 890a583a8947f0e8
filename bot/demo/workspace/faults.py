"""Faults on demand: what Slack does on a bad day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.demo.workspace.limits import RealLimits

Json = dict[str, Any]

Mode = Literal[
    "ratelimited",  # 429 with Retry-After; nothing happens
    "500",  # an HTTP 500; nothing happens
    "error",  # the Slack error code `error`; nothing happens
    "reset",  # the connection is reset; nothing happens
    "reset_after_landing",  # it happens, then the connection is reset
    "timeout_after_landing",  # it happens, the answer never comes (until the client goes, or `delay` seconds)
    "late_landing",  # the connection is reset (after `hold` seconds), and it happens `delay` seconds later (`landing`)
    "slow",  # it happens and is answered after `delay` seconds
]


class Fault(BaseModel):
    """The next `count` calls of `method` ("*": of any method) end as `mode` says."""

    model_config = ConfigDict(extra="forbid")

    method: str = "*"
    count: int = Field(default=1, ge=1)
    mode: Mode
    delay: float = Field(default=0.0, ge=0)
    hold: float = Field(default=0.0, ge=0)
    retry_after: int = Field(default=1, ge=0)
    error: str = "internal_error"


class ChannelPace:
    """Slack's "one message a second a channel": a bucket of `burst` that refills with `per_second`."""

    def __init__(self, clock: Callable[[], float], *, per_second: float, burst: int) -> None:
        self._clock = clock
        self._per_second = per_second
        self._burst = burst
        self._levels: dict[str, tuple[float, float]] = {}

    def admit(self, channel: str) -> bool:
        """Whether one more message may go to `channel` now."""
        now = self._clock()
        level, since = self._levels.get(channel, (float(self._burst), now))
        level = min(float(self._burst), level + (now - since) * self._per_second)
        admitted = level >= 1
        self._levels[channel] = (level - 1 if admitted else level, now)
        return admitted


class Faults:
    """All faults that are armed now."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._armed: list[Fault] = []
        self.pace: ChannelPace | None = None
        #: Slack's own limits, while they are enforced.
        self.limits: RealLimits | None = None
        #: The next so many events go out twice (on two sockets when there are two).
        self.duplicate_events = 0
        #: The next so many events count as unacknowledged though the bot acknowledged them.
        self.lost_acks = 0
        #: Once set, what is to land late lands at once.
        self.landing = asyncio.Event()

    def arm(self, fault: Fault) -> None:
        self._armed.append(fault)

    def take(self, method: str) -> Fault | None:
        """The fault for this call of `method`, counted down."""
        for fault in self._armed:
            if fault.method in (method, "*"):
                fault.count -= 1
                if fault.count == 0:
                    self._armed.remove(fault)
                return fault
        return None

    def take_duplicate(self) -> bool:
        taken = self.duplicate_events > 0
        self.duplicate_events -= taken
        return taken

    def take_lost_ack(self) -> bool:
        taken = self.lost_acks > 0
        self.lost_acks -= taken
        return taken

    def limit_channels(self, per_second: float | None, *, burst: int = 1) -> None:
        """Hold every channel to `per_second` messages; None lifts the limit."""
        self.pace = (
            None if per_second is None else ChannelPace(self._clock, per_second=per_second, burst=burst)
        )

    def enforce_limits(self, on: bool) -> None:
        """Hold the app to the rate limits that Slack publishes, from now on or no longer."""
        self.limits = RealLimits(self._clock) if on else None

    def clear(self) -> None:
        """No faults from now on."""
        self._armed.clear()
        self.duplicate_events = 0
        self.lost_acks = 0
        self.pace = None
        self.limits = None

    def armed(self) -> Json:
        """What is armed, for the page's panel."""
        return {
            "faults": [fault.model_dump() for fault in self._armed],
            "duplicate_events": self.duplicate_events,
            "lost_acks": self.lost_acks,
            "channel_limit": self.pace is not None,
            "real_limits": self.limits is not None,
        }
