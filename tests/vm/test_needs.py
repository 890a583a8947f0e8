"""What the virtual machine needs of the system is said where it is missing, and installed where nothing is skipped."""

from __future__ import annotations

from pathlib import Path

from tests.vm import image

ROOT = Path(__file__).parents[2]


def test_what_is_missing_is_named_with_its_packages(tmp_path: Path) -> None:
    hint = image.missing(str(tmp_path))
    assert "apt-get install" in hint
    assert all(package in hint for package in image.TOOLS.values())


def test_ci_installs_all_of_it_and_runs_the_guest() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert all(f" {package}" in script for package in image.TOOLS.values())
    assert script.rstrip().splitlines()[-1] == "make test-vm"


def test_an_image_is_kept_by_what_makes_it() -> None:
    assert image.digest() == image.digest()
    assert {"build.sh", "module/labcrash.c", "module/Makefile"} == {
        str(file.relative_to(image.RECIPE)) for file in image.RECIPE.rglob("*") if file.is_file()
    }
