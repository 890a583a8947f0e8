"""Which hosts may be drilled, which of them prove which others, what is overdue, and when it may be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from commands.drill.config import Day, DrillConfig

DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Machine:
    """A host as drills see it. `kernel` is the one that runs, "" where it is not known; `marked` is what the inventory
    says of it alone."""

    name: str
    ring: str = ""
    hardware: str = ""
    kernel: str = ""
    service: str = ""
    critical: bool = False
    marked: bool | None = None


@dataclass(frozen=True)
class Passed:
    """The last drill of a host that passed: when, and with which kernel."""

    at: datetime
    kernel: str


@dataclass(frozen=True)
class Class:
    """Hosts that are the same to a drill. `by`: whose drill covers them all; `due`: when the next one is; `able`: those
    of them that may be drilled."""

    traits: tuple[str, ...]
    hosts: tuple[str, ...]
    able: tuple[str, ...]
    by: str | None
    passed_at: datetime | None
    due: datetime | None

    def overdue(self, now: datetime) -> bool:
        """Also where nobody may drill it: that nothing proves it is what there is to tell."""
        return self.due is None or self.due <= now


def forbidden(machine: Machine, config: DrillConfig) -> list[str]:
    """Why this host may never be drilled, in words; nothing where it may."""
    why = []
    if not config.enabled:
        why.append("drills are switched off ([drill] enabled)")
    if machine.critical and not config.critical:
        why.append("it is critical")
    if machine.marked is False:
        why.append("the inventory takes it out of drills (drill = false)")
    elif machine.marked is None and not _is_pilot(machine.ring, config):
        why.append("it is not marked for drills (drill = true, or a ring of [drill] pilot)")
    return why


def _is_pilot(ring: str, config: DrillConfig) -> bool:
    return ring != "" and any(fnmatchcase(ring.lower(), pattern.lower()) for pattern in config.pilot)


def alone_in_service(machine: Machine, machines: Iterable[Machine]) -> bool:
    """Whether it is the only one that runs its service, as far as the inventory says what runs where."""
    return machine.service != "" and not any(
        other.service == machine.service and other.name != machine.name for other in machines
    )


# -- coverage -------------------------------------------------------------------------------------------------


def traits_of(machine: Machine, config: DrillConfig) -> tuple[str, ...]:
    """What its class is called. A host of which something is not known proves nothing but itself."""
    values = [getattr(machine, trait) for trait in config.by]
    return tuple(values) if all(values) else (*values, machine.name)


def coverage(machines: Sequence[Machine], passed: Mapping[str, Passed], config: DrillConfig) -> list[Class]:
    """All classes, those longest overdue first. A drill counts for the kernel that it was made with alone."""
    groups: dict[tuple[str, ...], list[Machine]] = {}
    for machine in machines:
        groups.setdefault(traits_of(machine, config), []).append(machine)
    made = [_class(traits, group, passed, config) for traits, group in groups.items()]
    return sorted(made, key=lambda c: (c.due is not None, c.due.timestamp() if c.due else 0.0, c.traits))


def _class(
    traits: tuple[str, ...], group: Sequence[Machine], passed: Mapping[str, Passed], config: DrillConfig
) -> Class:
    proofs = [
        (passed[m.name].at, m.name)
        for m in group
        if m.name in passed and ("kernel" not in config.by or passed[m.name].kernel == m.kernel)
    ]
    at, by = max(proofs) if proofs else (None, None)
    every = min(config.rings.get(m.ring, config.every) for m in group)
    return Class(
        traits=traits,
        hosts=tuple(sorted(m.name for m in group)),
        able=tuple(sorted(m.name for m in group if not forbidden(m, config))),
        by=by,
        passed_at=at,
        due=at + every if at is not None else None,
    )


# -- windows --------------------------------------------------------------------------------------------------


def in_window(moment: datetime, config: DrillConfig) -> bool:
    """Whether a drill may run at this (aware) moment. The end itself is outside."""
    if not config.windows:
        return True
    local = moment.astimezone(ZoneInfo(config.time_zone))
    today, yesterday = DAYS[local.weekday()], DAYS[(local.weekday() - 1) % 7]
    clock = local.time().replace(tzinfo=None)
    for window in config.windows:
        if window.start < window.end:
            if today in window.days and window.start <= clock < window.end:
                return True
        elif (today in window.days and clock >= window.start) or (
            yesterday in window.days and clock < window.end
        ):
            return True
    return False


def next_window(moment: datetime, config: DrillConfig) -> datetime | None:
    """When one begins that is not running at this moment; None where it is running."""
    if in_window(moment, config):
        return None
    zone = ZoneInfo(config.time_zone)
    day = moment.astimezone(zone).date()
    starts = [
        begun
        for ahead in range(9)
        for window in config.windows
        if DAYS[(on := day + timedelta(days=ahead)).weekday()] in window.days
        and (begun := datetime.combine(on, window.start, zone).astimezone(moment.tzinfo)) > moment
    ]
    return min(starts)
