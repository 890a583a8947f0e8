"""Would the next panic leave a dump? Pure: a host's answers go in, findings come out. No I/O."""

from __future__ import annotations

from integrations.readiness.answers import Output, Outputs
from integrations.readiness.finding import ESSENTIAL, Finding, State, state_of
from integrations.readiness.judge import CHECKS, Known, Verdict, judge

__all__ = [
    "CHECKS",
    "ESSENTIAL",
    "Finding",
    "Known",
    "Output",
    "Outputs",
    "State",
    "Verdict",
    "judge",
    "state_of",
]
