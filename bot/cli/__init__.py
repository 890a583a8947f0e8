"""`panicroom`: run the bot, try the demo, ask the doctor, and the small tools around them.

Exit status: 0 done, 1 it failed (and was said why), 2 wrong settings or wrong usage.

What a command needs is imported by the command: `panicroom parse` in a loop must not wait for an ORM.
"""

from __future__ import annotations

from typing import Annotated

import typer

from bot.cli import db, hosts, memory, retention, service
from bot.version import VERSION

app = typer.Typer(
    name="panicroom",
    help="A thread for every Linux kernel panic: evidence first, triage, the change, and a memory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(service.app)
app.add_typer(db.app, name="db")
app.add_typer(memory.app)
app.add_typer(hosts.app)
app.add_typer(retention.app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"panicroom {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave."),
    ] = False,
) -> None:
    """A thread for every Linux kernel panic: evidence first, triage, the change, and a memory."""


def main() -> None:
    app()
