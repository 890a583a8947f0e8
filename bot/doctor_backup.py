"""What `panicroom doctor` finds of backups, of files that the database names, and of the inventory's source."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, select

from bot.backup_schedule import own_backups
from bot.machine import Finding
from bot.settings import Settings
from commands.inventory_desk import read_kept
from integrations.inventory import (
    InventoryUnread,
    SourceFailed,
    from_address,
    from_command,
    from_file,
    read_inventory,
)
from integrations.slack.text import clean
from storage import Artefact, panic_ref
from storage.database import make_engine
from storage.migrations import SchemaError, current, head

_NAMED = 10


def kept_findings(settings: Settings) -> list[Finding]:
    """Files of the store that the database names and that are not there, as after a restore on another machine."""
    url = make_url(settings.database.url)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        return []
    try:
        if current(settings.database.url) != head():
            return []
        engine = make_engine(settings.database.url)
        try:
            with Session(engine) as session:
                rows = session.exec(select(Artefact.panic_id, Artefact.path).order_by(Artefact.path)).all()
        finally:
            engine.dispose()
    except (SQLAlchemyError, SchemaError, OSError) as error:
        return [Finding("store files", "fail", f"cannot be listed: {str(error).splitlines()[0][:300]}")]
    missing = [(panic, path) for panic, path in rows if not (settings.store.dir / path).exists()]
    if not missing:
        return [Finding("store files", "ok", f"all {len(rows)} files that the database names are there")]
    details = [f"{panic_ref(panic)} {clean(path)[:200]}" for panic, path in missing[:_NAMED]]
    if len(missing) > _NAMED:
        details.append(f"and {len(missing) - _NAMED} more")
    return [
        Finding(
            "store files",
            "warn",
            f"{len(missing)} of {len(rows)} files that the database names are missing in {settings.store.dir}",
            "A database's backup holds no files: bring the store back from its own backup (docs/backup.md).",
            tuple(details),
        )
    ]


def backup_findings(settings: Settings, now: datetime) -> list[Finding]:
    folder, every = settings.database.backup_dir, settings.database.backup_every
    if folder is None:
        return [Finding("backups", "ok", "the bot takes none by itself: database.backup_dir is not set")]
    try:
        there = own_backups(folder)
    except FileNotFoundError:
        there = []
    except OSError as error:
        return [Finding("backups", "fail", f"{folder}: {error.strerror}", "Let the bot's user write there.")]
    if not there:
        return [
            Finding("backups", "warn", f"there is none in {folder} yet", "The bot takes one when it runs.")
        ]
    age = now - there[0][0]
    said = f"{len(there)} in {folder}, the newest of {there[0][0]:%Y-%m-%d %H:%M}Z"
    if age > 2 * every:
        return [Finding("backups", "warn", said, "It is overdue: the bot's log says why (backup.failed).")]
    return [Finding("backups", "ok", said)]


async def inventory_findings(settings: Settings, now: datetime) -> list[Finding]:
    """The source, asked once; and how old what the bot works with is."""
    config = settings.inventory
    if not config.has_source:
        return [
            Finding("inventory", "ok", f"{len(settings.hosts)} entries of the settings; no source is set")
        ]
    kept = read_kept(settings.store.dir, config.source)
    age = f", of {kept.taken_at:%Y-%m-%d %H:%M}Z" if kept.taken_at is not None else ""
    known = f"the bot's last good one has {len(kept.entries)} hosts{age}"
    seconds = config.timeout.total_seconds()
    try:
        if config.command:
            answer = await from_command(config.command, limit=config.limit, timeout=seconds)
        elif config.url is not None:
            token = config.token.get_secret_value() if config.token is not None else None
            answer = await from_address(
                config.url, token=token, etag=None, limit=config.limit, timeout=seconds
            )
        else:
            answer = await from_file(Path(str(config.file)), limit=config.limit)
        told = read_inventory(answer.raw or b"", groups=config.groups, variables=config.variables)
    except (SourceFailed, InventoryUnread) as error:
        said = f"{config.source}: {str(error)[:300]}; {known}"
        return [Finding("inventory", "fail", said, "Mend the source: [inventory] in panicroom.toml.")]
    said = f"{config.source} names {len(told.hosts)} hosts; {known}"
    if told.broken or not told.hosts:
        details = tuple(f"{clean(name)[:80]}: {clean(why)}" for name, why in told.broken[:_NAMED])
        return [Finding("inventory", "warn", f"{said}; {len(told.broken)} entries are broken", "", details)]
    return [Finding("inventory", "ok", said)]
