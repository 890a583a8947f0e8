from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.demo.workspace.testing import RunningWorkspace, running_workspace
from tests.incident.floor import Floor, floor


@pytest.fixture
async def ws() -> AsyncIterator[RunningWorkspace]:
    async with running_workspace() as workspace:
        yield workspace


@pytest.fixture
async def bot(tmp_path: Path, ws: RunningWorkspace) -> AsyncIterator[Floor]:
    async with floor(tmp_path, ws) as running:
        yield running


@pytest.fixture
async def quiet(tmp_path: Path) -> AsyncIterator[Floor]:
    async with floor(tmp_path) as running:
        yield running
