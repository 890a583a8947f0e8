from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from commands.analysis import slack as _slack  # noqa: F401 - registers how a run is drawn
from tests.hosts.world import World, close_world, make_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A bot without hosts, whose workflows have not started."""
    made = await make_world(tmp_path, None)
    yield made
    await close_world(made)
