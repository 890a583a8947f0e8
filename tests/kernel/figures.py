"""The figures of the labelled corpus, computed once for the tests and the bench."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from integrations.kernel import Crash, Kind, read_crash

_FAULTS = (
    "null_deref page_fault gpf double_fault kernel_bug stack_overflow divide_error arm_fault oops trap "
    "undefined_instruction alignment"
)
FAULTS = frozenset(_FAULTS.split())
HANGS = frozenset(["soft_lockup", "hard_lockup", "rcu_stall", "hung_task"])


@dataclass
class Share:
    good: int = 0
    total: int = 0
    missed: list[str] = field(default_factory=list)

    def add(self, good: bool, name: str) -> None:
        self.total += 1
        self.good += good
        if not good:
            self.missed.append(name)

    @property
    def ratio(self) -> float:
        return self.good / self.total if self.total else 1.0


@dataclass
class Figures:
    detection: Share = field(default_factory=Share)
    named: Share = field(default_factory=Share)
    calm: Share = field(default_factory=Share)
    kind: Share = field(default_factory=Share)
    fault_function: Share = field(default_factory=Share)
    hang_function: Share = field(default_factory=Share)
    other_function: Share = field(default_factory=Share)
    f1_faults: float = 1.0
    f1_all: float = 1.0


def functions_of(row: dict[str, Any]) -> set[str]:
    names = {row["func"]} if row["func"] else set()
    for title in (row["title"], *row["alt"]):
        if match := re.search(r" in ([\w.]+)", title):
            names.add(match[1])
    return names


def f1(pairs: Iterable[tuple[str, str]]) -> float:
    """F1 of "same key" against "same title" over all pairs of logs."""
    rows = list(pairs)
    both = only_key = only_title = 0
    for i, (title, key) in enumerate(rows):
        for other_title, other_key in rows[:i]:
            same_title, same_key = title == other_title, key == other_key
            both += same_title and same_key
            only_key += same_key and not same_title
            only_title += same_title and not same_key
    return 2 * both / (2 * both + only_key + only_title) if both + only_key + only_title else 1.0


def measure(rows: list[dict[str, Any]]) -> Figures:
    figures = Figures()
    told: list[tuple[dict[str, Any], Crash]] = [(row, read_crash(row["log"])) for row in rows]
    for row, crash in told:
        name, tier, kind = row["name"], row["tier"], row["kind"]
        if tier == "fatal":
            figures.detection.add(crash.crash, name)
            figures.kind.add(str(crash.kind) == kind, f"{name}: {crash.kind}, not {kind}")
        elif tier in ("clean", "info"):
            figures.calm.add(not crash.crash, name)
        else:
            figures.named.add(crash.kind is not Kind.UNKNOWN, name)
        if row["func"] and tier not in ("corrupt", "clean", "info"):
            share = (
                figures.fault_function
                if kind in FAULTS
                else figures.hang_function
                if kind in HANGS
                else figures.other_function
            )
            share.add(crash.function in functions_of(row), f"{name}: {crash.function}, not {row['func']}")
    titled = [(row, crash) for row, crash in told if row["title"] and row["tier"] != "corrupt"]
    figures.f1_faults = f1(
        (row["title"], crash.signature.key) for row, crash in titled if row["kind"] in FAULTS
    )
    figures.f1_all = f1((row["title"], crash.signature.key) for row, crash in titled)
    return figures
