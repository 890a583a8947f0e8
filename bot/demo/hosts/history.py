"""What the fleet lived through, kept in a file between two runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bot.demo.hosts.captures import CASES
from bot.demo.hosts.errors import HistoryUnreadable


@dataclass(frozen=True)
class Crash:
    """One panic; times in seconds since the epoch, `back_at` None while the host is still away."""

    case: str
    crashed_at: float
    back_at: float | None


@dataclass(frozen=True)
class Life:
    """One host's: how often it panicked, the last time, and the panics that the bot has not accepted yet."""

    panics: int = 0
    last: Crash | None = None
    untold: tuple[Crash, ...] = ()


@dataclass(frozen=True)
class History:
    """The fleet's: when it first started (seconds since the epoch) and each host's life."""

    since: float
    hosts: dict[str, Life] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, now: float) -> History:
        """What `path` tells; a new history from `now` on when there is no such file. `HistoryUnreadable`."""
        if not path.exists():
            return cls(now)
        try:
            raw = json.loads(path.read_text())
            lives = {str(name): _life(life) for name, life in raw["hosts"].items()}
            return cls(float(raw["since"]), lives)
        except (ValueError, KeyError, TypeError, AttributeError) as unreadable:
            raise HistoryUnreadable(f"{path}: {unreadable}") from unreadable

    def write(self, path: Path) -> None:
        """Put it in `path`: the whole file or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self), indent=1))
        fresh.replace(path)


def _life(raw: dict[str, Any]) -> Life:
    untold = [_crash(crash) for crash in raw["untold"]]
    last = _crash(raw["last"]) if raw["last"] is not None else None
    return Life(int(raw["panics"]), last, tuple(crash for crash in untold if crash is not None))


def _crash(raw: dict[str, Any]) -> Crash | None:
    """None for a case that is packaged no more: that panic cannot be replayed."""
    crash = Crash(str(raw["case"]), float(raw["crashed_at"]), raw["back_at"] and float(raw["back_at"]))
    return crash if crash.case in CASES else None
