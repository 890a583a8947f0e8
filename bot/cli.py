"""`panicroom`: run the bot, try the demo, ask the doctor, and the small tools around them.

Exit status: 0 done, 1 it failed (and was said why), 2 wrong settings or wrong usage.

What a command needs is imported by the command: `panicroom parse` in a loop must not wait for an ORM.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from bot.version import VERSION

if TYPE_CHECKING:
    from bot.settings import Settings
    from bot.sources import SettingsError

app = typer.Typer(
    name="panicroom",
    help="A thread for every Linux kernel panic: evidence first, triage, the change, and a memory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
db_app = typer.Typer(help="The database's schema.", no_args_is_help=True)
app.add_typer(db_app, name="db")

_FAILED, _WRONG = 1, 2
_NO_PORT = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="PANICROOM_CONFIG",
        help="panicroom.toml. Default: the one here, if there is one.",
    ),
]


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


@app.command()
def run(config: ConfigOption = None) -> None:
    """Run the bot, until it is told to stop (Ctrl-C, SIGTERM)."""
    settings = _settings(config)
    from bot.app import run as run_bot
    from bot.logging import configure_logging

    configure_logging(settings.log)
    try:
        with _told_of_database(settings):
            run_bot(settings)
    except OSError as error:
        if isinstance(error, socket.gaierror):
            _fail(
                f"server.listen = {settings.server.listen!r} is no address of this machine: {error.strerror}"
            )
        if error.errno in _NO_PORT and error.filename is None:
            address = f"{settings.server.listen}:{settings.server.port}"
            _fail(
                f"{address}: {os.strerror(error.errno)}. Is the bot running already? "
                "Else set server.listen, server.port."
            )
        if error.filename is None:
            raise
        _fail(
            f"{error.filename}: {error.strerror}. Give the bot's user a place it may write: database.url, store.dir."
        )


@app.command()
def demo(
    data: Annotated[Path, typer.Option("--data", help="Where the demo keeps its data.")] = Path(".demo"),
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Port of the page; else a free one.")
    ] = 8420,
    reset: Annotated[bool, typer.Option("--reset", help="Forget the data of earlier starts.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", hidden=True, help="Forget the data, start nothing.")
    ] = False,
    socket_mode: Annotated[
        bool, typer.Option("--socket-mode", help="Connect the bot by Socket Mode rather than HTTP.")
    ] = False,
) -> None:
    """The whole bot with no Slack, no Jira and no fleet: one address to open in a browser."""
    from bot.demo import supervisor

    try:
        if forget:
            supervisor.forget(data.absolute())
            print("The demo's data is gone; the next start begins anew.")
            return
        status = supervisor.main(data, port=port, reset=reset, socket_mode=socket_mode)
    except supervisor.DemoError as error:
        _fail(str(error))
    raise typer.Exit(status)


@app.command()
def doctor(config: ConfigOption = None) -> None:
    """Check settings, database, Slack, channels, SSH and Jira, and say what to do about what is wrong."""
    import asyncio

    from bot.logging import configure_logging

    path = _config_path(config)
    settings = _settings(config)
    configure_logging(settings.log.model_copy(update={"level": "error"}))
    raise typer.Exit(asyncio.run(_examine(settings, path)))


async def _examine(settings: Settings, path: Path | None) -> int:
    from rich.console import Console

    from bot.doctor import examine

    console = Console(highlight=False, soft_wrap=True)
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    failed = warned = 0
    async for finding in examine(settings, path):
        failed += finding.verdict == "fail"
        warned += finding.verdict == "warn"
        console.print(f"{finding.verdict:<5}", style=colours[finding.verdict], end="")
        console.print(f"{finding.name:<12} {finding.said}", markup=False)
        for detail in finding.details:
            console.print(f"{'':<17} {detail}", markup=False)
        if finding.remedy:
            console.print(f"{'':<17} -> {finding.remedy}", markup=False)
    summary = "Everything is in order." if not failed + warned else f"{failed} failed, {warned} to look at."
    console.print(summary, markup=False)
    return _FAILED if failed else 0


@app.command("list")
def list_panics(
    filters: Annotated[
        list[str] | None,
        typer.Argument(help="As in Slack: host:web-* kernel:6.1.* since:7d kind:… state:… words. None: all."),
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json", help="One JSON object a panic, and all of them.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="How many at most. Default: 50; with --json, all.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """The panics that the bot knows, newest first. Status 0: there are any, 1: none, 2: wrong filter or database."""
    from bot.memory import list_command

    database = _settings(config).database
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

    database = _settings(config).database
    raise typer.Exit(show_command(database.url, database.shown, panic, as_json=json_lines))


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
        _fail(f"--host {error}", _WRONG)
    raise typer.Exit(import_command(directory, _settings(config), host=named, dry_run=dry_run))


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
    from bot.sending import NotTaken, make_report, send_report

    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        secret = (
            secret_file.read_text() if secret_file is not None else os.environ.get("PANICROOM_SECRET", "")
        )
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}", _WRONG)
    if not secret.strip():
        _fail(
            "give the secret by --secret-file FILE, or in the environment variable PANICROOM_SECRET", _WRONG
        )
    facts = {"kernel": kernel, "occurred_at": occurred_at}
    try:
        body = make_report(host, raw.decode("utf-8", "replace"), report_id=report_id, **facts)
        taken = send_report(url, secret.strip(), body)
    except NotTaken as error:
        _fail(str(error))
    print(f"{taken.report_id} {taken.status}")


@app.command()
def manifest(
    config: ConfigOption = None,
    socket_mode: Annotated[
        bool | None,
        typer.Option("--socket-mode/--http", help="Default: slack.mode of the settings, else HTTP."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="The bot's public address. Default: server.public_url.")
    ] = None,
    command: Annotated[
        str | None, typer.Option("--command", help="Default: slack.command, else /panic.")
    ] = None,
) -> None:
    """Print the Slack app's manifest (JSON). Works before there are any tokens."""
    from bot.manifest import app_manifest
    from bot.settings import Settings
    from bot.sources import SettingsError, gather

    try:
        values = gather(Settings, _config_path(config), os.environ).values
    except SettingsError as error:
        _problems(error)
    slack, server = _section(values, "slack"), _section(values, "server")
    by_socket = socket_mode if socket_mode is not None else slack.get("mode") == "socket"
    try:
        made = app_manifest(
            socket_mode=by_socket,
            public_url=url or server.get("public_url"),
            command=command or slack.get("command") or "/panic",
        )
    except ValueError as error:
        _fail(str(error), _WRONG)
    print(json.dumps(made, indent=2))


@db_app.command("upgrade")
def db_upgrade(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema (`run` does it, too)."""
    from storage.migrations import upgrade

    settings = _settings(config)
    with _told_of_database(settings):
        before, after = upgrade(settings.database.url)
    print(f"{before or 'empty'} -> {after}" if before != after else f"{after}: nothing to do")


@db_app.command("current")
def db_current(config: ConfigOption = None) -> None:
    """Show the database's schema revision and the one that this version needs."""
    from storage.migrations import current, head

    settings = _settings(config)
    with _told_of_database(settings):
        print(f"database {current(settings.database.url) or 'empty'}, this version {head()}")


@contextmanager
def _told_of_database(settings: Settings) -> Iterator[None]:
    """A database that is locked, newer, elsewhere or none at all ends the command with one line that says so."""
    from sqlalchemy.exc import SQLAlchemyError

    from storage.migrations import SchemaError

    try:
        yield
    except SchemaError as error:
        _fail(f"database {settings.database.shown}: {error}")
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0][:300]
        locked = " Another program holds it: end that one first." if "locked" in reason else ""
        _fail(f"database {settings.database.shown}: {reason}.{locked} `panicroom doctor` checks more.")


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    section = values.get(name)
    return section if isinstance(section, dict) else {}


def _config_path(config: Path | None) -> Path | None:
    here = Path("panicroom.toml")
    return config if config is not None else here if here.exists() else None


def _settings(config: Path | None) -> Settings:
    from bot.settings import SettingsError, load_settings

    try:
        return load_settings(_config_path(config), os.environ)
    except SettingsError as error:
        _problems(error)


def _problems(error: SettingsError) -> NoReturn:
    print("The settings are wrong:", file=sys.stderr)
    for problem in error.problems:
        print(f"  {problem}", file=sys.stderr)
    raise typer.Exit(_WRONG)


def _fail(message: str, status: int = _FAILED) -> NoReturn:
    print(f"panicroom: {message}", file=sys.stderr)
    raise typer.Exit(status)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
