"""What a person types: the Makefile's targets, and what forgets the demo."""

from __future__ import annotations

import fcntl
import re
from pathlib import Path

from tests.forks import panicroom

MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text()


def test_every_phony_target_is_there() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert set(phony.split()) - targets == set()


def test_the_demo_is_forgotten_only_while_it_is_not_running(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    data.mkdir()
    (data / "ports.json").write_text("{}")
    with (data / "lock").open("w") as held:  # as a running demo holds it
        fcntl.flock(held, fcntl.LOCK_EX)
        for option in ("--forget", "--reset"):
            done = panicroom("demo", option, "--data", str(data), cwd=tmp_path)
            assert done.returncode == 1
            assert "a demo is running already" in done.stderr
            assert "Traceback" not in done.stderr
        assert (data / "ports.json").exists()
    assert panicroom("demo", "--forget", "--data", str(data), cwd=tmp_path).returncode == 0
    assert not data.exists()
    assert panicroom("demo", "--forget", "--data", str(data), cwd=tmp_path).returncode == 0


def test_make_forgets_the_demo_by_the_same_way() -> None:
    recipe = MAKEFILE.split("\ndemo-reset:")[1].split("\n\n")[0]
    assert "demo --forget" in recipe
    assert "rm -rf" not in recipe
