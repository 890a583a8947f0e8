from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from bot.workflows import Workflows, workflow_engine, workflow_url


@pytest.mark.parametrize(
    ("database", "workflows"),
    [
        ("sqlite:////srv/panicroom.db", "sqlite:////srv/panicroom-workflows.db"),
        ("sqlite:///data/bot", "sqlite:///data/bot-workflows.db"),
        ("postgresql+psycopg://u:p@h/db", "postgresql+psycopg://u:p@h/db"),
    ],
)
def test_workflows_are_kept_beside_the_bots_file(database: str, workflows: str) -> None:
    assert workflow_url(database) == workflows


def test_an_acknowledged_checkpoint_survives_a_power_loss(tmp_path: Path) -> None:
    engine = workflow_engine(f"sqlite:///{tmp_path}/w.db")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    engine.dispose()


async def test_one_process_may_start_and_stop_again_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        workflows = Workflows(f"sqlite:///{tmp_path}/bot.db")
        workflows.start()
        await workflows.stop()
        await workflows.stop()
    assert (tmp_path / "bot-workflows.db").exists()
    said = capfd.readouterr()
    assert "conductor" not in (said.out + said.err).lower()
    assert "error" not in (said.out + said.err).lower()
