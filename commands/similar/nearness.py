"""How near two panics are, and why in words. Pure: the same for both orders, 0 for nothing in common, 1 at most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from integrations.kernel.rules import common_name, name_list
from storage.similarity import Candidate

_FRAMES_NEEDED = 2
DEEP = 24  # frames that are compared, from the innermost
_COMMON = (
    "generic",
    "report",
    "anchor",
    "interrupt",
    "watchdog",
)  # lists of frames that stand in every trace
_FRAMES, _FUNCTION, _KIND, _MODULE = 0.55, 0.15, 0.15, 0.15  # of the whole; together 1


@dataclass(frozen=True)
class Nearness:
    """`score` from 0 to 1. Of what they have in common: the frames (innermost first), and whether kind, module and
    the function to blame are the same."""

    score: float
    frames: tuple[str, ...] = ()
    kind: str | None = None
    module: str | None = None
    function: str | None = None

    @property
    def near(self) -> bool:
        """Near enough to be shown: frames in common, or the same function, or kind and module both the same. One frame
        alone is on the way to too much to say anything."""
        return bool(len(self.frames) >= _FRAMES_NEEDED or self.function or (self.kind and self.module))


@dataclass(frozen=True)
class Near:
    """A panic of another signature: the nearest of that signature, and how near it is."""

    panic: Candidate
    nearness: Nearness


def nearness(one: Candidate, other: Candidate) -> Nearness:
    """How near they are. Frames that every trace has (entries, dispatchers, locks, allocation) do not count."""
    mine, theirs = telling_frames(one.frames), telling_frames(other.frames)
    held = frozenset(theirs)
    shared = tuple(f for f in mine if f in held)
    score = _FRAMES * 2 * len(shared) / (len(mine) + len(theirs)) if shared else 0.0
    same_kind = one.kind == other.kind and one.kind not in ("", "unknown")
    same_module = bool(one.module) and one.module == other.module
    blamed = _blamed(one)
    same_function = blamed is not None and blamed == _blamed(other)
    score += _KIND * same_kind + _MODULE * same_module + _FUNCTION * same_function
    return Nearness(
        min(score, 1.0),
        shared,
        one.kind if same_kind else None,
        one.module if same_module else None,
        blamed if same_function else None,
    )


def nearest(panic: Candidate, others: Iterable[Candidate], *, limit: int = 5) -> list[Near]:
    """The nearest of other signatures, each signature once (by its nearest panic, of equal ones the first given),
    nearest first."""
    best: dict[str, Near] = {}
    for other in others:
        if other.id == panic.id or other.signature_key == panic.signature_key:
            continue
        found = nearness(panic, other)
        known = best.get(other.signature_key)
        if found.near and (known is None or found.score > known.nearness.score):
            best[other.signature_key] = Near(other, found)
    return sorted(best.values(), key=lambda n: -n.nearness.score)[:limit]


def why(found: Nearness) -> list[str]:
    """Why it is near, in plain words with frames and names as they are: ["3 frames in common", "same kind", …]."""
    words = []
    if found.function:
        words.append(f"the same function to blame, {found.function}")
    if found.frames:
        count = f"{len(found.frames)} frame{'s' if len(found.frames) != 1 else ''} in common"
        words.append(f"{count} ({', '.join(found.frames[:4])}{', …' if len(found.frames) > 4 else ''})")
    if found.kind:
        words.append(f"same kind, {found.kind}")
    if found.module:
        words.append(f"same module, {found.module}")
    return words


def telling_frames(frames: Sequence[str]) -> tuple[str, ...]:
    """The frames that say something, each once, by the name that is common to its variants."""
    return tuple(dict.fromkeys(name for frame in frames[:DEEP] if (name := _telling(frame)) is not None))


@lru_cache(maxsize=16384)
def _telling(frame: str) -> str | None:
    bare = frame.split(".", 1)[0].strip()  # without .isra.0, .cold
    if not bare or any(name_list(name).match(bare) for name in _COMMON):
        return None
    return common_name(bare)


def _blamed(panic: Candidate) -> str | None:
    return _telling(panic.function) if panic.function else None
