"""A panic that came without readable text: its last words are read from the host, as another witness of it.

What is found becomes a Report of source "dump" (or "pstore") in the transaction that ends the step, once for each text;
the intake reads it like any other.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from commands.hosts.crashdump import DumpReport, Witnessed, belongs
from commands.hosts.cutting import FETCHED, cut_dmesg
from commands.hosts.originals import cut_lines
from commands.hosts.visits import Visit, kept_output
from integrations.kernel import read_crash
from integrations.kernel.crashdirs import CrashFile
from integrations.ssh import CommandResult
from storage import Panic, Report, ReportState, panic_ref

_TEXT = 2 * 1024 * 1024  # of the text that becomes a witness; of a longer dmesg the crash and its context
_LISTING_CAP = 256 * 1024
_SAME_TIME = timedelta(seconds=60)

Keep = Callable[[str, CommandResult], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class LastWords:
    """`lines` as in StepFinding; `report` is a row of Report, None when there was nothing to read."""

    lines: tuple[tuple[str, str], ...] = ()
    outputs: tuple[dict[str, Any], ...] = ()
    report: dict[str, Any] | None = None
    pstore: CommandResult | None = None  # what was read of pstore's archive


def is_unread(panic: Panic) -> bool:
    """Whether its cause is not known from what was reported."""
    return panic.kind == "unknown" or panic.head_lost


async def read_last_words(
    visit: Visit, panic: Panic, dump: DumpReport, dmesg: CommandResult | None = None, keep: Keep | None = None
) -> LastWords:
    """The dmesg beside the panic's dump, else pstore's. Raises ConnectionLost.

    `dmesg`: it was read already. `keep(name, done)`: how a log becomes an output of the step, and `cut` in it is told.
    """
    keep = keep or _as_it_is
    now = visit.visits.context.clock()
    file = dump.chosen.dmesg if dump.chosen is not None else None
    lines: list[tuple[str, str]] = []
    outputs: list[dict[str, Any]] = []
    spare: dict[str, Any] | None = None
    if file is not None and file.size:
        done = dmesg or await read_text(visit, file, "read", "tail")
        if dmesg is None:
            outputs.append(await keep("dmesg-crash", done))
            lines += cut_lines(outputs[-1:])
        told, row = await _witness(panic, "dump", done, file.path, time_of_death(panic, dump), now)
        lines.append(told)
        if row is not None and told[0] == "ok":
            return LastWords(tuple(lines), tuple(outputs), row)
        spare = row
    listed = await visit.help("pstore-list", cap=_LISTING_CAP)
    outputs.append(kept_output(listed))
    if not listed.ok:
        lines.append(("skipped", _no_pstore(listed)))
        return LastWords(tuple(lines), tuple(outputs), spare)
    found = [
        f for f in _files(listed.text) if belongs(f.mtime, panic, Witnessed((), dump.certain, dump.others))
    ]
    if not found:
        lines.append(("skipped", "pstore: nothing of this panic in its archive"))
        return LastWords(tuple(lines), tuple(outputs), spare)
    newest = max(found, key=lambda f: (f.mtime, f.path))
    done = await read_text(visit, newest, "pstore-read", None)
    outputs.append(await keep("dmesg-pstore", done))
    lines += cut_lines(outputs[-1:])
    told, row = await _witness(panic, "pstore", done, newest.path, time_of_death(panic, dump), now)
    return LastWords((*lines, told), tuple(outputs), row or spare, done)


async def _as_it_is(_name: str, done: CommandResult) -> dict[str, Any]:
    return kept_output(done)


async def read_text(
    visit: Visit, file: CrashFile, whole: str, end: str | None, timeout: float | None = None
) -> CommandResult:
    """A file by the helper: all of it, or its end where it is very long."""
    if end is not None and file.size > FETCHED:
        return await visit.help(end, file.path, str(FETCHED), timeout=timeout, cap=FETCHED)
    return await visit.help(whole, file.path, timeout=timeout, cap=FETCHED)


async def _witness(
    panic: Panic, source: str, done: CommandResult, path: str, died: datetime, now: datetime
) -> tuple[tuple[str, str], dict[str, Any] | None]:
    """What is told of the text, and its row."""
    kept = await asyncio.to_thread(cut_dmesg, done.stdout, _TEXT)
    text = kept.data.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if not done.ok or not text.strip():
        why = done.outcome if not done.ok else "it is empty"
        return ("warn", f"the text of the crash could not be read from {path} ({why})"), None
    crash = await asyncio.to_thread(read_crash, text)
    row = report_row(panic, source, text, died, now)
    if crash.crash:
        return ("ok", f"read from {path}: {crash.title}"), row
    return ("warn", f"{path} holds no text of a crash"), None if panic.text else row


def time_of_death(panic: Panic, dump: DumpReport) -> datetime:
    """The dump's own word where the intake will know the panic by it, else the time that the panic has."""
    died = dump.crash_time
    if died is None:
        return panic.occurred_at
    near = abs(died - panic.occurred_at) <= _SAME_TIME
    return died if panic.boot_id or near or not dump.certain else panic.occurred_at


def report_row(panic: Panic, source: str, text: str, died: datetime, now: datetime) -> dict[str, Any]:
    """The row of a Report that tells of this very panic; the same text gives the same `external_id`."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    external_id = f"{panic_ref(panic.id)}:{digest[:16]}"
    body: dict[str, Any] = {
        "id": external_id,
        "host": panic.host,
        "text": text,
        "source": "pstore" if source == "pstore" else "report",
        "occurred_at": died.astimezone(UTC).isoformat(),
    }
    if panic.boot_id:
        body["crashed_boot_id"] = panic.boot_id
    row = Report(
        external_id=external_id,
        host=panic.host,
        source=source,
        body=body,
        received_at=now,
        next_at=now,
        state=ReportState.NEW,
        panic_id=panic.id,
    )
    return row.model_dump(exclude={"id"})


def _no_pstore(listed: CommandResult) -> str:
    if listed.exit_status == 64:
        return "pstore: not read, the helper on this host is an older one that cannot"
    if listed.exit_status == 69:
        return "pstore: systemd-pstore has archived nothing on this host"
    return f"pstore: not read ({listed.outcome})"


def _files(listing: str) -> Sequence[CrashFile]:
    """The dmesg.txt files of `pstore-list`: PATH, type, size, mtime, with tabs between them."""
    found = []
    for line in listing.splitlines():
        path, _, rest = line.partition("\t")
        cells = rest.split("\t")
        if len(cells) != 3 or cells[0] != "f" or path.rsplit("/", 1)[-1] != "dmesg.txt":
            continue
        try:
            when = datetime.fromtimestamp(float(cells[2]), UTC)
            found.append(CrashFile(path, int(cells[1]), when))
        except (ValueError, OverflowError, OSError):
            continue
    return found
