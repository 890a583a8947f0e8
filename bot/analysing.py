"""The analysis as the bot runs it, and `panicroom analyze`, which does it here and now."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlmodel import Session

from bot.central import make_store
from bot.settings import Settings
from commands.analysis.analyst import (
    Analyst,
    Distribution,
    distribution_of,
    info_lines,
    package_words,
    summary_lines,
)
from commands.analysis.desk import AnalysisDesk
from commands.analysis.dumps import file_head, put_together, verified_copy
from commands.analysis.reporting import attach_report
from commands.analysis.scratch import clear_left, folder_by_hand
from commands.context import Context
from integrations.crashtool import Analysis, CrashToolError
from integrations.debuginfo import DebuginfoError
from integrations.redaction import Policy, Redactor, installation_key, set_policy
from integrations.stores import LocalStore, StoreError
from storage import Database, DumpCopy, Panic, panic_ref, parse_ref, utc_now
from storage.migrations import current, head

_MARKS = {"ok": " ", "warn": "!", "failed": "x", "skipped": "-"}


def make_analysis(context: Context, store: LocalStore, settings: Settings) -> AnalysisDesk:
    analyst = Analyst(settings.analysis, settings.store.dir)
    return AnalysisDesk(context, analyst, store, make_store(settings.central, settings.ssh))


def use_redaction(settings: Settings) -> None:
    """What this process takes out of host text, with the installation's own key. Raises OSError."""
    set_policy(Policy(settings.redaction, installation_key(settings.store.dir)))


@dataclass(frozen=True)
class Asked:
    """What `panicroom analyze` was asked for."""

    panic: str | None
    vmcore: Path | None
    vmlinux: Path | None
    attach: bool


class _Stop(Exception):
    """The message is for the person; 1: it cannot be done, 2: it was asked wrongly."""

    def __init__(self, message: str, status: int = 1) -> None:
        self.status = status
        super().__init__(message)


def analyze_command(settings: Settings, asked: Asked) -> int:
    """Prints the report on standard output and all else on standard error. 0: read, 1: not read, 2: asked wrongly."""
    try:
        return asyncio.run(_analyze(settings, asked))
    except _Stop as stop:
        _say(f"panicroom: {stop}")
        return stop.status
    except (CrashToolError, DebuginfoError, StoreError) as error:
        _say(f"panicroom: {error}")
        return 1
    except OSError as error:
        _say(f"panicroom: {error.filename or 'the system'}: {error.strerror or error}")
        return 1


async def _analyze(settings: Settings, asked: Asked) -> int:
    if asked.panic is None and asked.vmcore is None:
        raise _Stop("say which: a panic (P-41), or --vmcore FILE", 2)
    analyst = Analyst(settings.analysis, settings.store.dir)
    with contextlib.ExitStack() as stack:
        db: Database | None = None
        panic, copy, where = None, None, Distribution()
        if asked.panic is not None:
            db = await asyncio.to_thread(_open_database, settings)
            stack.callback(db.close)
            panic, copy, where = await db.read(lambda s: _known(s, asked.panic or ""))
        left = await asyncio.to_thread(clear_left, analyst.work_dir)
        if left:
            _say(f"  {left} working directories of killed analyses removed")
        work = stack.enter_context(folder_by_hand(analyst.work_dir))
        vmcore = asked.vmcore
        if vmcore is None:
            vmcore = work / "vmcore"
            await _fetch(settings, panic, copy, vmcore)
        done = await _read(analyst, vmcore.resolve(), asked.vmlinux, panic, where, work)
        print(done.report, end="")
        if db is not None and panic is not None and asked.attach:
            await _attach(settings, db, panic, done)
    return 0


def _open_database(settings: Settings) -> Database:
    """Makes no file and upgrades nothing: that is the bot's to do."""
    url, shown = settings.database.url, settings.database.shown
    file = make_url(url).database
    if url.startswith("sqlite:") and file and not Path(file).exists():
        raise _Stop(f"{shown}: there is no such file; the bot has not run with these settings yet")
    if current(url) != head():
        raise _Stop(f"{shown} is of another version of Panicroom: `panicroom db upgrade`")
    return Database(url)


def _known(session: Session, word: str) -> tuple[Panic, DumpCopy | None, Distribution]:
    panic_id = parse_ref(word, "P")
    if panic_id is None:
        raise _Stop(f"{word[:40]!r} is no panic id; they look like P-41", 2)
    panic = session.get(Panic, panic_id)
    if panic is None:
        raise _Stop(f"there is no panic P-{panic_id}; `panicroom list` shows what there is")
    return panic, verified_copy(session, panic_id), distribution_of(session, panic)


async def _fetch(settings: Settings, panic: Panic | None, copy: DumpCopy | None, vmcore: Path) -> None:
    store = make_store(settings.central, settings.ssh)
    ref = panic_ref(panic.id) if panic is not None else "it"
    if store is None or copy is None:
        why = "no central store is set" if store is None else f"there is no verified copy of {ref}'s dump"
        raise _Stop(f"{why}: give the dump by --vmcore FILE")
    _say(f"reading {copy.place}, {copy.size} bytes …")
    await put_together(store, copy, vmcore)


async def _read(
    analyst: Analyst, vmcore: Path, vmlinux: Path | None, panic: Panic | None, where: Distribution, work: Path
) -> Analysis:
    info = await asyncio.to_thread(file_head, vmcore)
    for state, text in info_lines(info, panic):
        _say(f"{_MARKS[state]} {text}")
    if vmlinux is not None:
        await analyst.check(vmlinux, info)
        found = await asyncio.to_thread(vmlinux.resolve)
    else:
        found = await analyst.vmlinux_of(info, where)
    _say(f"  vmlinux: {found}")
    if info.build_id is None:
        _say(f"! nothing proves that it is the right one. {package_words(info.release, where)}")
    done = await analyst.read(vmcore, found, work=work)
    for state, text in summary_lines(done):
        _say(f"{_MARKS[state]} {text}")
    return done


async def _attach(settings: Settings, db: Database, panic: Panic, done: Analysis) -> None:
    """The report in the store and, redacted, in the panic's thread: the bot posts it when it looks next."""
    use_redaction(settings)
    store, ref, now = LocalStore(settings.store.dir), panic_ref(panic.id), utc_now()
    stem = f"{ref}-analysis-{now:%Y%m%dT%H%M%S}"
    told = Redactor(keep=(panic.host,)).redact(done.report)
    kept = (
        store.put((ref, f"{stem}.txt"), done.report.encode("utf-8", "replace")),
        store.put((ref, f"{stem}.redacted.txt"), told.encode("utf-8", "replace")),
    )
    words = "; ".join(text for _, text in summary_lines(done))
    await db.write(lambda s: attach_report(s, panic, f"analysis-by-hand:{stem}", kept, words, now))
    _say(f"  the report is in the store ({kept[0].path}) and goes into the thread of {ref}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
