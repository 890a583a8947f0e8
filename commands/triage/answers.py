"""What a host answered to a step's commands, as the readers of the answers take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """One command's answer as text. `outcome` says in words how it ended (`exit 0`, `timed out after 10 s`)."""

    text: str
    ok: bool
    outcome: str
    exit_status: int | None = 0


class Answers:
    """Answers by the command's key in the runbook. What was not asked, or failed, reads as nothing."""

    def __init__(self, answers: Mapping[str, Answer] | None = None) -> None:
        self._answers = dict(answers or {})

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def get(self, key: str) -> Answer | None:
        return self._answers.get(key)

    def text(self, key: str, *, even_failed: bool = False) -> str | None:
        """The output of a command that succeeded (or of any that was run); None otherwise."""
        answer = self._answers.get(key)
        if answer is None or not (answer.ok or (even_failed and answer.text)):
            return None
        return answer.text

    def first_line(self, key: str) -> str | None:
        text = self.text(key)
        lines = text.strip().splitlines() if text else []
        return lines[0].strip() if lines else None

    def number(self, key: str) -> int | None:
        """A file with one number in it."""
        line = self.first_line(key)
        return (
            int(line) if line is not None and line.isascii() and line.isdecimal() and len(line) < 20 else None
        )

    def exit_status(self, key: str) -> int | None:
        answer = self._answers.get(key)
        return None if answer is None else answer.exit_status

    def why_not(self, key: str) -> str:
        answer = self._answers.get(key)
        return "not asked" if answer is None else answer.outcome
