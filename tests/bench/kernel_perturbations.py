"""`python tests/bench/kernel_perturbations.py`: share of logs whose signature survives each perturbation."""

from __future__ import annotations

import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from integrations.kernel import Kind, read_crash  # noqa: E402
from tests.kernel import interleavings, perturbations  # noqa: E402
from tests.kernel.interleavings import Written, by_turns, merged  # noqa: E402
from tests.kernel.places import corpora, labelled  # noqa: E402


def main() -> int:
    rows = labelled()
    if not rows:
        print(f"no corpus in {corpora()}: set PANICROOM_CORPORA")
        return 0
    logs = []
    for row in rows:
        if row["tier"] in ("fatal", "warn", "debug"):
            crash = read_crash(row["log"])
            if crash.kind is not Kind.UNKNOWN:
                logs.append((row["name"], row["log"], crash.signature.key))
    verbose = "-v" in sys.argv
    for family, members in (
        ("renumberings", perturbations.RENUMBERINGS),
        ("framings", perturbations.FRAMINGS),
        ("losses", perturbations.LOSSES),
    ):
        all_kept = all_told = 0
        for name, perturb in members.items():
            kept = 0
            for index, (log_name, log, key) in enumerate(logs):
                told = read_crash(perturb(log, random.Random(index)))
                if told.signature.key == key:
                    kept += 1
                elif verbose:
                    print(f"    {name}: {log_name}: {key} -> {told.signature.key}")
            all_kept, all_told = all_kept + kept, all_told + len(logs)
            print(f"  {name:32} {kept:4}/{len(logs)}  {100 * kept / len(logs):6.2f} %")
        print(f"{family:34} {all_kept:4}/{all_told}  {100 * all_kept / all_told:6.2f} %")
    print(
        "two CPUs interleaved, no caller ids: both kinds told | first one's function as alone | both functions"
    )
    corpus = interleavings.of_corpus(rows)
    found = [(a, corpus[(i + step) % len(corpus)]) for step in (1, 7, 19) for i, a in enumerate(corpus)]
    found = [(a, b) for a, b in found if a.kind != b.kind]
    for name, pairs, seeds in (
        ("reports of one host", interleavings.PAIRS, 20),
        ("pairs of corpus crashes", tuple(found), 2),
    ):
        show_interleaved(name, pairs, seeds)
    return 0


def show_interleaved(name: str, pairs: tuple[tuple[Written, Written], ...], seeds: int) -> None:
    """Random merges in turns of 1 to 6 lines; then, of the same pairs, strict turns of 1, 2 and 3 lines."""
    for turns, texts in (
        ("turns of 1-6", [(a, b, merged(a, b, random.Random(s))) for a, b in pairs for s in range(seeds)]),
        ("strict turns", [(a, b, by_turns(a, b, size)) for a, b in pairs for size in (1, 2, 3)]),
    ):
        outcomes = [interleavings.outcome(text, a, b) for a, b, text in texts]
        kinds, function, both = (sum(column) for column in zip(*outcomes, strict=True))
        total = len(outcomes)
        print(
            f"  {f'{name}, {turns}':38} {kinds:4}/{total} {100 * kinds / total:6.2f} %  "
            f"{function:4}/{total} {100 * function / total:6.2f} %  {both:4}/{total} {100 * both / total:6.2f} %"
        )


if __name__ == "__main__":
    raise SystemExit(main())
