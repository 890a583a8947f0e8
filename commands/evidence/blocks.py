"""What a reader sees of an evidence run: one message with live ticks; the bundle comes below it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from commands.hosts import runs
from commands.hosts.progress import state_words, step_text
from commands.incident.rendering import Rendered, renderer
from integrations.slack import blocks
from integrations.slack.text import date, escape, shorten, user
from storage import Panic, RunbookRun, StepResult, panic_ref


@renderer("evidence_run")
def draw_run(session: Session, run_id: int) -> Rendered | None:
    run = session.get(RunbookRun, run_id)
    panic = session.get(Panic, run.panic_id) if run is not None else None
    if run is None or panic is None:
        return None
    return run_message(run, panic, runs.steps_of(session, run_id))


def run_message(run: RunbookRun, panic: Panic, steps: Sequence[StepResult]) -> Rendered:
    """The message as it is now; the same rows give the same message."""
    ref = panic_ref(panic.id)
    title = f"Evidence of {escape(shorten(panic.host, 80))} ({ref})"
    state = state_words(run, steps)
    drawn = [blocks.section(f"*{title}*\n{state}")]
    drawn += [blocks.section(step_text(step)) for step in steps]
    drawn.append(blocks.context(f"asked by {user(run.asked_by)} {date(run.asked_at)}"))
    if run.state in runs.ACTIVE:
        drawn.append(blocks.actions([blocks.button("Cancel", "evidence.cancel", ref, style="danger")]))
    else:
        drawn.append(blocks.actions([blocks.button("Collect again", "evidence.collect", ref)]))
    return Rendered(f"{title}: {state}", drawn)
