"""`panicroom`: run the bot, try the demo, ask the doctor, and the small tools around them.

Exit status: 0 done, 1 it failed (and was said why), 2 wrong settings or wrong usage.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from bot.settings import Settings, SettingsError, load_settings
from bot.version import VERSION

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
    from storage.migrations import SchemaError

    configure_logging(settings.log)
    try:
        run_bot(settings)
    except SchemaError as error:
        _fail(f"database {settings.database.shown}: {error}")
    except OSError as error:
        if error.errno not in _NO_PORT:
            raise
        address = f"{settings.server.listen}:{settings.server.port}"
        _fail(
            f"{address}: {os.strerror(error.errno)}. Is the bot running already? Else set server.listen, server.port."
        )


@app.command()
def demo(
    data: Annotated[Path, typer.Option("--data", help="Where the demo keeps its data.")] = Path(".demo"),
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="Port of the page; else a free one.")
    ] = 8420,
    reset: Annotated[bool, typer.Option("--reset", help="Forget the data of earlier starts.")] = False,
    socket_mode: Annotated[
        bool, typer.Option("--socket-mode", help="Connect the bot by Socket Mode rather than HTTP.")
    ] = False,
) -> None:
    """The whole bot with no Slack, no Jira and no fleet: one address to open in a browser."""
    from bot.demo import supervisor

    try:
        status = supervisor.main(data, port=port, reset=reset, socket_mode=socket_mode)
    except supervisor.DemoError as error:
        _fail(str(error))
    raise typer.Exit(status)


@app.command()
def doctor(config: ConfigOption = None) -> None:
    """Check settings, database, Slack, channels, SSH and Jira, and say what to do about what is wrong."""
    from bot.logging import configure_logging

    path = _config_path(config)
    settings = _settings(config)
    configure_logging(settings.log.model_copy(update={"level": "error"}))
    raise typer.Exit(asyncio.run(_examine(settings, path)))


async def _examine(settings: Settings, path: Path | None) -> int:
    from bot.doctor import examine

    console = Console(highlight=False, soft_wrap=True)
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    failed = warned = 0
    async for finding in examine(settings, path):
        failed += finding.verdict == "fail"
        warned += finding.verdict == "warn"
        console.print(f"{finding.verdict:<5}", style=colours[finding.verdict], end="")
        console.print(f"{finding.name:<12} {finding.said}", markup=False)
        if finding.remedy:
            console.print(f"{'':<17} -> {finding.remedy}", markup=False)
    summary = "Everything is in order." if not failed + warned else f"{failed} failed, {warned} to look at."
    console.print(summary, markup=False)
    return _FAILED if failed else 0


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
    from bot.sources import gather

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
    from storage.migrations import SchemaError, upgrade

    settings = _settings(config)
    try:
        before, after = upgrade(settings.database.url)
    except SchemaError as error:
        _fail(f"database {settings.database.shown}: {error}")
    print(f"{before or 'empty'} -> {after}" if before != after else f"{after}: nothing to do")


@db_app.command("current")
def db_current(config: ConfigOption = None) -> None:
    """Show the database's schema revision and the one that this version needs."""
    from storage.migrations import current, head

    settings = _settings(config)
    print(f"database {current(settings.database.url) or 'empty'}, this version {head()}")


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    section = values.get(name)
    return section if isinstance(section, dict) else {}


def _config_path(config: Path | None) -> Path | None:
    here = Path("panicroom.toml")
    return config if config is not None else here if here.exists() else None


def _settings(config: Path | None) -> Settings:
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
