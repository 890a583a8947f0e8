"""What a reader sees of `/panic list` and `/panic show`: plain functions of plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from commands.fitting import MESSAGE_LIMIT, cut, length, linked, sections
from commands.incident.wording import dump_line, redacted, size, span
from commands.past import past_line
from commands.timeline import Stretch, timeline_blocks
from integrations.slack import blocks as b
from integrations.slack.text import clean, code, code_block, date, escape, shorten, user
from storage import (
    ChangeLink,
    DumpState,
    Incident,
    IncidentState,
    RunbookRun,
    RunState,
    StepResult,
    incident_ref,
    panic_ref,
)
from storage.queries import PanicRow
from storage.records import PanicRecord

PAGE_SIZE = 8
COUNTED = 10_000  # panics; beyond it a count is "10,000+"
LIGHTS = {
    IncidentState.OPEN: ":red_circle: open",
    IncidentState.ACKNOWLEDGED: ":large_orange_circle: acknowledged",
    IncidentState.RESOLVED: ":white_check_mark: resolved",
    IncidentState.MERGED: ":arrow_right: merged",
}
_DUMPS = {
    DumpState.UNKNOWN: "dump not looked for",
    DumpState.NONE: "no dump",
    DumpState.EMPTY: "dump empty",
    DumpState.INCOMPLETE: "dump incomplete",
    DumpState.UNVERIFIED: "dump not verified",
    DumpState.COMPLETE: "dump complete",
}
_STEPS = {
    "ok": ":white_check_mark:",
    "warn": ":warning:",
    "failed": ":x:",
    "skipped": ":fast_forward:",
    "running": ":hourglass_flowing_sand:",
}
_RUNS = {
    RunState.WAITING: "waiting for the host",
    RunState.RUNNING: "running",
    RunState.DONE: "done",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "cancelled",
}


@dataclass(frozen=True)
class Page:
    """One page of a list. `line` are the filters as typed, `frozen` what makes the next page fit this one."""

    rows: Sequence[PanicRow]
    total: int  # COUNTED and one: more than that
    offset: int
    line: str
    asked_at: float  # seconds since the epoch: what `since:7d` counts from on every page
    upto_id: int
    more: bool = False  # whether another page follows

    def turn(self, offset: int) -> str:
        """The value of a paging button: with the panic beside the page that is turned to."""
        back = offset < self.offset
        edge = self.rows[0 if back else -1]
        place = [edge.id, edge.occurred_at.isoformat(), edge.host, edge.kernel, back] if offset > 0 else None
        return json.dumps(
            {"q": self.line, "o": offset, "t": self.asked_at, "m": self.upto_id, "p": place},
            ensure_ascii=False,
        )


@dataclass(frozen=True)
class Wider:
    """What would be found with one filter left out."""

    without: str  # "kernel:"
    count: int


def list_message(page: Page, links: Mapping[int, str]) -> tuple[str, list[b.Block]]:
    """`links`: incident id -> permalink, for those that are known."""
    first, last = page.offset + 1, page.offset + len(page.rows)
    noun = "panic" if page.total == 1 else "panics"
    which = f" for {code(page.line)}" if page.line else ""
    pages = -(-page.total // PAGE_SIZE)
    of_pages = "" if page.total > COUNTED else f" of {pages}"
    place = f" · {first}–{last}, page {page.offset // PAGE_SIZE + 1}{of_pages}" if pages > 1 else ""
    head = b.section(f"*{counted(page.total)} {noun}*{which}{place}")
    turns = []
    if page.offset > 0:
        turns.append(b.button("◀ Prev", "panics.page:prev", page.turn(max(0, page.offset - PAGE_SIZE))))
    if page.more:
        turns.append(b.button("Next ▶", "panics.page:next", page.turn(page.offset + PAGE_SIZE)))
    foot = [b.actions(turns)] if turns else []
    foot.append(
        b.context(
            "All of one: `/panic show P-41` · fewer: `host:` `kernel:` `since:` `has:dump` · `/panic help list`"
        )
    )
    for width in (160, 60, 20):  # hostile names grow up to fivefold when they are escaped
        rows = [b.section(list_line(row, links.get(row.incident_id or 0), width)) for row in page.rows]
        if length([head, *rows, *foot]) <= MESSAGE_LIMIT:
            break
    text = f"{counted(page.total)} {noun}" + (f", {first}–{last} shown" if pages > 1 else "")
    return text, [head, *rows, *foot]


def counted(number: int) -> str:
    """`7`, `9,412`, `10,000+`."""
    return f"{number:,}" if number <= COUNTED else f"{COUNTED:,}+"


def list_line(row: PanicRow, link: str | None, width: int = 160) -> str:
    """Two lines: which, when, where; what, and how it stands. Texts of strangers are cut to `width`."""
    ref = panic_ref(row.id)
    where = [
        f"*{linked(ref, link)}*",
        date(row.occurred_at),
        f"*{escape(shorten(row.host, min(width, 80)))}*",
    ]
    where.append(code(shorten(row.kernel, min(width, 60))) if row.kernel else "kernel unknown")
    dump = _DUMPS[row.dump_state] + (f" {size(row.dump_size)}" if row.dump_size else "")
    what = [
        escape(shorten(redacted(row.title, row.host), width)),
        LIGHTS[row.state] if row.state else "no thread",
        dump,
    ]
    if row.deliberate:
        what.insert(1, "deliberate")
    return " · ".join(where) + "\n" + " · ".join(what)


def empty_message(
    line: str, wider: Iterable[Wider], *, any_at_all: bool, hint: str = ""
) -> tuple[str, list[b.Block]]:
    if not any_at_all:
        text = (
            "No panic is known yet. Hosts tell of theirs at `POST /v1/panics`; the README shows how to send a "
            "first one."
        )
        return text, [b.section(text)]
    text = f"No panic matches {code(line)}."
    better = [w for w in wider if w.count]
    lines = [text]
    if better:
        lines.append("Wider: " + " · ".join(f"without `{w.without}` {counted(w.count)}" for w in better))
    else:
        lines.append(
            "Wider: leave filters out, or ask further back (`since:90d`). `/panic list` alone shows all."
        )
    if hint:
        lines.append(hint)
    return text, [b.section("\n".join(lines))]


def show_message(found: PanicRecord, link: str | None, known: str = "") -> tuple[str, list[b.Block]]:
    """The whole record within Slack's limits; what does not fit is counted, the newest of the timeline stays.

    `known`: the known cause, in mrkdwn; it stands before anything else.
    """
    panic = found.panic
    ref = panic_ref(panic.id)
    title = f"{panic.host}: {redacted(panic.title, panic.host)}"
    made = [b.section(f"*{linked(ref, link)} · {escape(shorten(title, 250))}*")]
    made.append(b.context(" · ".join(_standing(found))))
    if known:
        made.append(b.section(cut(known, 1600)))
    made.append(b.section(cut("\n".join(_facts(found)))))
    crash = _told_crash(panic.crash_lines or panic.text, panic.host)
    made.append(
        b.section(
            code_block(_head_and_tail(crash), limit=2100) if crash else "No crash text came with the report."
        )
    )
    if panic.frames:
        made.append(
            b.context(cut("Frames: " + " ← ".join(code(shorten(f, 60)) for f in panic.frames[:8]), 600))
        )
    made += group(
        "Runbook",
        [line for run, steps in found.runs[-2:] for line in _run_lines(run, steps, panic.host)],
        2200,
    )
    made += group("Changes", [change_line(link) for link in found.links if link.key], 900)
    made += group("Artefacts", [_artefact_line(a) for a in found.artefacts], 500)
    made += group("Corrections", [_correction_line(c) for c in found.corrections], 400)
    if found.incident is not None:
        earlier = found.timeline_total - len(found.timeline)
        newest = Stretch(found.incident.id or 0, found.timeline, earlier, 0)
        made += timeline_blocks(newest, MESSAGE_LIMIT - length(made))
    return escape(shorten(f"{ref} {title}", 300)), made


def change_line(link: ChangeLink) -> str:
    """One change ticket in one line."""
    name = linked(escape(link.key), link.url)
    if link.state == "pending":
        return f"{name} · being looked up" + (f" ({escape(shorten(link.error, 120))})" if link.error else "")
    if link.state == "failed":
        return f":warning: {name} · {escape(shorten(link.error or 'failed', 200))}"
    parts = [name, f"“{escape(shorten(link.summary, 120))}”"]
    if link.status:
        parts.append(escape(shorten(link.status, 40)))
    if link.assignee:
        parts.append(escape(shorten(link.assignee, 60)))
    if link.started:
        parts.append(date(link.started, "{date_short_pretty} {time}"))
    if link.state == "removed":
        return f"~{link.key}~ · unlinked"
    return " · ".join(parts) + (" · found by itself" if link.automatic else "")


def _standing(found: PanicRecord) -> list[str]:
    incident = found.incident
    if incident is None:
        return ["no thread: imported, or come in a moment ago"]
    parts = [incident_ref(incident.id), LIGHTS[incident.state]]
    if found.others:
        parts.append(f"with {found.others} other panic{'s' if found.others > 1 else ''}")
    return parts + incident_words(incident)


def incident_words(incident: Incident) -> list[str]:
    """Who has it, and where it went."""
    parts = []
    if incident.assignee:
        parts.append(f"assigned to {user(incident.assignee)}")
    if incident.acknowledged_by:
        parts.append(f"acknowledged by {user(incident.acknowledged_by)}")
    if incident.silenced:
        parts.append("silenced")
    if incident.state is IncidentState.MERGED and incident.merged_into_id:
        parts.append(f"now in {incident_ref(incident.merged_into_id)}")
    return parts


def _facts(found: PanicRecord) -> list[str]:
    panic, incident = found.panic, found.incident
    lines = [
        f"{date(panic.occurred_at)} · kernel {code(panic.kernel or 'unknown')} · up {span(panic.uptime_seconds)}"
        + (f" · {escape(panic.arch)}" if panic.arch else "")
    ]
    fleet = [
        f"ring {escape(panic.ring)}" if panic.ring else "",
        escape(shorten(redacted(panic.hardware or ""), 100)),
    ]
    fleet += [
        f"owner {escape(shorten(panic.owner, 60))}" if panic.owner else "",
        escape(panic.criticality) if panic.criticality != "normal" else "",
    ]
    lines.append(" · ".join(part for part in fleet if part))
    kind = [f"kind {code(panic.kind)}", f"signature {code(shorten(panic.signature_key, 200))}"]
    if panic.process:
        kind.append(f"process {code(shorten(panic.process, 60))}")
    for flag, words in (
        (panic.deliberate, "deliberate (a test)"),
        (panic.head_lost, "head of the text lost"),
        (panic.reclassified, "reclassified by a person"),
    ):
        if flag:
            kind.append(words)
    lines.append(" · ".join(kind))
    if panic.taint:
        lines.append(f"Taint: {escape(shorten(', '.join(panic.taint), 300))}")
    lines.append(past_line(found.recurrence, found.similar_threads))
    lines.append(dump_line(panic))
    down = [f"down since {date(panic.down_since)}" if panic.down_since else ""]
    down += [f"back at {date(panic.back_at)}" if panic.back_at else ""]
    down += [f"now running {code(panic.running_kernel)}" if panic.running_kernel else ""]
    if any(down):
        lines.append(" · ".join(part for part in down if part))
    if found.witnesses:
        told = ", ".join(
            f"{escape(w.source)} {date(w.received_at, '{time_secs}')}" for w in found.witnesses[:5]
        )
        more = f" and {len(found.witnesses) - 5} more" if len(found.witnesses) > 5 else ""
        lines.append(f"Told by {told}{more}")
    if incident is not None and incident.state is IncidentState.RESOLVED:
        cause, fix = (escape(shorten(text or "-", 300)) for text in (incident.cause, incident.fixed_by))
        lines.append(
            f"Resolved by {user(incident.resolved_by or 'somebody')} · cause: {cause} · fixed by: {fix}"
        )
    return lines


def _told_crash(text: str, host: str) -> str:
    """Of a long text only the ends, which are all that is shown; cut at lines, so that no secret is halved."""
    lines = text.splitlines()
    if len(lines) <= 400:
        return redacted(text, host)
    head, tail = (redacted("\n".join(part), host) for part in (lines[:200], lines[-200:]))
    return "\n".join([head, f"… {len(lines) - 400} lines …", tail])


def _head_and_tail(text: str) -> str:
    """A crash's first lines, which say what happened and where, and its last; between them how many are left out."""
    lines = [shorten(line, 240) for line in clean(text).splitlines()]
    head = _fitting(lines, 1300)
    tail = _fitting(lines[: len(head) - 1 : -1], 500)[::-1] if len(head) < len(lines) else []
    left_out = len(lines) - len(head) - len(tail)
    between = [f"… {left_out} lines more …"] if left_out else []
    return "\n".join([*head, *between, *tail])


def _fitting(lines: Sequence[str], room: int) -> list[str]:
    """As many of the first lines as `room` characters hold once `&`, `<` and `>` are escaped."""
    kept: list[str] = []
    for line in lines:
        room -= len(escape(line)) + 1
        if room < 0:
            break
        kept.append(line)
    return kept


def _run_lines(run: RunbookRun, steps: Sequence[StepResult], host: str) -> list[str]:
    note = f" · {escape(shorten(redacted(run.note, host), 160))}" if run.note else ""
    lines = [
        f"*{escape(run.kind)}* {_RUNS[run.state]} · asked by {user(run.asked_by)} {date(run.asked_at)}{note}"
    ]
    for step in steps[:12]:
        mark = _STEPS.get(step.state, ":white_circle:")
        said = (
            f": {escape(shorten(' '.join(redacted(step.summary, host).split()), 220))}"
            if step.summary
            else ""
        )
        lines.append(f"{mark} {escape(step.title)}{said}")
    return lines


def _artefact_line(artefact: Any) -> str:
    parts = [
        code(shorten(artefact.name, 100)),
        artefact.kind,
        size(artefact.size),
        f"sha256 `{artefact.sha256[:12]}`",
    ]
    if artefact.pinned:
        parts.append("pinned")
    return " · ".join(parts)


def _correction_line(correction: Any) -> str:
    undone = f" · undone by {user(correction.undone_by)}" if correction.undone_by else ""
    on = f" of {panic_ref(correction.panic_id)}" if correction.panic_id else ""
    return f"{date(correction.at)} {user(correction.actor)} *{escape(correction.verb)}*{on}{undone}"


def group(heading: str, lines: Sequence[str], room: int) -> list[b.Block]:
    """As many of the lines as there is room for (characters of JSON), under a heading; the rest is counted."""
    kept: list[str] = []
    for line in lines:
        line = cut(line, min(600, max(room, 60)))
        room -= length(line) + 2
        if room < 0:
            kept.append(f"… and {len(lines) - len(kept)} more; `panicroom show P-41 --json` has all")
            break
        kept.append(line)
    return sections(heading, kept)
