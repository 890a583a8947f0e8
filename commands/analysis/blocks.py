"""What a reader sees of an analysis: one message with live ticks; the report comes below it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from commands.hosts import runs
from commands.hosts.progress import redaction_for, run_blocks, state_words
from commands.incident.rendering import Rendered, renderer
from integrations.slack import blocks
from integrations.slack.text import date, escape, shorten, user
from storage import Panic, RunbookRun, StepResult, panic_ref


@renderer("analysis_run")
def draw_run(session: Session, run_id: int) -> Rendered | None:
    run = session.get(RunbookRun, run_id)
    panic = session.get(Panic, run.panic_id) if run is not None else None
    if run is None or panic is None:
        return None
    return run_message(run, panic, runs.steps_of(session, run_id))


def run_message(run: RunbookRun, panic: Panic, steps: Sequence[StepResult]) -> Rendered:
    """The message as it is now, redacted and within Slack's limits; the same rows give the same message."""
    ref = panic_ref(panic.id)
    title = f"Analysis of {escape(shorten(panic.host, 80))}'s dump ({ref})"
    redact = redaction_for(panic)
    state = state_words(run, steps, redact=redact)
    if run.state in runs.ACTIVE:
        button = blocks.button("Cancel", "analysis.cancel", ref, style="danger")
    else:
        button = blocks.button("Analyze again", "analysis.run", ref)
    foot = [blocks.context(f"asked by {user(run.asked_by)} {date(run.asked_at)}"), blocks.actions([button])]
    rest = "the report has all"
    drawn = run_blocks(f"*{title}*\n{state}", steps, foot, redact=redact, rest=rest)
    return Rendered(f"{title}: {state}", drawn)
