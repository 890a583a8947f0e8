"""What the workflows' own database had noted of a run goes from its file, too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dbos import DBOS, SetWorkflowID

from bot.forgetting import compact_workflows, forget_workflows
from bot.workflows import Workflows

pytestmark = pytest.mark.timeout(120)


@DBOS.workflow(name="test.forget")
async def told(said: str) -> str:
    async def step() -> str:
        return f"{said} was noted"

    return await DBOS.run_step_async({"name": "test.step"}, step)


async def test_the_file_holds_nothing_of_it(tmp_path: Path) -> None:
    workflows = Workflows(f"sqlite:///{tmp_path}/bot.db")
    workflows.start()
    try:
        for ident in ("triage:P-1:ab", "triage:P-1:ab~2", "triage:P-1:abc"):
            with SetWorkflowID(ident):
                await told(ident)
        await forget_workflows(["triage:P-1:ab", "triage:P-9:none"])
        left = await DBOS.list_workflows_async(workflow_id_prefix="triage:")
        assert [w.workflow_id for w in left] == ["triage:P-1:abc"]
        compact_workflows(workflows.url)
    finally:
        await workflows.stop()
    kept = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert re.search(rb"triage:P-1:ab(?!c)", kept) is None, (
        "arguments and answers stand beside the run's name"
    )
    assert b"triage:P-1:abc" in kept, "another run's was to stay"
