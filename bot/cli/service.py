"""The bot itself: `run`, `demo`, `doctor`, `manifest`."""

from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.common import (
    FAILED,
    WRONG,
    ConfigOption,
    config_path,
    fail,
    problems,
    section,
    settings_of,
    told_of_database,
)

if TYPE_CHECKING:
    from bot.settings import Settings

app = typer.Typer()

_NO_PORT = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)


@app.command()
def run(config: ConfigOption = None) -> None:
    """Run the bot, until it is told to stop (Ctrl-C, SIGTERM)."""
    settings = settings_of(config)
    from bot.app import run as run_bot
    from bot.logging import configure_logging

    configure_logging(settings.log)
    try:
        with told_of_database(settings):
            run_bot(settings)
    except OSError as error:
        if isinstance(error, socket.gaierror):
            fail(
                f"server.listen = {settings.server.listen!r} is no address of this machine: {error.strerror}"
            )
        if error.errno in _NO_PORT and error.filename is None:
            address = f"{settings.server.listen}:{settings.server.port}"
            fail(
                f"{address}: {os.strerror(error.errno)}. Is the bot running already? "
                "Else set server.listen, server.port."
            )
        if error.filename is None:
            raise
        fail(
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
        fail(str(error))
    raise typer.Exit(status)


@app.command()
def doctor(config: ConfigOption = None) -> None:
    """Check settings, database, Slack, channels, SSH and Jira, and say what to do about what is wrong."""
    import asyncio

    from bot.logging import configure_logging

    path = config_path(config)
    settings = settings_of(config)
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
    return FAILED if failed else 0


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
        values = gather(Settings, config_path(config), os.environ).values
    except SettingsError as error:
        problems(error)
    slack, server = section(values, "slack"), section(values, "server")
    by_socket = socket_mode if socket_mode is not None else slack.get("mode") == "socket"
    try:
        made = app_manifest(
            socket_mode=by_socket,
            public_url=url or server.get("public_url"),
            command=command or slack.get("command") or "/panic",
        )
    except ValueError as error:
        fail(str(error), WRONG)
    print(json.dumps(made, indent=2))
