"""What a reader sees of a triage run: one message with live ticks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlmodel import Session

from commands.hosts import runs
from commands.hosts.progress import redaction_for, run_blocks, state_words
from commands.incident.rendering import Rendered, renderer
from integrations.slack import blocks
from integrations.slack.text import code_block, date, escape, shorten, user
from storage import Panic, RunbookRun, StepResult, panic_ref

_SECTION = 2900
_RAW = 2600  # characters of one raw output
_RAW_BLOCKS = 45
_SHOWN = 32 * 1024  # characters of one output that are redacted for showing; a log may have a million
_SPARE = 90  # characters of JSON around a section's text


@renderer("triage_run")
def draw_run(session: Session, run_id: int) -> Rendered | None:
    run = session.get(RunbookRun, run_id)
    panic = session.get(Panic, run.panic_id) if run is not None else None
    if run is None or panic is None:
        return None
    return run_message(run, panic, runs.steps_of(session, run_id))


def run_message(run: RunbookRun, panic: Panic, steps: Sequence[StepResult]) -> Rendered:
    """The message as it is now, redacted and within Slack's limits; the same rows give the same message."""
    title = f"Triage of {escape(shorten(panic.host, 80))} ({panic_ref(panic.id)})"
    redact = redaction_for(panic)
    state = state_words(run, steps, redact=redact)
    foot = [
        blocks.context(f"asked by {user(run.asked_by)} {date(run.asked_at)}"),
        blocks.actions(buttons(run, steps)),
    ]
    drawn = run_blocks(f"*{title}*\n{state}", steps, foot, redact=redact, rest=_all_of(run.panic_id))
    return Rendered(f"{title}: {state}", drawn)


def _all_of(panic_id: int) -> str:
    return f"`panicroom show {panic_ref(panic_id)} --json` has all"


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


def raw_blocks(run: RunbookRun, steps: Sequence[StepResult], panic: Panic) -> list[blocks.Block]:
    """Every command of a run with its output, redacted, and cut to what one message holds: short ones stay whole."""
    ref = panic_ref(run.panic_id)
    outputs = [output for step in steps for output in step.outputs or []]
    redact = redaction_for(panic)
    texts = [_raw(output, redact) for output in outputs[:_RAW_BLOCKS]]
    whole = [_fenced(head, rest, _SECTION) for head, rest in texts]
    notice = f"not all is shown: {_all_of(run.panic_id)}, and the evidence bundle has the files"
    head = blocks.section(
        f"*Raw output of triage run {run.id}* ({ref}), only you see this, addresses redacted"
    )
    around = blocks.weight([head, blocks.context(notice)]) + len(texts) * _SPARE
    most = blocks.level([blocks.weight(text) for text in whole], blocks.MESSAGE_LIMIT - around)
    made = [head]
    cut = len(outputs) > len(texts)
    for text, (first, rest) in zip(whole, texts, strict=True):
        fits = blocks.weight(text) <= most
        made.append(blocks.section(text if fits else _fenced(first, rest, most)))
        cut = cut or not fits or len(rest) > _RAW
    if cut:
        made.append(blocks.context(notice))
    return blocks.within_limit(made, notice)


def _raw(output: Mapping[str, Any], redact: Callable[[str], str]) -> tuple[str, str]:
    """(the command, what it said), redacted."""
    text = str(output.get("stdout", ""))
    if len(text) > _SHOWN:  # from the beginning of a line: half a line could hold half a secret
        text = f"…\n{text[-_SHOWN:].partition(chr(10))[2]}"
    if output.get("stderr"):
        text += f"\n[stderr]\n{output['stderr']}"
    text += f"\n[{output.get('outcome', '')}]"
    return redact(f"$ {output.get('command', '')}"), redact(text)


def _fenced(head: str, rest: str, room: int) -> str:
    """A code block within a section's limit and `room` characters of JSON, whatever escaping adds. The beginning names
    the command, so it stays; of what it said the end stays."""
    limit, name = min(_RAW, len(rest)), 300
    while True:
        cut = rest if len(rest) <= limit else f"…\n{rest[-limit:]}" if limit else "…"
        fenced = code_block(f"{shorten(head, name)}\n{cut}", limit=100_000)
        if (len(fenced) <= _SECTION and blocks.weight(fenced) <= room) or not (limit or name > 20):
            return fenced
        name = name if limit > 60 else max(name * 3 // 4, 20)
        limit = limit * 4 // 5 if limit > 20 else 0
