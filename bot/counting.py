"""`panicroom top` and `panicroom export`: panics counted, and as a table, at a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from bot.asking import FOUND, NONE, WRONG, NoMemory, complain, console, for_terminal, plain, reading, typed
from commands.errors import BadArguments
from commands.filters import parse_filters
from commands.trends.blocks import NOUNS
from commands.trends.questions import read_top
from commands.trends.slack import table_of
from storage import utc_now
from storage.tallies import Top, top

EXPORTED = 100_000  # rows, where nothing else is said


def top_command(url: str, shown_url: str, words: Sequence[str], *, limit: int, as_json: bool) -> int:
    """Prints what had most panics: `by kernel since:7d`. Returns 0, 1 when there are none, 2 when asked wrongly."""
    try:
        asked = read_top(typed(words), utc_now())
        with reading(url, shown_url) as session:
            found = top(session, asked.cut, since=asked.since, until=asked.until, limit=limit)
    except BadArguments as error:
        complain(for_terminal(str(error)), for_terminal(error.example or ""))
        return WRONG
    except NoMemory as error:
        complain(str(error))
        return WRONG
    if as_json:
        sys.stdout.write(json.dumps(_as_json(found)) + "\n")
    else:
        _show(found)
    return FOUND if found.rows else NONE


def export_command(url: str, shown_url: str, words: Sequence[str], *, limit: int | None) -> int:
    """Writes the panics that match as CSV to standard output; on standard error, whether it was cut.

    Returns 0 when there are any, 1 when there is none (the heading alone), 2 when asked wrongly.
    """
    try:
        filters = parse_filters(typed(words), utc_now())
        with reading(url, shown_url) as session:
            content, rows, total = table_of(session, filters, limit or EXPORTED)
    except BadArguments as error:
        complain(for_terminal(str(error)), for_terminal(error.example or ""))
        return WRONG
    except NoMemory as error:
        complain(str(error))
        return WRONG
    sys.stdout.write(content.replace("\r\n", "\n"))
    if total > rows:
        print(f"panicroom: cut at {rows} panics; --limit gives more", file=sys.stderr)
    return FOUND if rows else NONE


def _as_json(found: Top) -> dict[str, Any]:
    return {
        "by": found.cut.value,
        "since": found.since.isoformat() if found.since else None,
        "until": found.until.isoformat() if found.until else None,
        "panics": found.panics,
        "values": found.values,
        "rows": [
            {"value": row.value or None, "panics": row.panics, "hosts": row.hosts, "title": row.title or None}
            for row in found.rows
        ],
    }


def _show(found: Top) -> None:
    out = console()
    if not found.rows:
        out.print(f"No panic from {found.since} to {found.until or 'today'}.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("panics", "hosts", NOUNS[found.cut], "what"):
        table.add_column(name, justify="right" if name in ("panics", "hosts") else "left", overflow="fold")
    for row in found.rows:
        table.add_row(str(row.panics), str(row.hosts), plain(row.value, "not known"), plain(row.title, ""))
    out.print(table)
    more = found.values - len(found.rows)
    out.print(
        f"[dim]{found.panics} panics from {found.since} to {found.until or 'today'}"
        + (f", {more} more; --limit {found.values} shows all[/]" if more > 0 else "[/]")
    )
