from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.migrations import upgrade
from tests.replicas.world import ReplicaWorld, replica_world
from tests.support_postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


@pytest.fixture
def url(postgres_url: str) -> str:
    """An empty database with our tables."""
    upgrade(postgres_url)
    return postgres_url


@pytest.fixture
async def world(tmp_path: Path, postgres_url: str) -> AsyncIterator[ReplicaWorld]:
    """Three that run, without hosts behind them."""
    async with replica_world(tmp_path, postgres_url) as made:
        await made.cluster.start()
        yield made
