"""Panics from the terminal: `list`, `show`, `top`, `export`, `analyze`, `parse`, `import`, `report`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from bot.cli.common import WRONG, ConfigOption, fail, settings_of, told_of_database

app = typer.Typer()


@app.command("list")
def list_panics(
    filters: Annotated[
        list[str] | None,
        typer.Argument(
            help="As in Slack: host:web-* kernel:6.1.* since:7d kind:… has:dump sort:host. None: all."
        ),
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="One JSON object a panic, and all of them.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="How many at most. Default: 50; with --json, all.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """The panics that the bot knows. Status 0: there are any, 1: none, 2: wrong filter or database."""
    from bot.memory import list_command

    database = settings_of(config).database
    raise typer.Exit(
        list_command(database.url, database.shown, filters or [], limit=limit, as_json=json_lines)
    )


@app.command()
def show(
    panic: Annotated[str, typer.Argument(help="Its id, such as P-41.")],
    json_lines: Annotated[bool, typer.Option("--json", help="All of it as one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """All that is known of one panic. Status 0: shown, 1: there is none, 2: no id of a panic, or wrong database."""
    from bot.memory import show_command

    database = settings_of(config).database
    raise typer.Exit(show_command(database.url, database.shown, panic, as_json=json_lines))


@app.command("top")
def top(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="As in Slack: by kernel since:7d. Without a word: by signature, 30 days."),
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="All of it as one JSON object.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 10,
    config: ConfigOption = None,
) -> None:
    """What had most panics: signatures, hosts, kernels, hardware or rings. Status 0: there are any, 1: none, 2: asked
    wrongly, or wrong database."""
    from bot.counting import top_command

    database = settings_of(config).database
    raise typer.Exit(top_command(database.url, database.shown, words or [], limit=limit, as_json=json_lines))


@app.command("export")
def export(
    filters: Annotated[
        list[str] | None, typer.Argument(help="As in Slack: host:web-* since:30d … None: all.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="How many at most. Default: 100000.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """The panics as CSV on standard output, safe to open in a spreadsheet. Status 0: there are any, 1: none, 2: wrong
    filter or database."""
    from bot.counting import export_command

    database = settings_of(config).database
    raise typer.Exit(export_command(database.url, database.shown, filters or [], limit=limit))


@app.command()
def parse(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files with dmesg or console text; - (or none) is standard input."),
    ] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object a file.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Which rule made the kind and the signature.")
    ] = False,
) -> None:
    """Read crash text and show what the bot makes of it."""
    from bot.parse import parse_command

    raise typer.Exit(parse_command(files or [], json_lines=json_lines, explain=explain))


@app.command()
def analyze(
    panic: Annotated[
        str | None, typer.Argument(help="Its id, such as P-41: the verified copy of its dump is read.")
    ] = None,
    vmcore: Annotated[
        Path | None, typer.Option("--vmcore", help="A dump on this machine, in place of the copy.")
    ] = None,
    vmlinux: Annotated[
        Path | None, typer.Option("--vmlinux", help="Its vmlinux with debug information. Default: found.")
    ] = None,
    attach: Annotated[
        bool, typer.Option("--attach/--no-attach", help="The report goes into the panic's thread, too.")
    ] = True,
    config: ConfigOption = None,
) -> None:
    """Read a dump by drgn or crash: backtraces of all CPUs, blocked tasks, memory. The report is printed.

    Exit status: 0 read; 1 not read, and it says why; 2 asked wrongly.
    """
    from bot.analysing import Asked, analyze_command
    from bot.logging import configure_logging

    settings = settings_of(config)
    configure_logging(settings.log.model_copy(update={"level": "warning"}))
    with told_of_database(settings):
        raise typer.Exit(analyze_command(settings, Asked(panic, vmcore, vmlinux, attach)))


@app.command("import")
def import_(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Crash directories, a pstore archive, or one dmesg file."),
    ],
    host: Annotated[
        str | None, typer.Option("--host", help="The host of crashes whose directories name none.")
    ] = None,
    config: ConfigOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be imported, and change nothing.")
    ] = False,
) -> None:
    """Load old crash directories into the database, again and again without doubles.

    Exit status: 0 imported, or nothing new; 1 no crash found; 2 something could not be read.
    """
    from bot.importing import import_command
    from integrations.inbound import host_name

    try:
        named = host_name(host) if host is not None else None
    except ValueError as error:
        fail(f"--host {error}", WRONG)
    raise typer.Exit(import_command(directory, settings_of(config), host=named, dry_run=dry_run))


@app.command()
def report(
    file: Annotated[str, typer.Argument(help="File with the dmesg or console text; - is standard input.")],
    host: Annotated[str, typer.Option("--host", help="Name of the host that panicked.")],
    url: Annotated[str, typer.Option("--url", help="Address of the bot.")] = "http://127.0.0.1:8080",
    secret_file: Annotated[
        Path | None, typer.Option("--secret-file", help="File with the secret; else PANICROOM_SECRET.")
    ] = None,
    report_id: Annotated[
        str | None, typer.Option("--id", help="Idempotency id. Default: made from host and text.")
    ] = None,
    kernel: Annotated[str | None, typer.Option("--kernel", help="Kernel release that runs now.")] = None,
    occurred_at: Annotated[
        str | None, typer.Option("--occurred-at", help="When it panicked, ISO 8601 with a zone.")
    ] = None,
) -> None:
    """Send one signed report by hand, as a host would."""
    from bot.sending import NotTaken, holds_crash, make_report, send_report

    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        secret = (
            secret_file.read_text() if secret_file is not None else os.environ.get("PANICROOM_SECRET", "")
        )
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", WRONG)
    if not secret.strip():
        fail("give the secret by --secret-file FILE, or in the environment variable PANICROOM_SECRET", WRONG)
    facts = {"kernel": kernel, "occurred_at": occurred_at}
    try:
        body = make_report(host, raw.decode("utf-8", "replace"), report_id=report_id, **facts)
        taken = send_report(url, secret.strip(), body)
    except NotTaken as error:
        fail(str(error))
    print(f"{taken.report_id} {taken.status}")
    if not holds_crash(raw):
        print(f'note: {file} holds no crash text, so its panic reads "cause unknown".', file=sys.stderr)
