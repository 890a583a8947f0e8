"""How the commands that a team adds to the runbook are read: pure functions of one answer, by name."""

from __future__ import annotations

import re
from collections.abc import Callable

from commands.triage.answers import Answer

_LINE = 2000  # characters of one line that a pattern is tried on
_LINES = 5000
_SHOWN = 240
# A repetition of a group that repeats inside: time may grow without bound with a hostile answer.
_NESTED = re.compile(r"\([^()]*[+*}][^()]*\)\s*[+*{]")


def contains(answer: Answer, expect: str) -> tuple[bool, str]:
    """Good when the text stands somewhere in the answer, word for word."""
    return expect in answer.text, f"{'holds' if expect in answer.text else 'does not hold'} {expect!r}"


def lacks(answer: Answer, expect: str) -> tuple[bool, str]:
    """Good when the text stands nowhere in the answer. The first line with it is told."""
    line = next((line for line in answer.text.splitlines() if expect in line), None)
    return line is None, f"does not hold {expect!r}" if line is None else f"holds {_short(line)!r}"


def matches(answer: Answer, expect: str) -> tuple[bool, str]:
    """Good when the pattern is found in one of the lines, which is told."""
    pattern = re.compile(expect)
    for line in answer.text.splitlines()[:_LINES]:
        if pattern.search(line[:_LINE]):
            return True, _short(line)
    return False, f"no line is like {expect!r}"


def exit_status(answer: Answer, expect: int) -> tuple[bool, str]:
    """Good when the command ended with this status."""
    return answer.exit_status == expect, answer.outcome


def shown(answer: Answer, expect: None) -> tuple[bool, str]:
    """Nothing is judged: the first lines are told."""
    return True, _short(" / ".join(line for line in answer.text.splitlines() if line.strip())) or "no output"


CHECKS: dict[str, Callable[[Answer, object], tuple[bool, str]]] = {
    "contains": contains,  # type: ignore[dict-item]  # problem_of_expectation sees to the types
    "lacks": lacks,  # type: ignore[dict-item]
    "matches": matches,  # type: ignore[dict-item]
    "exit_status": exit_status,  # type: ignore[dict-item]
    "shown": shown,  # type: ignore[dict-item]
}


def problem_of_expectation(check: str, expect: object) -> str | None:
    """Why a check cannot be done with this `expect`; None when it can."""
    if check == "shown":
        return None if expect is None else "check 'shown' judges nothing and takes no expect"
    if check == "exit_status":
        fits = isinstance(expect, int) and not isinstance(expect, bool) and 0 <= expect <= 255
        return None if fits else "check 'exit_status' takes a number from 0 to 255 as expect"
    if not isinstance(expect, str) or not expect:
        return f"check {check!r} takes a text as expect"
    if check != "matches":
        return None
    try:
        re.compile(expect)
    except re.error as error:
        return f"expect is no pattern: {error}"
    if _NESTED.search(expect):
        return "expect repeats a group that repeats inside, which may take for ever on a hostile answer"
    return None


def read_check(
    label: str, check: str, expect: object, otherwise: str, answer: Answer | None
) -> tuple[str, str]:
    """(state, words) of one command's answer. One that was not given is as bad as a wrong one."""
    if answer is None:
        return "skipped", f"{label}: not asked"
    if answer.exit_status is None or (answer.exit_status in (126, 127) and check != "exit_status"):
        return otherwise, f"{label}: no answer ({answer.outcome})"
    good, words = CHECKS[check](answer, expect)
    failed = f" ({answer.outcome})" if answer.exit_status and check != "exit_status" else ""
    return "ok" if good else otherwise, f"{label}: {words}{failed}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
