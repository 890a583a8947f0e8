"""What is asked of single hosts: `host-setup`."""

from __future__ import annotations

from typing import Annotated

import typer

from bot.cli.common import FAILED, WRONG, ConfigOption, fail, settings_of

app = typer.Typer()


@app.command("host-setup")
def host_setup(
    check: Annotated[
        str, typer.Option("--check", metavar="HOST", help="Host to look at, as the inventory names it.")
    ],
    config: ConfigOption = None,
) -> None:
    """Say what a host lacks for reports, triage and evidence, and the commands that mend it.

    Exit status: 0 nothing; 1 something; 2 the host could not be asked.
    """
    import asyncio

    from rich.console import Console

    from bot.host_setup import examine
    from integrations.inbound import host_name

    settings = settings_of(config)
    try:
        name = host_name(check)
    except ValueError as error:
        fail(f"--check {error}", WRONG)
    found = asyncio.run(examine(settings, name))
    console = Console(highlight=False, soft_wrap=True)
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    for finding in found.findings:
        console.print(f"{finding.verdict:<5}", style=colours[finding.verdict], end="")
        console.print(f"{finding.name:<12} {finding.said}", markup=False)
        if finding.remedy:
            console.print(f"{'':<17} -> {finding.remedy}", markup=False)
    if not found.reached:
        raise typer.Exit(WRONG)
    lacking = sum(finding.verdict != "ok" for finding in found.findings)
    console.print("Nothing is missing." if not lacking else f"{lacking} to mend.", markup=False)
    raise typer.Exit(FAILED if lacking else 0)


@app.command()
def ready(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a host, with all findings.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One line a host, for spreadsheets.")] = False,
    config: ConfigOption = None,
) -> None:
    """How the hosts stood at the bot's last look: would the next panic leave a dump? Asks no host.

    Exit status: 0 all are ready, 1 some are not or nobody was asked, 2 wrong settings or database.
    """
    from bot.ready_table import ready_command

    database = settings_of(config).database
    raise typer.Exit(ready_command(database.url, database.shown, as_json=as_json, as_csv=as_csv))
