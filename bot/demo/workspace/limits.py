"""Slack's published rate limits, enforced: a tier a method, and one message a second a channel.

Source: Slack's "Rate limits" and each method's page. A tier says how many calls a minute an app may make of a method in
a workspace ("20+", "50+", "100+"); here it is exactly that many in any 60 s. chat.postMessage takes "1 message per
second per channel", with short bursts, which here are three. A call over the limit answers 429 with Retry-After, and
nothing happens.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

_TIER = {1: 1, 2: 20, 3: 50, 4: 100}
_METHODS = {
    "apps.connections.open": 1,
    "chat.delete": 3,
    "chat.postEphemeral": 4,
    "chat.update": 3,
    "conversations.history": 3,
    "conversations.info": 3,
    "conversations.list": 2,
    "conversations.members": 4,
    "conversations.open": 3,
    "conversations.replies": 3,
    "files.completeUploadExternal": 4,
    "files.delete": 3,
    "files.getUploadURLExternal": 4,
    "files.info": 4,
    "usergroups.list": 2,
    "usergroups.users.list": 2,
    "users.info": 4,
    "users.list": 2,
    "views.open": 4,
    "views.publish": 4,
    "views.push": 4,
    "views.update": 4,
}
_SPORADIC = 5  # the lowest tier takes a few at once: a client that reconnects is no flood
_SECONDS = 60.0
_MESSAGES_AT_ONCE = 3


class RealLimits:
    """`refuse(method, channel)` once for each call that comes in."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._made: dict[str, deque[float]] = {}
        self._channels: dict[str, tuple[float, float]] = {}

    def refuse(self, method: str, channel: str | None) -> int | None:
        """Whole seconds to wait, or None: the call is counted and may go on."""
        now = self._clock()
        if method == "chat.postMessage":
            return self._message(channel or "", now)
        tier = _METHODS.get(method)
        if tier is None:  # auth.test, chat.getPermalink: "several hundred a minute"
            return None
        made = self._made.setdefault(method, deque())
        while made and made[0] <= now - _SECONDS:
            made.popleft()
        if len(made) >= max(_SPORADIC, _TIER[tier]):
            return max(1, math.ceil(made[0] + _SECONDS - now))
        made.append(now)
        return None

    def _message(self, channel: str, now: float) -> int | None:
        level, since = self._channels.get(channel, (float(_MESSAGES_AT_ONCE), now))
        level = min(float(_MESSAGES_AT_ONCE), level + max(0.0, now - since))
        # A hair of grace: who waits for exactly a second is not early.
        admitted = level >= 0.99
        self._channels[channel] = (level - 1.0 if admitted else level, now)
        return None if admitted else 1
