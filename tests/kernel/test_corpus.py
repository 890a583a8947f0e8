"""The labelled corpus and the captures, read where they lie."""

from __future__ import annotations

import random

import pytest

from integrations.kernel import Kind, read_crash
from tests.kernel import perturbations
from tests.kernel.figures import measure
from tests.kernel.places import captures, labelled, needs_captures, needs_corpus


@needs_corpus
def test_figures() -> None:
    figures = measure(labelled())
    assert figures.detection.ratio >= 0.99, figures.detection.missed
    assert figures.named.ratio >= 0.95, figures.named.missed
    assert figures.calm.ratio == 1.0, figures.calm.missed
    assert figures.kind.ratio >= 0.97, figures.kind.missed
    assert figures.fault_function.ratio >= 0.90, figures.fault_function.missed
    assert figures.hang_function.ratio >= 0.60, figures.hang_function.missed
    assert figures.f1_faults >= 0.75
    assert figures.f1_all >= 0.6


@needs_corpus
@pytest.mark.parametrize(
    ("family", "floor"),
    [(perturbations.RENUMBERINGS, 0.99), (perturbations.FRAMINGS, 0.98), (perturbations.LOSSES, 0.85)],
    ids=["renumberings", "framings", "losses"],
)
def test_signatures_survive(family: dict[str, perturbations.Perturbation], floor: float) -> None:
    """A sample of logs, one perturbation each; the bench tells the figures of all."""
    rng = random.Random(3)
    rows = [
        row for row in labelled() if row["tier"] in ("fatal", "warn", "debug") and len(row["log"]) < 20_000
    ]
    names = sorted(family)
    kept = 0
    chosen = rng.sample(rows, 100)
    for index, row in enumerate(chosen):
        perturb = family[names[index % len(names)]]
        kept += read_crash(perturb(row["log"], rng)).signature.key == read_crash(row["log"]).signature.key
    assert kept / len(chosen) >= floor


CAPTURED = {
    "null-deref": ("null_deref|labcrash_read_cookie|labcrash", False),
    "oom": ("oom_panic|out_of_memory", False),
    "nmi": ("nmi|nmi", False),
    "sysrq-c": ("panic|sysrq", True),
    "disk-full-yet-dump-saved": ("panic|sysrq", True),
    "dump-fails-disk-full": ("panic|sysrq", True),
    "no-kdump-pstore": ("panic|sysrq", True),
}


@needs_captures
@pytest.mark.parametrize("case", CAPTURED)
def test_captures(case: str) -> None:
    key, deliberate = CAPTURED[case]
    places = [
        *(captures() / case).glob("crash/*/dmesg*"),
        *(captures() / case).glob("pstore-archive/*/dmesg.txt"),
    ]
    places += [captures() / case / "serial.log", captures() / case / "netconsole.jsonl"]
    told = {path: read_crash(path.read_bytes()) for path in places}
    named = {path: crash for path, crash in told.items() if crash.kind is not Kind.UNKNOWN}
    assert named
    for path, crash in named.items():
        assert (crash.signature.key, crash.deliberate, crash.crash) == (key, deliberate, True), path
        assert (crash.kernel, crash.arch) == ("6.1.0-56-cloud-amd64", "x86_64"), path
    # An NMI panic reaches neither console; a dmesg cut by the full disk ends before the panic.
    silent = {path.name for path in told} - {path.name for path in named}
    assert silent <= {"serial.log", "netconsole.jsonl", "dmesg.202611230544"}
    assert not silent or case in ("nmi", "dump-fails-disk-full")


@needs_captures
def test_calm_boots_of_the_captures() -> None:
    for path in sorted(captures().glob("*/journal-b-*")) + sorted(captures().glob("*/dmesg-now.txt")):
        crash = read_crash(path.read_bytes())
        assert not crash.crash, path
