"""The guest that the tests crash, and how long each phase of its crash took."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.vm import image
from tests.vm.guest import Guest
from tests.vm.phases import Phases

_PHASES = pytest.StashKey[list[Phases]]()


@pytest.fixture(scope="session")
def built_image(request: pytest.FixtureRequest) -> image.Image:
    """The guest's image; a skip with a hint where there can be none, a failure under CI."""
    hint = image.missing()
    if hint and os.environ.get("CI"):
        pytest.fail(hint)
    if hint:
        pytest.skip(hint)
    found = image.built()
    phases = Phases("image")
    phases.note(
        f"image {found.kernel_version}" if found.build_seconds else "image was there", found.build_seconds
    )
    _all(request.config).append(phases)
    return found


@pytest.fixture
def guest(built_image: image.Image, tmp_path: Path) -> Iterator[Guest]:
    """A machine that is switched off; whatever becomes of the test, it is off in the end."""
    folder = tmp_path / "guest"
    folder.mkdir()
    made = Guest(built_image, folder)
    yield made
    made.stop()


@pytest.fixture
def phases(request: pytest.FixtureRequest) -> Phases:
    made = Phases(request.node.name)
    _all(request.config).append(made)
    return made


def _all(config: pytest.Config) -> list[Phases]:
    return config.stash.setdefault(_PHASES, [])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure comes with the last words of guest and bot: their files are gone when somebody reads of it."""
    report = yield
    machine = getattr(item, "funcargs", {}).get("guest")
    if report.failed and isinstance(machine, Guest):
        for name, file in (("console", "serial.log"), ("QEMU", "qemu.log"), ("bot", "bot/bot.log")):
            log = machine.folder / file
            if log.exists():
                last = log.read_bytes()[-6000:].decode("utf-8", "replace")
                report.sections.append((f"last words: {name}", last))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for phases in _all(config):
        terminalreporter.write_line(f"{phases.name}:")
        for line in phases.lines():
            terminalreporter.write_line(f"  {line}")
