"""What a reader sees of a triage run: one message with live ticks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from commands.hosts import runs
from commands.hosts.progress import state_words, step_text
from commands.incident.rendering import Rendered, renderer
from integrations.slack import blocks
from integrations.slack.text import code_block, date, escape, shorten, user
from storage import Panic, RunbookRun, StepResult, panic_ref

_SECTION = 2900
_RAW = 2600  # characters of one raw output
_RAW_BLOCKS = 45


@renderer("triage_run")
def draw_run(session: Session, run_id: int) -> Rendered | None:
    run = session.get(RunbookRun, run_id)
    panic = session.get(Panic, run.panic_id) if run is not None else None
    if run is None or panic is None:
        return None
    return run_message(run, panic, runs.steps_of(session, run_id))


def run_message(run: RunbookRun, panic: Panic, steps: Sequence[StepResult]) -> Rendered:
    """The message as it is now; the same rows give the same message."""
    title = f"Triage of {escape(shorten(panic.host, 80))} ({panic_ref(panic.id)})"
    state = state_words(run, steps)
    drawn = [blocks.section(f"*{title}*\n{state}")]
    for step in steps:
        drawn.append(blocks.section(step_text(step)))
    asked = f"asked by {user(run.asked_by)} {date(run.asked_at)}"
    drawn.append(blocks.context(asked))
    drawn.append(blocks.actions(buttons(run, steps)))
    return Rendered(f"{title}: {state}", drawn)


def buttons(run: RunbookRun, steps: Sequence[StepResult]) -> list[dict[str, Any]]:
    ref = panic_ref(run.panic_id)
    made = []
    if run.state in runs.ACTIVE:
        made.append(blocks.button("Cancel", "triage.cancel", ref, style="danger"))
    if any(s.outputs for s in steps):
        made.append(blocks.button("Show raw output", "triage.raw", f"{ref}/{run.id}"))
    if run.state not in runs.ACTIVE:
        made.append(blocks.button("Run again", "triage.run", ref))
    return made or [blocks.button("Show raw output", "triage.raw", f"{ref}/{run.id}")]


def raw_blocks(run: RunbookRun, steps: Sequence[StepResult]) -> list[dict[str, Any]]:
    """Every command of a run with its output, cut to what one message holds."""
    made = [
        blocks.section(f"*Raw output of triage run {run.id}* ({panic_ref(run.panic_id)}), only you see this")
    ]
    for step in steps:
        for output in step.outputs or []:
            if len(made) >= _RAW_BLOCKS:
                made.append(blocks.context("more was left out: the evidence bundle has all of it"))
                return made
            text = f"$ {output.get('command', '')}\n{output.get('stdout', '')}"
            if output.get("stderr"):
                text += f"\n[stderr]\n{output['stderr']}"
            text += f"\n[{output.get('outcome', '')}]"
            made.append(blocks.section(_fenced(text)))
    return made


def _fenced(text: str) -> str:
    """A code block within a section's limit, whatever escaping adds; the beginning names the command, so it stays."""
    head, _, rest = text.partition("\n")
    limit = _RAW
    while True:
        cut = rest if len(rest) <= limit else f"…\n{rest[-limit:]}"
        fenced = code_block(f"{shorten(head, 300)}\n{cut}", limit=100_000)
        if len(fenced) <= _SECTION or limit < 100:
            return fenced
        limit //= 2
