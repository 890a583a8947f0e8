"""What is kept of dumps, at a terminal: `retention`."""

from __future__ import annotations

from typing import Annotated

import typer

from bot.cli.common import ConfigOption, settings_of, told_of_database

app = typer.Typer()


@app.command()
def retention(
    as_json: Annotated[bool, typer.Option("--json", help="All of it as one JSON object.")] = False,
    run: Annotated[bool, typer.Option("--run", help="Remove what is to go now, without asking.")] = False,
    config: ConfigOption = None,
) -> None:
    """How much dumps take, what the next sweep removes, and why each stays or goes.

    Exit status: 0 shown, or swept; 1 something could not be removed or read; 2 wrong settings or database.
    """
    from bot.logging import configure_logging
    from bot.retained import retention_command

    settings = settings_of(config)
    configure_logging(settings.log.model_copy(update={"level": "warning"}))
    with told_of_database(settings):
        raise typer.Exit(retention_command(settings, as_json=as_json, run=run))
