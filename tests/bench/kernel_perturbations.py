"""`python tests/bench/kernel_perturbations.py`: share of logs whose signature survives each perturbation."""

from __future__ import annotations

import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from integrations.kernel import Kind, read_crash  # noqa: E402
from tests.kernel import perturbations  # noqa: E402
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
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
