"""`panicroom ready`: how the hosts stand, at a terminal, as JSON lines or as CSV."""

from __future__ import annotations

import json
import sys

from rich.table import Table
from sqlmodel import select

from bot.asking import FOUND, NONE, WRONG, NoMemory, complain, console, plain, reading
from commands.ready import blocks, ledger
from storage import HostReadiness


def ready_command(url: str, shown_url: str, *, as_json: bool, as_csv: bool) -> int:
    """Prints the hosts, the worst first. Returns 0 when all are ready, 1 when not or when nobody was asked, 2 when the
    database cannot be read."""
    try:
        with reading(url, shown_url) as session:
            rows = ledger.rows_of(session, list(session.exec(select(HostReadiness.host))))
    except NoMemory as error:
        complain(str(error))
        return WRONG
    if as_json:
        for row in rows:
            sys.stdout.write(json.dumps(ledger.as_json(row)) + "\n")
    elif as_csv:
        sys.stdout.write(blocks.as_csv(rows))
    else:
        _show(rows)
    return FOUND if rows and all(row.state == "ready" for row in rows) else NONE


def _show(rows: list[HostReadiness]) -> None:
    table = Table("host", "ring", "state", "since", "what is wrong", box=None)
    for row in rows:
        wrong = "; ".join(f"{f['check']}: {f['told']}" for f in row.findings if f["state"] != "ready")
        table.add_row(
            plain(row.host),
            plain(row.ring),
            row.state,
            f"{row.since:%Y-%m-%d %H:%M}",
            plain(row.note or wrong),
        )
    console().print(table)
