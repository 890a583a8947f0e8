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


# Slack's Tier 3, "50+ per minute" a method in a workspace: 10 at once and 40 more within the minute stay below it.
_TIER_3 = frozenset({EDIT, LOOK})
_TIER_3_BURST = 10
_TIER_3_PER_POST = 40 / 60  # of the posts a second


class Pace:
    """A token bucket a channel, for posts, edits and looks apart; edits and looks have one for the workspace, too.

    Slack: chat.postMessage "1 message per second per channel", short bursts tolerated; chat.update and
    conversations.history are Tier 3 (50 a minute and more, of the workspace). A 429 stops what it was about for as
    long as Slack says: posts in one channel, or edits (or looks) in all of them.
    """

    def __init__(
        self,
        *,
        per_second: float = 1.0,
        burst: int = 3,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_second = per_second
        self.burst = burst
        self._monotonic = monotonic
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}
        self._paused_until: dict[tuple[str, str], float] = {}

    def pause(self, channel: str, seconds: float, kind: str | None = None) -> None:
        """No call of this kind (None: of any) in the channel; edits and looks: in no channel."""
        until = self._monotonic() + seconds
        for paused in KINDS if kind is None else (kind,):
            key = ("" if kind is not None and paused in _TIER_3 else channel, _BUCKET.get(paused, paused))
            self._paused_until[key] = max(until, self._paused_until.get(key, 0.0))

    def delay(self, channel: str, kind: str) -> float:
        """Seconds until the next call of this kind may be made; 0 when it may be made now."""
        now = self._monotonic()
        bucket = _BUCKET.get(kind, kind)
        paused = max(self._paused_until.get((where, bucket), 0.0) for where in (channel, "")) - now
        tokens = self._tokens((channel, bucket), now)
        missing = (1.0 + _SPARE.get(kind, 0.0) - tokens) / self.per_second
        if kind in _TIER_3:
            missing = max(missing, (1.0 - self._tokens(("", bucket), now)) / self._rate(""))
        return max(0.0, paused, missing)

    def take(self, channel: str, kind: str) -> None:
        """A call of this kind is made now."""
        now = self._monotonic()
        bucket = _BUCKET.get(kind, kind)
        for where in (channel, "") if kind in _TIER_3 else (channel,):
            self._buckets[(where, bucket)] = (self._tokens((where, bucket), now) - 1.0, now)

    def _rate(self, where: str) -> float:
        return self.per_second if where else self.per_second * _TIER_3_PER_POST

    def _tokens(self, bucket: tuple[str, str], now: float) -> float:
        full = float(self.burst if bucket[0] else max(_TIER_3_BURST, self.burst))
        tokens, at = self._buckets.get(bucket, (full, now))
        return min(full, tokens + (now - at) * self._rate(bucket[0]))
