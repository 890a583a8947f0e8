"""`panicroom import`: old crash directories into the database, again and again without doubles."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from sqlalchemy.exc import InterfaceError, OperationalError, StatementError
from sqlmodel import Session

from bot.crash_archive import FoundCrash, PassedOver, find_crashes, look_into, read_texts
from bot.parse import printable
from bot.settings import Settings
from commands.intake.archive import ArchivedCrash, Imported, known_of, read_archived, renews, take
from commands.intake.reading import Reading
from commands.inventory import Inventory
from integrations.inbound import host_name
from storage import Database, DumpState, panic_ref, utc_now
from storage.migrations import SchemaError, current, head, upgrade

DONE, NOTHING, UNREADABLE = 0, 1, 2
_BATCH = 100  # crashes in a transaction
_BATCH_TEXT = 32 * 1024 * 1024  # characters of their texts
_SHOWN = 40
_FILE_WIDTH = 200  # of a table that no terminal shows
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(days=1)  # a stamp may be in a zone ahead of ours
_PREFIX = re.compile(r"(.{1,255})-(?:\d{12}|\d{4}-\d\d-\d\d-\d\d[:-]\d\d(?::\d\d)?)\Z")
# Directories on the way to a crash that name no host.
_PLACES = re.compile(
    r"(archives?|backups?|cores?|crash(es)?|data|dumps?|home|kdump|kernel|lib|localhost|logs?|media|mnt|nfs|old|"
    r"oled|opt|panics?|pstore|root|share|spool|srv|sys|systemd|tmp|usr|var|vmcores?)\Z",
    re.IGNORECASE,
)
_NO_HOST = "no name in it says which host it is of: give --host NAME"


@dataclass
class Tally:
    """What came of an import."""

    taken: list[tuple[Path, ArchivedCrash, Imported]] = field(default_factory=list)
    passed: list[PassedOver] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> list[PassedOver]:
        return [item for item in self.passed if item.failed]

    @property
    def status(self) -> int:
        if self.failed:
            return UNREADABLE
        return DONE if self.counts.total() else NOTHING


def import_command(root: Path, settings: Settings, *, host: str | None, dry_run: bool) -> int:
    """Imports and prints what came of it. Returns the exit status: 0 imported or nothing new, 1 no crash found,
    2 something could not be read or names no host; the rest is imported all the same."""
    out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        with _database(settings.database.url, dry_run=dry_run) as db, _progress(errors) as progress:
            tally = Importer(
                db,
                settings.make_inventory(),
                host=host,
                dry_run=dry_run,
                same_boot=settings.intake.same_boot_within,
            ).run(root, progress)
    except (SchemaError, OperationalError, InterfaceError) as error:
        said = _could_not(error) if isinstance(error, StatementError) else str(error)
        errors.print(escape(printable(f"panicroom: database {settings.database.shown}: {said}")), style="red")
        errors.print("What was imported so far stays; run it again when this is mended.")
        return UNREADABLE
    _show(out, errors, root, tally, dry_run=dry_run)
    return tally.status


class Importer:
    """`run` commits a batch at a time: what a killed import has committed, the next one finds."""

    def __init__(
        self,
        db: Database,
        inventory: Inventory,
        *,
        host: str | None = None,
        dry_run: bool = False,
        same_boot: timedelta = timedelta(seconds=120),
        clock: Callable[[], datetime] = utc_now,
        batch: int = _BATCH,
    ) -> None:
        self.db = db
        self.inventory = inventory
        self.host = host
        self.dry_run = dry_run
        self.same_boot = same_boot
        self.clock = clock
        self.batch = batch

    def run(self, root: Path, progress: Progress | None = None) -> Tally:
        tally = Tally()
        found: list[FoundCrash] = []
        walking = progress.add_task("looking", total=None) if progress else None
        for item in find_crashes(root):
            if isinstance(item, PassedOver):
                tally.passed.append(item)
            else:
                found.append(item)
            if progress is not None and walking is not None:
                progress.update(walking, completed=len(found))
        if progress is not None and walking is not None:
            progress.remove_task(walking)
        reading = progress.add_task("importing", total=len(found)) if progress else None
        batch: list[tuple[Path, ArchivedCrash]] = []
        for crash in found:
            read = self._read(crash)
            if isinstance(read, PassedOver):
                tally.passed.append(read)
            else:
                batch.append((crash.path, read))
            if len(batch) >= self.batch or sum(len(c.text) for _, c in batch) >= _BATCH_TEXT:
                self._commit(batch, tally)
                batch = []
            if progress is not None and reading is not None:
                progress.advance(reading)
        self._commit(batch, tally)
        return tally

    def _read(self, found: FoundCrash) -> ArchivedCrash | PassedOver:
        """The crash with its text and what its dump says; or why it is none."""
        name = host_of(found, self.host, self.inventory)
        try:
            raw = read_texts(found.texts)
            dump = look_into(found.dump) if found.dump is not None else None
        except OSError as error:
            return PassedOver(Path(error.filename or found.path), error.strerror or str(error), failed=True)
        if dump is not None and dump.completeness.format == "unknown" and not raw and not found.incomplete:
            return PassedOver(found.path, "its dump is in no known format, and there is no dmesg")
        if name is None:
            return PassedOver(found.path, _NO_HOST, failed=True)
        now = self.clock()
        stamp = _believable(found.stamp, now)
        state, note = _dump_state(found, dump.completeness.state if dump else None)
        return ArchivedCrash(
            host=name,
            directory=_storable(found.directory),
            layout=found.layout,
            text=_text(raw),
            digest=hashlib.sha256(raw).hexdigest(),
            saved_at=stamp or _believable(found.mtime, now) or now,
            stamped=stamp is not None,
            crash_time=(dump.info.crash_time if dump else None) or found.crash_time,
            release=dump.info.release if dump else None,
            dump_state=state,
            dump_path=_storable(str(found.dump)) if found.dump is not None else None,
            dump_size=dump.size if dump else None,
            dump_note=dump.completeness.reason if dump else note,
        )

    def _commit(self, batch: list[tuple[Path, ArchivedCrash]], tally: Tally) -> None:
        """What can be read is read before the transaction begins: the bot writes to the same database."""
        if not batch:
            return
        now = self.clock()
        known = self.db.read_now(lambda session: known_of(session, (crash for _, crash in batch)))
        readings: list[tuple[Path, ArchivedCrash, Reading | None]] = []
        for path, crash in batch:
            reading = None
            state = known.get((crash.host, crash.external_id))
            if state is not None and not renews(crash, state):
                tally.counts["known"] += 1
                continue
            if state is None:
                try:
                    reading = read_archived(crash, now)
                except (ValueError, OverflowError) as error:  # times that no calendar holds
                    tally.passed.append(PassedOver(path, f"could not be read: {error}", failed=True))
                    continue
                if crash.layout in ("dmesg", "pstore") and not reading.crash.crash:
                    tally.passed.append(PassedOver(path, "no kernel crash in it"))
                    continue
            readings.append((path, crash, reading))
        done = self._write(readings, now) if readings else []
        for (path, crash, _), imported in zip(readings, done, strict=True):
            if isinstance(imported, PassedOver):
                tally.passed.append(imported)
                continue
            tally.counts[imported.how] += 1
            if imported.how != "known":
                tally.taken.append((path, crash, imported))

    def _write(
        self, readings: list[tuple[Path, ArchivedCrash, Reading | None]], now: datetime
    ) -> list[Imported | PassedOver]:
        """One transaction; what one crash breaks is its own savepoint. A rehearsal takes all of it back."""

        def take_all(session: Session) -> list[Imported | PassedOver]:
            done: list[Imported | PassedOver] = []
            for path, crash, reading in readings:
                try:
                    with session.begin_nested():
                        done.append(take(session, crash, reading, self.inventory, now, self.same_boot))
                except (StatementError, ValueError, OverflowError) as error:
                    if isinstance(error, (OperationalError, InterfaceError)):
                        raise  # the database itself: every one would fail alike
                    done.append(PassedOver(path, _could_not(error), failed=True))
            if self.dry_run:
                raise _Rehearsed(done)
            return done

        try:
            return self.db.write_now(take_all)
        except _Rehearsed as rehearsed:
            return rehearsed.done


class _Rehearsed(Exception):
    """Everything went well and is taken back: it was a rehearsal."""

    def __init__(self, done: list[Imported | PassedOver]) -> None:
        self.done = done
        super().__init__()


def host_of(found: FoundCrash, given: str | None, inventory: Inventory) -> str | None:
    """Whose crash it is: by the directory's own name (`web-17-202611230532`, `10.0.0.5-2026-11-23-05:32:01`), else
    by the nearest directory above it that can be a host's, else as given. Where a name is given, a directory above
    counts only when the inventory knows it. Loopback addresses, which local dumps bear, name nobody."""
    own = _PREFIX.match(found.directory)
    named = _host(own[1], inventory) if own is not None else None
    if named is not None:
        return named
    for name in reversed(found.above):
        if _PLACES.match(name) or name.isdecimal():
            continue
        above = _host(name, inventory)
        if above is not None and (given is None or inventory.knows(above)):
            return above
    return given


def _host(name: str, inventory: Inventory) -> str | None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        try:
            plain = host_name(name)
        except ValueError:
            return None
        return None if plain.split(".", 1)[0] == "localhost" else plain
    if address.is_loopback or address.is_unspecified:
        return None
    for entry in inventory.entries:
        if entry.address == str(address) and not entry.is_pattern:
            return entry.name.lower()
    return str(address) if address.version == 4 else None


def _dump_state(found: FoundCrash, state: str | None) -> tuple[DumpState, str | None]:
    """By content; what its name calls incomplete is so unless its content proves otherwise. A text alone (pstore, a
    dmesg) says nothing about a dump."""
    if state == "unverified" and found.incomplete:
        return DumpState.INCOMPLETE, None
    if state is not None:
        return DumpState(state), None
    if found.layout in ("pstore", "dmesg"):
        return DumpState.UNKNOWN, None
    return DumpState.NONE, "no dump in the crash directory"


def _text(raw: bytes) -> str:
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    return re.sub("\x00+", "\N{REPLACEMENT CHARACTER}", raw.decode(encoding, "replace"))


def _storable(name: str) -> str:
    """A file name as UTF-8 text, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", "replace")[:1000]


def _believable(moment: datetime | None, now: datetime) -> datetime | None:
    """A year that a stamp or a broken clock made up is no time."""
    return moment if moment is not None and _EARLIEST <= moment <= now + _AHEAD else None


def _could_not(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return f"could not be stored: {type(cause).__name__}: {str(cause)[:200]}"


@contextmanager
def _database(url: str, *, dry_run: bool) -> Iterator[Database]:
    """The bot's database, brought to this version's schema. A rehearsal changes neither: where there is none of this
    schema, it rehearses on an empty one. Raises SchemaError."""
    with tempfile.TemporaryDirectory(prefix="panicroom-") as scratch:
        if dry_run and current(url) != head():
            url = f"sqlite:///{scratch}/rehearsal.db"
        upgrade(url)
        db = Database(url)
        try:
            yield db
        finally:
            db.close()


@contextmanager
def _progress(console: Console) -> Iterator[Progress | None]:
    if not console.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        yield progress


# -- what is printed --------------------------------------------------------------------------------------


def _show(out: Console, errors: Console, root: Path, tally: Tally, *, dry_run: bool) -> None:
    base = root.resolve()
    if tally.taken:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("", "host", "when", "cause", "dump", "where"):
            table.add_column(name, overflow="fold")
        for path, crash, imported in tally.taken[:_SHOWN]:
            table.add_row(*(escape(printable(cell)) for cell in _row(base, path, crash, imported, dry_run)))
        out.print(table)
        if len(tally.taken) > _SHOWN:
            out.print(f"... and {len(tally.taken) - _SHOWN} more")
    for item in tally.passed:
        line = escape(printable(f"{_shortened(base, item.path)}: {item.why}"))
        (errors if item.failed else out).print(line, style="red" if item.failed else "dim")
    out.print(_summary(tally, dry_run=dry_run))


def _row(base: Path, path: Path, crash: ArchivedCrash, imported: Imported, dry_run: bool) -> tuple[str, ...]:
    ref = panic_ref(imported.panic_id)
    new = "new" if dry_run else ref
    what = {"new": new, "told": f"{ref}, told before", "updated": f"{ref}, dump"}[imported.how]
    said = "" if imported.occurred_at != crash.saved_at else "saved at " if crash.stamped else "file of "
    dump = imported.dump_state.value if imported.dump_state is not DumpState.UNKNOWN else "-"
    when = f"{said}{imported.occurred_at:%Y-%m-%d %H:%M:%S}"
    return what, crash.host, when, imported.title, dump, _shortened(base, path)


def _shortened(base: Path, path: Path) -> str:
    try:
        inside = path.relative_to(base)
    except ValueError:
        return str(path)
    return str(inside) if inside.parts else str(path)


def _summary(tally: Tally, *, dry_run: bool) -> str:
    counts = tally.counts
    verb = "would be imported" if dry_run else "imported"
    parts = [f"{counts['new']} {verb}"]
    for how, words in (
        ("told", "told of before, by a report or another directory"),
        ("updated", "known, with their dump's state renewed"),
        ("known", "known from an earlier import"),
    ):
        if counts[how]:
            parts.append(f"{counts[how]} {words}")
    skipped = len(tally.passed) - len(tally.failed)
    parts += [f"{skipped} skipped"] if skipped else []
    parts += [f"{len(tally.failed)} failed"] if tally.failed else []
    return ", ".join(parts) + "." if counts.total() or tally.passed else "No kernel crash was found."
