"""Short ids as people type and read them: `P-41`, `I-7`, `R-12`."""

from __future__ import annotations

import re

_SHORT_ID = re.compile(r"\A\s*([A-Za-z])-?0*([0-9]{1,12})\s*\Z")


def panic_ref(panic_id: int | None) -> str:
    return f"P-{panic_id}"


def incident_ref(incident_id: int | None) -> str:
    return f"I-{incident_id}"


def report_ref(report_id: int | None) -> str:
    return f"R-{report_id}"


def parse_ref(text: str, prefix: str) -> int | None:
    """The number in `P-41`, `p41` or `P-041`; None when the text is no such id."""
    match = _SHORT_ID.match(text)
    if match is None or match.group(1).upper() != prefix.upper():
        return None
    return int(match.group(2)) or None
