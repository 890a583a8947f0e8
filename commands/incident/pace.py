"""How fast we may speak: Slack takes about one message a second a channel, and short bursts."""

from __future__ import annotations

import time
from collections.abc import Callable

PARENT, POST, EDIT, LOOK = "parent", "post", "edit", "look"
KINDS = (PARENT, POST, EDIT, LOOK)
# Parents and replies are posts alike to Slack, but the last token is a parent's: a new panic is told at once,
# while the replies of the one before are still being said.
_SPARE = {POST: 1.0}
_BUCKET = {PARENT: POST}


class Pace:
    """A token bucket a channel, for posts, edits and looks apart.

    Slack: chat.postMessage "1 message per second per channel", short bursts tolerated; chat.update and
    conversations.history are Tier 3 (50 a minute and more). A 429 stops the channel for as long as Slack says.
    """

    def __init__(
        self,
        *,
        per_second: float = 1.0,
        burst: int = 4,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_second = per_second
        self.burst = burst
        self._monotonic = monotonic
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}
        self._paused_until: dict[str, float] = {}

    def pause(self, channel: str, seconds: float) -> None:
        until = self._monotonic() + seconds
        self._paused_until[channel] = max(until, self._paused_until.get(channel, 0.0))

    def delay(self, channel: str, kind: str) -> float:
        """Seconds until the next call of this kind may be made; 0 when it may be made now."""
        now = self._monotonic()
        paused = self._paused_until.get(channel, 0.0) - now
        missing = (1.0 + _SPARE.get(kind, 0.0) - self._tokens(channel, kind, now)) / self.per_second
        return max(0.0, paused, missing)

    def take(self, channel: str, kind: str) -> None:
        """A call of this kind is made now."""
        now = self._monotonic()
        bucket = (channel, _BUCKET.get(kind, kind))
        self._buckets[bucket] = (self._tokens(channel, kind, now) - 1.0, now)

    def _tokens(self, channel: str, kind: str, now: float) -> float:
        tokens, at = self._buckets.get((channel, _BUCKET.get(kind, kind)), (float(self.burst), now))
        return min(float(self.burst), tokens + (now - at) * self.per_second)
