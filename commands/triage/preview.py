"""`/panic triage P-41 --dry-run`: what would be asked of the host, in full, and nothing is run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from sqlmodel import Session, col, select

from commands.hosts.family import FAMILIES
from commands.triage.runbook import Command, Runbook, Step
from integrations.slack import blocks
from integrations.slack.text import code_block, escape, shorten
from integrations.ssh import SshConfig, SshError, SshHost, route_to
from storage import Panic, RunbookRun, StepResult, panic_ref

_SECTION = 2900


def is_dry_run(word: str) -> bool:
    """`--dry-run`, also as phones write it: with one long dash."""
    return word.lower().lstrip("-\N{EN DASH}\N{EM DASH}") in ("dry-run", "dryrun", "dry")


def family_seen(session: Session, panic: Panic) -> str | None:
    """The family that the last run on this host found; None when there was none."""
    query = (
        select(StepResult)
        .join(RunbookRun, col(RunbookRun.id) == col(StepResult.run_id))
        .join(Panic, col(Panic.id) == col(RunbookRun.panic_id))
        .where(Panic.host == panic.host, StepResult.name == "kernel", RunbookRun.kind == "triage")
        .order_by(col(StepResult.id).desc())
        .limit(5)
    )
    found = (step.facts.get("family") for step in session.exec(query))
    return next((str(family) for family in found if family in FAMILIES), None)


def preview(
    runbook: Runbook, panic: Panic, host: SshHost, config: SshConfig, family: str | None
) -> list[blocks.Block]:
    """A message with every step: its question, and its commands for the family (each family's, when it is unknown)."""
    known = (
        f"a {family} host, by its last run"
        if family
        else "its family is not known: each family's commands are shown"
    )
    head = blocks.section(
        f"*What triage of {escape(shorten(panic.host, 80))} ({panic_ref(panic.id)}) would run*; nothing was run\n"
        f"{escape(way_to(host, config))}; {known}"
    )
    note = "words are handed to the program as they are, quoted here for reading; no shell reads them"
    foot = blocks.context(f"{note}. `runbook.toml` says why each is asked.")
    room = (blocks.MESSAGE_LIMIT - blocks.weight([head, foot])) // max(len(runbook.step), 1) - 90
    made = [_step(step, config, family, room) for step in runbook.step]
    rest = "the rest is in `runbook.toml`"
    return blocks.within_limit([head, *made, foot], rest, foot=1)


def way_to(host: SshHost, config: SshConfig) -> str:
    """`as triage to web-17 (10.0.0.17:22) through bastion`, or why there is no way."""
    try:
        hops = route_to(host, config)
    except SshError as error:
        return f"there is no way to it: {error}"
    through = ", ".join(hop.spoken for hop in hops[:-1])
    told = f"as {hops[-1].user} to {hops[-1].spoken}"
    return f"{told} through {through}" if through else told


def command_lines(step: Step, helper: Sequence[str], family: str | None) -> list[str]:
    """One line a command, as a person would type it."""
    lines = [f"{shlex.join(helper)} {asked}" for asked in step.helper]
    return lines + [
        _line(command) for command in step.command if family is None or command.runs_on(family)
    ] or ["(nothing: this is looked up in the bot's own memory)"]


def _line(command: Command) -> str:
    only = f"  # {', '.join(command.families)}" if command.families else ""
    each = "  # for each real interface" if command.each else ""
    return f"{shlex.join(command.argv)}{only}{each}".replace("\n", "\\n")


def _step(step: Step, config: SshConfig, family: str | None, room: int) -> blocks.Block:
    head = f"*{escape(step.title or step.name)}*" + (f"\n{escape(step.asks)}" if step.asks else "")
    lines = command_lines(step, config.helper, family)
    shown = len(lines)
    while True:
        more = [f"… {len(lines) - shown} more"] if shown < len(lines) else []
        text = f"{head}\n{code_block(chr(10).join([*lines[:shown], *more]), limit=100_000)}"
        if shown == 0 or (len(text) <= _SECTION and blocks.weight(text) <= room):
            return blocks.section(text)
        shown -= 1
