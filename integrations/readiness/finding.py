"""A finding: what one check says of a host, why it matters, and the commands that mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Of a check, and of a host as a whole."""

    READY = "ready"
    AT_RISK = "at risk"  # a dump may come, or may not, or is open to others
    NOT_READY = "not ready"  # the next panic leaves no dump
    UNKNOWN = "unknown"  # it was not answered: never taken for ready


# Without an answer to these, nothing can be said of a host.
ESSENTIAL = ("reservation", "loaded")


@dataclass(frozen=True)
class Finding:
    """`mend`: commands for this family, to be shown and never run. `link` is a page of docs/."""

    check: str
    state: State
    told: str
    why: str = ""
    mend: tuple[str, ...] = ()
    link: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "state": self.state.value,
            "told": self.told,
            "why": self.why,
            "mend": list(self.mend),
            "link": self.link,
        }


def state_of(findings: Iterable[Finding]) -> State:
    """A host's state. Ready only when every check was answered and is well; one that cannot be told is a risk, and an
    essential one that cannot be told leaves the host unknown."""
    known = list(findings)
    states = {finding.state for finding in known}
    answered = {f.check for f in known if f.state is not State.UNKNOWN}
    if State.NOT_READY in states:
        return State.NOT_READY
    if not set(ESSENTIAL) <= answered:
        return State.UNKNOWN
    return State.AT_RISK if states - {State.READY} else State.READY
