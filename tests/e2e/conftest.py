"""The whole bot as processes: the demo's surroundings, and `panicroom run` against them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.demo.supervisor import Demo
from tests.bench._process import free_port


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[..., tuple[Demo, str]]]:
    """Starts a demo on free ports in a directory of its own; stopped at the end, whatever happened."""
    running: list[Demo] = []

    def start(*, socket_mode: bool = False, data: Path | None = None) -> tuple[Demo, str]:
        demo = Demo(data or tmp_path / "demo", port=free_port(), socket_mode=socket_mode)
        running.append(demo)
        return demo, demo.start()

    yield start
    for demo in running:
        demo.stop()


@pytest.fixture
def artefacts() -> Path:
    """Where screenshots are kept for people to look at; ignored by git."""
    folder = Path(__file__).parents[1] / "artefacts"
    folder.mkdir(exist_ok=True)
    return folder


def chromium() -> str:
    """Debian's Chromium; a skip with a hint where it is absent, a failure under CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is not None:
        return found
    hint = "needs a browser: apt-get install chromium"
    if os.environ.get("CI"):
        pytest.fail(hint)
    pytest.skip(hint)
