"""Which of the changes did it: plain evidence, added up, each piece of it said in words.

What is added up are bits: how many times likelier a thing is if the change did it than if it only happened to be
there. Three things speak: whether its scope covers the hosts that panicked and not the calm ones; how soon after it
the first panic came; whether its text names what the trace names. Against them stands the crowd: among a thousand
changes of a week some look suspicious by chance. The sum orders the changes and is shown to nobody.
docs/changes-feed.md explains the same to its readers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from commands.changes.fleet import Fleet
from commands.changes.trace import Named, Trace, kind_of, named
from integrations.changes import Change

SHOWN = 3
THRESHOLD = 1.5  # bits: a third would be "none of them, or one that nobody told of"
NOBODY = "no change found"

_WINDOW_HOURS = 168.0  # bits of time are those of a change somewhere in a week
_SOONEST_HOURS = 0.05
_HIT = 0.8  # scopes are noisy: of the hosts that a guilty change struck, so many are within what it says
_SCOPE_MOST, _SCOPE_LEAST = 9.0, -6.0
_PSEUDO = 4.0  # hosts; how much the guess below weighs against the calm hosts that were counted
_BY_CHANCE = {"host": 0.02, "service": 0.15, "ring": 0.2, "hardware": 0.3, "everywhere": 1.0}
_SEEN_ON_HOST = 0.3  # of the calm hosts, how many may have it, too, when nobody looked
_UNSAID = -1.0
_NO_TIME = -2.0
_NAMES_MODULE, _NAMES_KERNEL, _NAMES_PART = 5.0, 4.0, 4.0
_OTHER_KERNEL, _KERNEL_UNBOOTED, _FIRMWARE_UNBOOTED = -5.0, -8.0, -2.5
_NOBODY_STRUCK = -20.0
_MACHINE_CHECK = 3.0
_ABOVE = frozenset({"configuration", "package", "network", "deployment"})
_NAMES_NOTHING = -2.0  # of these, when they name nothing that the trace names
_KIND = {  # how readily such a change brings a kernel down; what runs above the kernel seldom does
    "kernel": 1.0,
    "driver": 1.0,
    "firmware": 0.5,
    "hardware": 0.5,
    "configuration": -2.0,
    "package": -1.5,
    "network": -2.0,
    "deployment": -4.0,
    "boot": -4.0,
}
_AT_BOOT = frozenset({"kernel", "firmware"})  # what takes effect when the host boots
_IRON = frozenset({"mce", "nmi", "hard_lockup", "corrected_error", "firmware"})


@dataclass(frozen=True)
class Struck:
    """A host that panicked: when it did first, and when the boot began that crashed (None: not known)."""

    host: str
    at: datetime
    booted: datetime | None = None


@dataclass(frozen=True)
class Picture:
    """What there is to be explained. `considered`: the changes of the window, of the whole fleet."""

    fleet: Fleet
    struck: tuple[Struck, ...]
    trace: Trace = field(default_factory=Trace)
    considered: int = 0

    @property
    def first_at(self) -> datetime:
        return min(s.at for s in self.struck)


@dataclass(frozen=True)
class Weighed:
    """A change that stands out, and why: reasons in words, to follow the change's name. `bits` are not for people."""

    change: Change
    reasons: tuple[str, ...]
    bits: float


@dataclass(frozen=True)
class _Evidence:
    bits: float
    words: str = ""


def weigh(candidates: Iterable[Change], picture: Picture) -> list[Weighed]:
    """Those that stand out, likeliest first; empty: "no change found". The order of `candidates` plays no part.

    A change that began after the first panic is never among them: it may be the repair, it is not the cause.
    """
    if not picture.struck:
        return []
    first = picture.first_at
    apart = {(c.source, c.key): c for c in sorted(candidates, key=lambda c: (*_tie(c), repr(c)))}.values()
    possible = [c for c in apart if c.started is None or c.started <= first]
    crowd = math.log2(max(1.0, max(picture.considered, len(apart)) / 2.3))
    seen = [_weighed(change, picture, crowd) for change in possible]
    return sorted(
        (w for w in seen if w.bits >= THRESHOLD), key=lambda w: (-round(w.bits, 6), *_tie(w.change))
    )


def _weighed(change: Change, picture: Picture, crowd: float) -> Weighed:
    said = named(picture.trace, f"{change.summary}\n{change.text}")
    covered = picture.fleet.covered(change.scope)
    mine = [s for s in picture.struck if s.host in covered] or list(picture.struck)
    nearest = min(mine, key=lambda s: (s.at, s.host))
    evidence = (
        _when(change, nearest, picture),
        _where(change, covered, picture),
        *_names(change, said, picture.trace),
        _boot(change, nearest, said),
        _Evidence(_KIND.get(_kind(change), 0.0)),
    )
    bits = sum(e.bits for e in evidence) - crowd
    return Weighed(change, tuple(e.words for e in evidence if e.words), bits)


# -- where --------------------------------------------------------------------------------------------


def _where(change: Change, covered: frozenset[str], picture: Picture) -> _Evidence:
    hosts = {s.host for s in picture.struck}
    hit, struck = len(hosts & covered), len(hosts)
    if change.source.startswith("host:"):
        return _where_seen(change, max(1, hit), struck)
    if not change.scope.said:
        return _Evidence(_UNSAID, "does not say which hosts it touches")
    calm = len(picture.fleet.names) - len(hosts & picture.fleet.names)
    touched = len(covered) - hit
    chance = (touched + _PSEUDO * _guess(change)) / (calm + _PSEUDO)
    chance = min(0.999, max(0.0005, chance))
    if not hit:
        return _Evidence(_NOBODY_STRUCK, _covers(hit, struck, touched, calm))
    bits = hit * math.log2(_HIT / chance)
    if struck > hit:
        bits += (struck - hit) * math.log2((1 - _HIT) / (1 - chance))
    bits = max(_SCOPE_LEAST, min(_SCOPE_MOST, bits))
    if chance >= _HIT and hit == struck:
        bits = 0.0  # it touches everybody: that those who panicked are among them says nothing
    return _Evidence(bits, _covers(hit, struck, touched, calm))


def _where_seen(change: Change, hit: int, struck: int) -> _Evidence:
    bits = min(3.0, hit * math.log2(_HIT / _SEEN_ON_HOST))
    where = f"seen on {hit} of {struck} panicking hosts" if struck > 1 else "seen on the host itself"
    return _Evidence(bits, where)


def _guess(change: Change) -> float:
    """How much of a fleet such a scope covers, where there are too few hosts to count."""
    scope = change.scope
    if scope.everywhere:
        return _BY_CHANCE["everywhere"]
    groups = (("ring", scope.rings), ("hardware", scope.hardware), ("service", scope.services))
    guesses = [_BY_CHANCE[what] for what, names in groups if names]
    return max(math.prod(guesses) if guesses else 0.0, _BY_CHANCE["host"] if scope.hosts else 0.0)


def _covers(hit: int, struck: int, touched: int, calm: int) -> str:
    if struck == 1:
        told = "covers the panicking host" if hit else "does not cover the panicking host"
    else:
        told = f"covers {hit} of {struck} panicking hosts"
    return f"{told} and {touched} of {calm} calm ones" if calm else told


# -- when ---------------------------------------------------------------------------------------------


def _when(change: Change, nearest: Struck, picture: Picture) -> _Evidence:
    if change.started is None:
        return _Evidence(_NO_TIME, "does not say when it began")
    at, begun = nearest.at, change.started
    whose = "" if nearest.at == picture.first_at else " the first panic that it covers"
    words = f"started {_rough(at - begun)} before{whose}"
    since = at - begun
    if change.ended is not None and change.ended <= at:
        # What takes long reaches its last hosts late.
        since = (at - change.ended) + (change.ended - begun) / 4
        if change.ended - begun >= timedelta(minutes=2):
            words += f", ended {_rough(at - change.ended)} before"
    elif change.ended is not None or _runs(change):
        since /= 4
        words += " and was still under way"
    if _waits_for_boot(change, nearest):
        booted = nearest.booted or at
        since = min(since, (at - booted) + (booted - begun) / 8)
    return _Evidence(_time_bits(since / timedelta(hours=1)), words)


def _rough(length: timedelta) -> str:
    """`40 s`, `14 min`, `5 h`, `3 d`: one unit, the largest of which there are two."""
    seconds = max(0, int(length.total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _runs(change: Change) -> bool:
    """A ticket that is open has no end; a feed that tells no end means a moment."""
    return change.source == "jira"


def _time_bits(hours: float) -> float:
    """What a gap is worth: after a guilty change it is as often minutes as hours or days, else any of a week's."""
    density = 1 / (math.log(_WINDOW_HOURS / _SOONEST_HOURS) * (max(0.0, hours) + 2 * _SOONEST_HOURS))
    return math.log2(_WINDOW_HOURS * density)


def _waits_for_boot(change: Change, nearest: Struck) -> bool:
    kind, started, booted = _kind(change), change.started, nearest.booted
    return kind in _AT_BOOT and started is not None and booted is not None and started <= booted <= nearest.at


def _boot(change: Change, nearest: Struck, said: Named) -> _Evidence:
    """A kernel that nobody has booted yet kills nobody."""
    kind, booted = _kind(change), nearest.booted
    if kind not in _AT_BOOT or change.started is None or booted is None or said.live:
        return _Evidence(0.0)
    if change.source.startswith("host:") and change.key.startswith("booted"):
        return _Evidence(0.0)
    if booted < change.started:
        # A network card's firmware may be flashed in flight; a kernel is not changed without a boot.
        bits = _KERNEL_UNBOOTED if kind == "kernel" else _FIRMWARE_UNBOOTED
        return _Evidence(bits, "the host had not booted since")
    return _Evidence(0.0, f"booted since, {_rough(nearest.at - booted)} before")


# -- what ---------------------------------------------------------------------------------------------


def _names(change: Change, said: Named, trace: Trace) -> Sequence[_Evidence]:
    found = []
    if said.module:
        found.append(_Evidence(_NAMES_MODULE, f"names {said.module}"))
    elif said.part:
        found.append(_Evidence(_NAMES_PART, f"names {said.part}"))
    if said.kernel:
        found.append(_Evidence(_NAMES_KERNEL, f"names kernel {said.kernel}"))
    elif said.others and _kind(change) == "kernel":
        found.append(
            _Evidence(_OTHER_KERNEL, f"names kernel {said.others[0]}, which is not the one that died")
        )
    elif not found and _kind(change) in _ABOVE:
        found.append(_Evidence(_NAMES_NOTHING))
    if _kind(change) in ("firmware", "hardware") and trace.kinds & _IRON:
        found.append(_Evidence(_MACHINE_CHECK, "such a panic points at the machine"))
    return found


# -- order --------------------------------------------------------------------------------------------


def _kind(change: Change) -> str:
    return kind_of(change.kind, change.summary)


def _tie(change: Change) -> tuple[float, float, str, str, str]:
    """Of two that weigh the same: the later begun, the later touched, the name."""
    began = -change.started.timestamp() if change.started else math.inf
    touched = -change.updated.timestamp() if change.updated else math.inf
    return began, touched, change.source, change.key, change.summary
