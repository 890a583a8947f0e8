"""What the commands share: the settings, and how a command ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from bot.settings import Settings
    from bot.sources import SettingsError

FAILED, WRONG = 1, 2

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="PANICROOM_CONFIG",
        help="panicroom.toml. Default: the one here, if there is one.",
    ),
]


@contextmanager
def told_of_database(settings: Settings) -> Iterator[None]:
    """A database that is locked, newer, elsewhere or none at all ends the command with one line that says so."""
    from sqlalchemy.exc import SQLAlchemyError

    from storage.migrations import SchemaError

    try:
        yield
    except SchemaError as error:
        fail(f"database {settings.database.shown}: {error}")
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0][:300]
        locked = " Another program holds it: end that one first." if "locked" in reason else ""
        fail(f"database {settings.database.shown}: {reason}.{locked} `panicroom doctor` checks more.")


def section(values: dict[str, Any], name: str) -> dict[str, Any]:
    section = values.get(name)
    return section if isinstance(section, dict) else {}


def config_path(config: Path | None) -> Path | None:
    here = Path("panicroom.toml")
    return config if config is not None else here if here.exists() else None


def settings_of(config: Path | None) -> Settings:
    from bot.settings import SettingsError, load_settings

    try:
        return load_settings(config_path(config), os.environ)
    except SettingsError as error:
        problems(error)


def problems(error: SettingsError) -> NoReturn:
    print("The settings are wrong:", file=sys.stderr)
    for problem in error.problems:
        print(f"  {problem}", file=sys.stderr)
    raise typer.Exit(WRONG)


def fail(message: str, status: int = FAILED) -> NoReturn:
    print(f"panicroom: {message}", file=sys.stderr)
    raise typer.Exit(status)
