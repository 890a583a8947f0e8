"""When a storm is told of: plain functions of plain data, so that every order of events can be tried."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Act(StrEnum):
    """What is due now."""

    NOTHING = "nothing"
    DIGEST = "digest"
    CLOSE = "close"


@dataclass(frozen=True)
class Progress:
    """How far a storm is, and how far it was when it was last told of (`told_at`, `hosts_told`)."""

    began_at: datetime
    grown_at: datetime
    hosts: int
    told_at: datetime | None = None
    hosts_told: int = 0


def due(progress: Progress, now: datetime, *, every: timedelta, quiet: timedelta) -> Act:
    """The end of a storm is told once, also when nothing was told before; while it grows, a digest each `every`.

    A clock that was set back makes nothing due; `set_right` mends the moments it has left in the future.
    """
    if now - progress.grown_at >= quiet:
        return Act.CLOSE
    if progress.hosts > progress.hosts_told and now - (progress.told_at or progress.began_at) >= every:
        return Act.DIGEST
    return Act.NOTHING


def picture_due(
    hosts: int, hosts_pictured: int, since: datetime, now: datetime, *, every: timedelta, act: Act
) -> bool:
    """`since`: when it was last pictured, or when the storm began. A storm that grew since is pictured at its end."""
    if hosts <= hosts_pictured:
        return False
    return act is Act.CLOSE or now - since >= every


def set_right(moment: datetime, now: datetime) -> datetime:
    """A moment in the past, whatever the clock was when it was written down."""
    return min(moment, now)


def rate(moments: list[datetime], span: timedelta = timedelta(minutes=1)) -> int:
    """How many of the moments lie in the last `span` of them: panics a minute when it was last seen to grow."""
    if not moments:
        return 0
    after = max(moments) - span
    return sum(moment > after for moment in moments)
