"""`panicroom list` and `panicroom show`: what the bot remembers, at a terminal or as JSON lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlmodel import Session

from bot.asking import FOUND, NONE, WRONG, NoMemory, complain, console, for_terminal, plain, reading, typed
from bot.parse import printable
from commands.errors import BadArguments
from commands.filters import parse_filters
from commands.incident.wording import size, span
from storage import DumpState, KnownCause, incident_ref, panic_ref, parse_ref, utc_now
from storage.queries import Filters, PanicRow, count_panics, list_rows, newest_panic_id
from storage.records import PanicRecord, record, show_json
from storage.recurrence import recurrence_line

SHOWN = 50  # rows for people, where they ask for no other number
_AT_A_TIME = 500
_CRASH_LINES = 60
_TIMELINE = 20


def list_command(url: str, shown_url: str, words: Sequence[str], *, limit: int | None, as_json: bool) -> int:
    """Prints the panics that match, newest first; without `limit`, 50 for people and all as JSON.

    `words` are the filters of `/panic list`, as the shell split them. Returns 0 when there are any, 1 when there is
    none, 2 when a filter is wrong or the database cannot be read.
    """
    try:
        filters = parse_filters(typed(words), utc_now())
    except BadArguments as error:
        complain(for_terminal(str(error)), for_terminal(error.example or ""))
        return WRONG
    try:
        with reading(url, shown_url) as session:
            filters = replace(filters, upto_id=newest_panic_id(session))
            total = count_panics(session, filters)
            wanted = total if limit is None and as_json else limit or SHOWN
            rows = _rows(session, filters, wanted)
            if as_json:
                for row in rows:
                    sys.stdout.write(json.dumps(_row_as_json(row)) + "\n")
            else:
                _show_list(list(rows), total)
    except NoMemory as error:
        complain(str(error))
        return WRONG
    return FOUND if total else NONE


def show_command(url: str, shown_url: str, panic: str, *, as_json: bool) -> int:
    """Prints all that is known of one panic (`P-41`). Returns 0, 1 when there is none, 2 when that is no panic's id."""
    panic_id = parse_ref(panic, "P")
    if panic_id is None:
        complain(f"{printable(panic)[:60]!r} is no panic's id", "panicroom show P-41")
        return WRONG
    try:
        with reading(url, shown_url) as session:
            if as_json:
                facts = show_json(session, panic_id)
                if facts is not None:
                    sys.stdout.write(json.dumps(facts) + "\n")
                found = facts is not None
            else:
                known = record(session, panic_id)
                if known is not None:
                    _show_record(known)
                found = known is not None
    except NoMemory as error:
        complain(str(error))
        return WRONG
    if not found:
        complain(f"there is no {panic_ref(panic_id)}", "panicroom list")
        return NONE
    return FOUND


# -- the rows --------------------------------------------------------------------------------------------


def _rows(session: Session, filters: Filters, wanted: int) -> Iterator[PanicRow]:
    last: PanicRow | None = None
    while wanted > 0:
        page = list_rows(session, filters, limit=min(_AT_A_TIME, wanted), after=last)
        yield from page
        if not page:
            return
        last, wanted = page[-1], wanted - len(page)


# -- for machines -----------------------------------------------------------------------------------------


def _row_as_json(row: PanicRow) -> dict[str, Any]:
    return {
        "id": panic_ref(row.id),
        "host": row.host,
        "occurred_at": row.occurred_at.isoformat(),
        "kernel": row.kernel,
        "kind": row.kind,
        "title": row.title,
        "signature": row.signature_key,
        "ring": row.ring,
        "hardware": row.hardware,
        "deliberate": row.deliberate,
        "dump": {"state": row.dump_state.value, "size": row.dump_size},
        "incident": incident_ref(row.incident_id) if row.incident_id is not None else None,
        "state": row.state.value if row.state is not None else None,
        "message": {"channel": row.channel, "ts": row.ts} if row.ts else None,
    }


# -- for people -------------------------------------------------------------------------------------------


def _when(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ") if moment is not None else "-"


def _show_list(rows: Sequence[PanicRow], total: int) -> None:
    out = console()
    if not total:
        out.print("No panic matches.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("panic", "occurred", "host", "kernel", "what", "incident", "dump"):
        table.add_column(name, no_wrap=name in ("panic", "occurred"), overflow="fold")
    for row in rows:
        incident = f"{incident_ref(row.incident_id)} {row.state.value}" if row.state is not None else "-"
        dump = row.dump_state.value + (f" {size(row.dump_size)}" if row.dump_size else "")
        table.add_row(
            f"[bold]{panic_ref(row.id)}[/]", _when(row.occurred_at), plain(row.host), plain(row.kernel),
            plain(row.title) + (" (deliberate)" if row.deliberate else ""), incident, dump,
        )  # fmt: skip
    out.print(table)
    if len(rows) < total:
        out.print(f"[dim]{len(rows)} of {total}; --limit {total} shows all[/]")


def _show_record(found: PanicRecord) -> None:
    out = console()
    panic = found.panic
    out.print(f"[bold]{panic_ref(panic.id)}[/]  [bold]{plain(panic.host)}[/]: {plain(panic.title)}")
    table = Table.grid(padding=(0, 2))
    for name, value in _facts(found):
        table.add_row(f"  [dim]{name}[/]", value)
    out.print(table)
    lines = (panic.crash_lines or panic.text).splitlines()
    _section(out, "crash", [plain(line, "") for line in lines[:_CRASH_LINES]], len(lines) - _CRASH_LINES)
    for run, steps in found.runs:
        told = [f"{step.state:<8} {plain(step.title)}: {plain(step.summary)}" for step in steps]
        _section(out, f"{run.kind}, {run.state.value}, asked {_when(run.asked_at)}", told or ["no step yet"])
    _section(
        out,
        "changes",
        [
            f"{plain(k.key)} {k.state}: {plain(k.summary)} ({plain(k.status)}) {plain(k.url, '')}"
            for k in found.links
        ],
    )
    _section(out, "artefacts", [f"{plain(a.name)} {size(a.size)} {plain(a.path)}" for a in found.artefacts])
    timeline = found.timeline[-_TIMELINE:]
    _section(
        out,
        "timeline",
        [f"{_when(entry.at)}  {plain(entry.actor)}: {plain(entry.text)}" for entry in timeline],
        found.timeline_total - len(timeline),
    )


def _facts(found: PanicRecord) -> Iterator[tuple[str, str]]:
    panic, incident = found.panic, found.incident
    yield "occurred", f"{_when(panic.occurred_at)}, up {span(panic.uptime_seconds)}"
    yield (
        "kernel",
        " ".join(plain(part) for part in (panic.kernel, panic.kernel_build, panic.arch) if part) or "-",
    )
    yield "kind", f"{plain(panic.kind)}, signature {plain(panic.signature_key)}"
    fleet = [
        ("ring", panic.ring),
        ("hardware", panic.hardware),
        ("owner", panic.owner),
        ("", panic.criticality),
    ]
    yield "fleet", ", ".join(f"{name} {plain(value)}".strip() for name, value in fleet if value)
    if panic.frames:
        yield "frames", plain(" < ".join(panic.frames[:8]))
    if panic.taint:
        yield "taint", plain(", ".join(panic.taint))
    dump = [
        panic.dump_state.value,
        size(panic.dump_size) if panic.dump_size else "",
        plain(panic.dump_path, ""),
    ]
    if panic.dump_state is not DumpState.UNKNOWN or panic.dump_path:
        yield "dump", " ".join(part for part in dump if part)
    if panic.down_since or panic.back_at:
        yield (
            "down",
            f"{_when(panic.down_since)} until {_when(panic.back_at)}, then {plain(panic.running_kernel)}",
        )
    yield "before", plain(recurrence_line(found.recurrence))
    if found.known is not None:
        yield from _known(found.known)
    if incident is None:
        yield "incident", "none"
        return
    others = f", {found.others} more in it" if found.others else ""
    yield "incident", f"{incident_ref(incident.id)} {incident.state.value}{others}"
    if incident.cause or incident.fixed_by:
        yield "cause", f"{plain(incident.cause)}; fixed by {plain(incident.fixed_by)}"


def _known(known: KnownCause) -> Iterator[tuple[str, str]]:
    """What people know of its signature, first what it comes from."""
    yield "known cause", plain(known.cause, "not said") + f" (said {_when(known.at)})"
    for name, value in (("fixed in", known.fixed_in), ("ticket", known.ticket), ("note", known.note)):
        if value:
            yield f"  {name}", plain(value)


def _section(out: Console, name: str, lines: Sequence[str], left_out: int = 0) -> None:
    if not lines:
        return
    out.print(f"\n[dim]{name}[/]")
    for line in lines:
        out.print(f"  {line}", soft_wrap=True)
    if left_out > 0:
        out.print(f"  [dim]… {left_out} more[/]")
