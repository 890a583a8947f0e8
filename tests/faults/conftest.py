from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.world import World, faulty_world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A bot that runs, without hosts behind it."""
    async with faulty_world(tmp_path) as made:
        await made.bot.start()
        yield made
