"""A run as its reader sees it: where it stands, and what each step found. Shared by the messages of all desks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from commands.hosts import runs
from integrations.redaction import Redactor
from integrations.slack import blocks
from integrations.slack.errors import SlackError
from integrations.slack.text import date, escape, shorten, user
from storage import Panic, RunbookRun, RunState, StepResult

if TYPE_CHECKING:
    from commands.context import Context

log = structlog.get_logger(__name__)

TICKS = {
    "waiting": ":white_circle:",
    "running": ":hourglass_flowing_sand:",
    "ok": ":white_check_mark:",
    "warn": ":warning:",
    "failed": ":x:",
    "skipped": ":heavy_minus_sign:",
}
_LINE = 300  # characters of one finding, before escaping
_SECTION = 2900
_SPARE = 70  # characters of JSON around a section's text
Redact = Callable[[str], str]


def redaction_for(panic: Panic) -> Redact:
    """For one drawing of one message: what stands in it twice has one name. The host's own name stays."""
    return Redactor(keep=(panic.host,)).redact


def run_blocks(
    head: str,
    steps: Sequence[StepResult],
    foot: Sequence[blocks.Block],
    *,
    redact: Redact,
    rest: str,
) -> list[blocks.Block]:
    """A run's message within Slack's limits: `head` and `foot` whole, and of each step as much as there is room for.

    `rest` (mrkdwn) says where what was cut can be read.
    """
    first = blocks.section(head)
    room = blocks.MESSAGE_LIMIT - blocks.weight([first, *foot]) - len(steps) * _SPARE
    whole = [step_text(step, redact=redact) for step in steps]
    most = blocks.level([blocks.weight(text) for text in whole], room)
    drawn = [
        blocks.section(
            text
            if blocks.weight(text) <= most and "\n…" not in text
            else step_text(step, redact=redact, room=most, rest=rest)
        )
        for step, text in zip(steps, whole, strict=True)
    ]
    return blocks.within_limit([first, *drawn, *foot], rest, foot=len(foot))


def state_words(run: RunbookRun, steps: Sequence[StepResult], *, redact: Redact = str) -> str:
    done = sum(s.state in runs.FINISHED_STEPS for s in steps)
    if run.state is RunState.WAITING and run.attempts == 0:
        return ":hourglass_flowing_sand: connecting…"
    if run.state is RunState.WAITING:
        told = f":hourglass_flowing_sand: host does not answer yet (attempt {run.attempts})"
        if run.next_try_at is not None:
            told += f"; next try {date(run.next_try_at, '{time_secs}')}"
        if run.give_up_at is not None:
            told += f", giving up at {date(run.give_up_at, '{time}')}"
        return f"{told}\n_{escape(shorten(redact(run.note), 400))}_" if run.note else told
    if run.state is RunState.RUNNING:
        return f":hourglass_flowing_sand: step {min(done + 1, len(steps))} of {len(steps)}"
    if run.state is RunState.DONE:
        took = ""
        if run.started_at is not None and run.finished_at is not None:
            took = f" in {(run.finished_at - run.started_at).total_seconds():.0f} s"
        return f":checkered_flag: done{took}: {outcome_words(steps)}"
    if run.state is RunState.CANCELLED:
        by = f" by {user(run.cancelled_by)}" if run.cancelled_by else ""
        return f":no_entry_sign: cancelled{by} after {done} of {len(steps)} steps"
    return f":x: stopped: {escape(shorten(redact(run.note), 1800))}"


def step_text(step: StepResult, *, redact: Redact = str, room: int = _SECTION, rest: str = "") -> str:
    """A step's tick, title and findings, within a section's limit and `room` characters of JSON.

    What is left out is counted, and `rest` (mrkdwn) says where it is.
    """
    text = f"{TICKS.get(step.state, ':grey_question:')} *{escape(step.title)}*"
    found = [(str(entry[0]), str(entry[1])) for entry in (step.facts or {}).get("lines", [])]
    # Redacted all of them, whatever is shown: the names in the next step must not depend on the room in this one.
    lines = [
        f"\n{TICKS.get(state, '•')} {escape(shorten(redact(' '.join(told.split())), _LINE))}"
        for state, told in found
    ]
    more = len(f"\n… {len(lines)} more; {rest}") + 4
    for number, line in enumerate(lines):
        last = 0 if number + 1 == len(lines) else more
        if len(text) + len(line) + last > _SECTION or blocks.weight(text + line) + last > room:
            return f"{text}\n… {len(lines) - number} more" + (f"; {rest}" if rest else "")
        text += line
    return text


def outcome_words(steps: Sequence[StepResult]) -> str:
    """`4 ok, 1 warning, 1 failed`."""
    names = {"ok": "ok", "warn": "to look at", "failed": "failed", "skipped": "skipped"}
    counts = {state: sum(s.state == state for s in steps) for state in names}
    return ", ".join(f"{n} {names[state]}" for state, n in counts.items() if n) or "nothing done"


async def link_to(context: Context, run_id: int) -> str:
    """` (here)` as a link to a run's message, or nothing while it does not stand in Slack yet."""
    told = await context.db.read(lambda s: runs.where_told(s, run_id))
    if told is None:
        return ""
    try:
        url = await context.slack.permalink(*told)
    except SlackError as error:
        # An answer without a link is better than none.
        log.info("permalink.missing", run=run_id, error=str(error))
        return ""
    return f" (<{url}|here>)"
