"""The bot's database: `db upgrade`, `db current`, `db backup`, `db restore`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.common import ConfigOption, fail, settings_of, told_of_database

if TYPE_CHECKING:
    from bot.settings import Settings

app = typer.Typer(help="The bot's database: its schema, backup and restore.", no_args_is_help=True)


@app.command("upgrade")
def db_upgrade(config: ConfigOption = None) -> None:
    """Bring the database to this version's schema (`run` does it, too)."""
    from storage.migrations import upgrade

    settings = settings_of(config)
    with told_of_database(settings):
        before, after = upgrade(settings.database.url)
    print(f"{before or 'empty'} -> {after}" if before != after else f"{after}: nothing to do")


@app.command("current")
def db_current(config: ConfigOption = None) -> None:
    """Show the database's schema revision and the one that this version needs."""
    from storage.migrations import current, head

    settings = settings_of(config)
    with told_of_database(settings):
        print(f"database {current(settings.database.url) or 'empty'}, this version {head()}")


@app.command("backup")
def db_backup(
    target: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A new file, or a directory for one.")],
    as_json: Annotated[bool, typer.Option("--json", help="What was done as one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """Back up the database and its workflows as they stand now; the bot may go on working.

    Exit status: 0 done; 1 not done, and nothing is left behind; 2 wrong settings.
    """
    from bot.backup_summary import shown_backup, told_backup
    from bot.backups import backup_now

    settings = settings_of(config)
    with _told(settings, target):
        taken = backup_now(settings.database.url, target)
    print(json.dumps(told_backup(taken)) if as_json else shown_backup(taken))


@app.command("restore")
def db_restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `db backup` made.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="The database is not empty: keep it beside, and take its place.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What was done as one JSON object.")] = False,
    config: ConfigOption = None,
) -> None:
    """Fill the database from a backup, of SQLite or PostgreSQL alike. The bot must not be running.

    Exit status: 0 done; 1 not done, and the database is as it was; 2 wrong settings.
    """
    from bot.backup_summary import shown_restore, told_restore
    from bot.backups import restore_now

    settings = settings_of(config)
    with _told(settings, file):
        done = restore_now(file, settings, replace=replace)
    print(json.dumps(told_restore(done)) if as_json else shown_restore(done))


@contextmanager
def _told(settings: Settings, file: Path) -> Iterator[None]:
    """Whatever goes wrong with a backup ends the command with one line."""
    from storage.backup_format import BackupError

    try:
        with told_of_database(settings):
            yield
    except BackupError as error:
        fail(f"{file}: {error}")
    except OSError as error:
        fail(f"{error.filename or file}: {error.strerror or error}")
