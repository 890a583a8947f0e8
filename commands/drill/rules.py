"""What may happen to a drill: its states, and what leads from one to the next. Pure; nothing else changes a drill.

asked -> countdown -> triggering -> verifying -> passed, failed
  |          |            |
  +----------+            +-> never triggered, trigger unconfirmed
  v
aborted, expired
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from commands.errors import Impossible, Refused
from storage.drills import DrillState

OPEN = (DrillState.ASKED, DrillState.COUNTDOWN)  # nothing has happened to the host
UNDER_WAY = (*OPEN, DrillState.TRIGGERING, DrillState.VERIFYING)
SETTLED = timedelta(seconds=30)  # so long a helper that was begun may still be writing its mark


class NotNow(Impossible):
    """This drill is over, or too far for that."""


class PlanChanged(Impossible):
    """What would happen is not what was approved. Ask for the drill once more."""


@dataclass(frozen=True)
class Standing:
    """All of a drill that its rules look at."""

    state: DrillState
    requester: str
    digest: str
    asked_at: datetime
    until: datetime
    approver: str | None = None
    approved_at: datetime | None = None
    trigger_at: datetime | None = None
    triggered_at: datetime | None = None
    ended_by: str | None = None
    ended_at: datetime | None = None
    note: str = ""


def digest_of(plan: Mapping[str, Any]) -> str:
    """What two people say yes to, in 64 hex digits; any other plan has another one."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def ask(by: str, digest: str, now: datetime, approval: timedelta) -> Standing:
    """The first of the two: whoever asks has seen the plan and says yes to it."""
    return Standing(DrillState.ASKED, by, digest, now, now + approval)


def approve(drill: Standing, by: str, digest: str, now: datetime, countdown: timedelta) -> Standing:
    """The second one. Raises Refused (the same person), NotNow, PlanChanged. The role is looked at by the caller."""
    if drill.state is not DrillState.ASKED:
        raise NotNow(f"this drill is {drill.state.value} already.")
    if by == drill.requester:
        raise Refused(
            "a drill needs two people: another one than who asked for it has to approve it.",
        )
    if now + countdown > drill.until or now < drill.asked_at:
        raise NotNow("it was asked for too long ago, and has to be asked for again.")
    if digest != drill.digest:
        raise PlanChanged
    return replace(
        drill, state=DrillState.COUNTDOWN, approver=by, approved_at=now, trigger_at=now + countdown
    )


def abort(drill: Standing, by: str, now: datetime, note: str = "") -> Standing:
    """Anyone, until the host is told. Raises NotNow."""
    if drill.state not in OPEN:
        raise NotNow(f"this drill is {drill.state.value}: it cannot be aborted any more.")
    return replace(drill, state=DrillState.ABORTED, ended_by=by, ended_at=now, note=note)


def expire(drill: Standing, now: datetime) -> Standing:
    """Ends one whose approvals hold no longer; else it stays what it is."""
    if drill.state in OPEN and now > drill.until:
        said = "nobody else approved it" if drill.state is DrillState.ASKED else "its approvals had expired"
        return replace(drill, state=DrillState.EXPIRED, ended_at=now, note=f"{said} in time")
    return drill


def trigger(drill: Standing, digest: str, now: datetime) -> Standing:
    """To be committed before the host is told, by who tells it at once. Raises NotNow, PlanChanged."""
    if drill.state is not DrillState.COUNTDOWN or drill.trigger_at is None or now < drill.trigger_at:
        raise NotNow(f"this drill is {drill.state.value}: it is not to be triggered.")
    if drill.approver is None or drill.approver == drill.requester or now > drill.until:
        raise NotNow("its approvals do not hold.")
    if digest != drill.digest:
        raise PlanChanged
    return replace(drill, state=DrillState.TRIGGERING, triggered_at=now)


def crashing(drill: Standing) -> Standing:
    """The host said that it crashes now."""
    return replace(_triggering(drill), state=DrillState.VERIFYING)


def declined(drill: Standing, why: str, now: datetime) -> Standing:
    """The host's helper refused, and so did nothing."""
    return replace(_triggering(drill), state=DrillState.NEVER, ended_at=now, note=why)


def looked_at(drill: Standing, *, marked: bool, same_boot: bool, now: datetime) -> Standing:
    """Nobody knows what came of the trigger; this is what the host says. `marked`: it bears this drill's mark.

    Where it lives on in the same boot without a mark, a helper may just have been begun: that is sure after SETTLED.
    """
    drill = _triggering(drill)
    if marked and not same_boot:
        return replace(drill, state=DrillState.VERIFYING)
    if marked:
        note = "the host bears the drill's mark and has not rebooted: it is not triggered again"
        return replace(drill, state=DrillState.UNCONFIRMED, ended_at=now, note=note)
    if same_boot and drill.triggered_at is not None and now < drill.triggered_at + SETTLED:
        return drill
    note = "the host bears no mark of it" + ("" if same_boot else ": it rebooted for another reason")
    return replace(drill, state=DrillState.NEVER, ended_at=now, note=note)


def silent(drill: Standing, now: datetime) -> Standing:
    """The host cannot be asked any more, and the time to wait for it is over."""
    note = "the host did not come back within the drill's deadline"
    return replace(_triggering(drill), state=DrillState.FAILED, ended_at=now, note=note)


def verified(drill: Standing, missing: str, now: datetime) -> Standing:
    """Passed where nothing is missing, else failed, with the first missing sign. Raises NotNow."""
    if drill.state is not DrillState.VERIFYING:
        raise NotNow(f"this drill is {drill.state.value}: there is nothing to verify.")
    state = DrillState.FAILED if missing else DrillState.PASSED
    return replace(drill, state=state, ended_at=now, note=missing)


def _triggering(drill: Standing) -> Standing:
    if drill.state is not DrillState.TRIGGERING:
        raise NotNow(f"this drill is {drill.state.value}: the host was not told, or has answered.")
    return drill
