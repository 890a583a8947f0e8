from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from commands.evidence import slack as _slack  # noqa: F401 - registers how a run is drawn
from tests.hosts.world import World, close_world, make_fleet, make_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A replayed fleet that is up, and a bot that has not started its workflows yet."""
    fleet = await make_fleet(tmp_path)
    made = await make_world(tmp_path, fleet)
    yield made
    await close_world(made)
    await fleet.stop()
