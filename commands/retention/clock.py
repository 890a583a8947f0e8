"""Whether the bot's clock is to be believed, before anything goes by its age.

A clock that was set wrong by a year makes every term over. So the time is compared with another clock: that of Slack,
which stamps each message of the bot's with the time of its own. Between two stamps, the seconds that the process itself
has counted (which setting the clock does not change) carry the belief on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from commands.retention.items import Clock

NEAR = timedelta(days=1)  # how far a stamp of Slack's may lie back and still vouch for the time
DRIFT = timedelta(minutes=10)  # between the clock and the counted seconds, from one look to the next


@dataclass(frozen=True)
class Anchor:
    """A moment that was believed: what the clock said, and the process's own count of seconds then."""

    at: datetime
    counted: float


def judge(now: datetime, counted: float, witness: datetime | None, anchor: Anchor | None) -> Clock:
    """`witness`: the newest stamp of Slack's. `anchor`: the last moment of this process that was believed."""
    if witness is not None and abs(now - witness) <= NEAR:
        return Clock()
    if anchor is not None:
        should = anchor.at + timedelta(seconds=counted - anchor.counted)
        if abs(now - should) <= DRIFT:
            return Clock()
        return Clock(False, f"it says {_said(now)}, and by the seconds counted it is {_said(should)}")
    if witness is None:
        return Clock(False, f"it says {_said(now)}, and no message of Slack's vouches for that yet")
    return Clock(False, f"it says {_said(now)}, and Slack's newest stamp is of {_said(witness)}")


def _said(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
