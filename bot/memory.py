"""`panicroom list` and `panicroom show`: what the bot remembers, at a terminal or as JSON lines."""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from bot.parse import printable
from commands.errors import BadArguments
from commands.incident.wording import size, span
from commands.panics.filters import parse_filters
from storage import DumpState, incident_ref, panic_ref, parse_ref, utc_now
from storage.database import make_engine
from storage.migrations import current, head
from storage.queries import Filters, PanicRow, count_panics, list_rows, newest_panic_id
from storage.records import PanicRecord, record, show_json
from storage.recurrence import recurrence_line

FOUND, NONE, WRONG = 0, 1, 2
SHOWN = 50  # rows for people, where they ask for no other number
_AT_A_TIME = 500
_CRASH_LINES = 60
_TIMELINE = 20
_WIDE = 240  # columns, where the output is no terminal: nothing is folded


class NoMemory(Exception):
    """The database cannot be read."""


def list_command(url: str, shown_url: str, words: Sequence[str], *, limit: int | None, as_json: bool) -> int:
    """Prints the panics that match, newest first; without `limit`, 50 for people and all as JSON.

    `words` are the filters of `/panic list`, as the shell split them. Returns 0 when there are any, 1 when there is
    none, 2 when a filter is wrong or the database cannot be read.
    """
    try:
        filters = parse_filters(" ".join(_quoted(word) for word in words), utc_now())
    except BadArguments as error:
        _complain(_for_terminal(str(error)), _for_terminal(error.example or ""))
        return WRONG
    try:
        with _reading(url, shown_url) as session:
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
        _complain(str(error))
        return WRONG
    return FOUND if total else NONE


def show_command(url: str, shown_url: str, panic: str, *, as_json: bool) -> int:
    """Prints all that is known of one panic (`P-41`). Returns 0, 1 when there is none, 2 when that is no panic's id."""
    panic_id = parse_ref(panic, "P")
    if panic_id is None:
        _complain(f"{printable(panic)[:60]!r} is no panic's id", "panicroom show P-41")
        return WRONG
    try:
        with _reading(url, shown_url) as session:
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
        _complain(str(error))
        return WRONG
    if not found:
        _complain(f"there is no {panic_ref(panic_id)}", "panicroom list")
        return NONE
    return FOUND


# -- the database -----------------------------------------------------------------------------------------


@contextmanager
def _reading(url: str, shown_url: str) -> Iterator[Session]:
    """A session that only reads, also while the bot runs. Makes no file, and upgrades nothing. Raises NoMemory."""
    file = make_url(url).database
    if url.startswith("sqlite:") and file and not Path(file).exists():
        raise NoMemory(f"{shown_url}: there is no such file; the bot has not run with these settings yet")
    try:
        revision = current(url)
        if revision != head():
            raise NoMemory(
                f"{shown_url} has the schema {revision or 'of an empty database'}, this version needs {head()}: "
                "`panicroom db upgrade`, or use the version that wrote it"
            )
        engine = make_engine(url)
        try:
            with Session(engine, expire_on_commit=False) as session:
                yield session
        finally:
            engine.dispose()
    except SQLAlchemyError as error:
        raise NoMemory(f"{shown_url}: {str(error).splitlines()[0][:300]}") from error


def _rows(session: Session, filters: Filters, wanted: int) -> Iterator[PanicRow]:
    offset = 0
    while offset < wanted:
        page = list_rows(session, filters, limit=min(_AT_A_TIME, wanted - offset), offset=offset)
        yield from page
        if not page:
            return
        offset += len(page)


def _quoted(word: str) -> str:
    """The shell took the quotes of `hw:"PowerEdge R640"` away; a filter with a space in it needs them."""
    if not re.search(r"\s", word) or '"' in word or re.search(r"\s[A-Za-z_]+:", word):
        return word
    key = re.match(r"[A-Za-z_]+:", word)
    head_, rest = (key.group(), word[key.end() :]) if key else ("", word)
    return f'{head_}"{rest}"'


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


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def _plain(text: str | None, otherwise: str = "-") -> str:
    """Text of a stranger: neither markup nor escape sequences reach the terminal."""
    return escape(printable(text)) if text else otherwise


def _when(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ") if moment is not None else "-"


def _show_list(rows: Sequence[PanicRow], total: int) -> None:
    out = _console()
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
            f"[bold]{panic_ref(row.id)}[/]", _when(row.occurred_at), _plain(row.host), _plain(row.kernel),
            _plain(row.title) + (" (deliberate)" if row.deliberate else ""), incident, dump,
        )  # fmt: skip
    out.print(table)
    if len(rows) < total:
        out.print(f"[dim]{len(rows)} of {total}; --limit {total} shows all[/]")


def _show_record(found: PanicRecord) -> None:
    out = _console()
    panic = found.panic
    out.print(f"[bold]{panic_ref(panic.id)}[/]  [bold]{_plain(panic.host)}[/]: {_plain(panic.title)}")
    table = Table.grid(padding=(0, 2))
    for name, value in _facts(found):
        table.add_row(f"  [dim]{name}[/]", value)
    out.print(table)
    lines = (panic.crash_lines or panic.text).splitlines()
    _section(out, "crash", [_plain(line, "") for line in lines[:_CRASH_LINES]], len(lines) - _CRASH_LINES)
    for run, steps in found.runs:
        told = [f"{step.state:<8} {_plain(step.title)}: {_plain(step.summary)}" for step in steps]
        _section(out, f"{run.kind}, {run.state.value}, asked {_when(run.asked_at)}", told or ["no step yet"])
    _section(
        out,
        "changes",
        [
            f"{_plain(k.key)} {k.state}: {_plain(k.summary)} ({_plain(k.status)}) {_plain(k.url, '')}"
            for k in found.links
        ],
    )
    _section(out, "artefacts", [f"{_plain(a.name)} {size(a.size)} {_plain(a.path)}" for a in found.artefacts])
    timeline = found.timeline[-_TIMELINE:]
    _section(
        out,
        "timeline",
        [f"{_when(entry.at)}  {_plain(entry.actor)}: {_plain(entry.text)}" for entry in timeline],
        found.timeline_total - len(timeline),
    )


def _facts(found: PanicRecord) -> Iterator[tuple[str, str]]:
    panic, incident = found.panic, found.incident
    yield "occurred", f"{_when(panic.occurred_at)}, up {span(panic.uptime_seconds)}"
    yield (
        "kernel",
        " ".join(_plain(part) for part in (panic.kernel, panic.kernel_build, panic.arch) if part) or "-",
    )
    yield "kind", f"{_plain(panic.kind)}, signature {_plain(panic.signature_key)}"
    fleet = [
        ("ring", panic.ring),
        ("hardware", panic.hardware),
        ("owner", panic.owner),
        ("", panic.criticality),
    ]
    yield "fleet", ", ".join(f"{name} {_plain(value)}".strip() for name, value in fleet if value)
    if panic.frames:
        yield "frames", _plain(" < ".join(panic.frames[:8]))
    if panic.taint:
        yield "taint", _plain(", ".join(panic.taint))
    dump = [
        panic.dump_state.value,
        size(panic.dump_size) if panic.dump_size else "",
        _plain(panic.dump_path, ""),
    ]
    if panic.dump_state is not DumpState.UNKNOWN or panic.dump_path:
        yield "dump", " ".join(part for part in dump if part)
    if panic.down_since or panic.back_at:
        yield (
            "down",
            f"{_when(panic.down_since)} until {_when(panic.back_at)}, then {_plain(panic.running_kernel)}",
        )
    yield "before", _plain(recurrence_line(found.recurrence))
    if incident is None:
        yield "incident", "none"
        return
    others = f", {found.others} more in it" if found.others else ""
    yield "incident", f"{incident_ref(incident.id)} {incident.state.value}{others}"
    if incident.cause or incident.fixed_by:
        yield "cause", f"{_plain(incident.cause)}; fixed by {_plain(incident.fixed_by)}"


def _section(out: Console, name: str, lines: Sequence[str], left_out: int = 0) -> None:
    if not lines:
        return
    out.print(f"\n[dim]{name}[/]")
    for line in lines:
        out.print(f"  {line}", soft_wrap=True)
    if left_out > 0:
        out.print(f"  [dim]… {left_out} more[/]")


def _complain(message: str, example: str = "") -> None:
    hint = f" Example: {example}" if example else ""
    ending = "" if message.endswith((".", "?", "!")) else "."
    print(f"panicroom: {message}{ending}{hint}", file=sys.stderr)


def _for_terminal(text: str) -> str:
    """What is said in Slack, as it is said here."""
    return printable(html.unescape(text).replace("/panic ", "panicroom ").replace("`", ""))
