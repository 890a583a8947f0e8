"""`python tests/bench/kernel_corpus.py [-v]`: detection, kind, function and F1 on the labelled corpus."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from tests.kernel.figures import Share, measure  # noqa: E402
from tests.kernel.places import corpora, labelled  # noqa: E402


def show(name: str, share: Share, wanted: str) -> None:
    print(f"{name:44} {share.good:4}/{share.total:<4} {100 * share.ratio:6.2f} %   wanted {wanted}")
    if "-v" in sys.argv:
        for missed in share.missed:
            print(f"    {missed}")


def main() -> int:
    rows = labelled()
    if not rows:
        print(f"no corpus in {corpora()}: set PANICROOM_CORPORA")
        return 0
    figures = measure(rows)
    show("detection on fatal", figures.detection, ">= 99 %")
    show("kind named on warn, debug, corrupt", figures.named, ">= 95 %")
    show("no crash seen in clean and info", figures.calm, "100 %")
    show("kind on fatal", figures.kind, ">= 97 %")
    show("function on fault kinds", figures.fault_function, ">= 90 %")
    show("function on stalls, lockups, hung tasks", figures.hang_function, ">= 60 %")
    show("function on warnings and debug kinds", figures.other_function, "-")
    print(f"{'same-title pairs, F1, fault kinds':44} {figures.f1_faults:16.3f}   wanted >= 0.75")
    print(f"{'same-title pairs, F1, all':44} {figures.f1_all:16.3f}   wanted >= 0.6")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
