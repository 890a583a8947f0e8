"""Collecting: each command's output becomes a file in the store and an entry of the manifest, whatever happened."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from commands.evidence.contents import BundleFile, Entry, EvidenceConfig
from commands.hosts import boots, crashdump, cutting
from commands.hosts.cutting import FETCHED, Sort, sort_of
from commands.hosts.lastwords import LastWords, is_unread, read_last_words, read_text
from commands.hosts.originals import Originals, came
from commands.hosts.visits import Visit
from integrations.ssh import CommandResult
from integrations.stores import LocalStore, StoreError
from storage import Panic

log = structlog.get_logger(__name__)
_SESSIONS = 4  # sshd allows ten a connection


@dataclass
class Keeper:
    """Keeps what a run collects under its own folder in the store."""

    store: LocalStore
    folder: tuple[str, ...]
    entries: list[Entry] = field(default_factory=list, kw_only=True)

    async def keep(self, name: str, data: bytes, *, done: CommandResult | None = None, **more: Any) -> Entry:
        kept = await asyncio.to_thread(self.store.put, (*self.folder, name), data)
        values: dict[str, Any] = {"file": name, "sha256": kept.sha256, "size": kept.size}
        if done is not None:
            values |= {
                "command": shlex.join(done.argv),
                "exit_status": done.exit_status,
                "started_at": done.started_at.isoformat(),
                "seconds": round(done.seconds, 3),
                "truncated": done.truncated,
                "error": error_of(done),
            }
        entry = Entry(**{**values, **more})
        self.entries.append(entry)
        return entry


@dataclass
class Collector(Keeper):
    """Collects from a host."""

    visit: Visit
    config: EvidenceConfig

    @property
    def originals(self) -> Originals:
        return Originals(self.store, self.visit.visits.context.db)

    async def command(self, file: BundleFile, note: str | None = None) -> CommandResult:
        """Run a command and keep what it said. A failure is in the entry, and so is what it said before it."""
        sort = sort_of(file.argv)
        done = await self.visit.run(
            file.argv, timeout=file.timeout, cap=file.cap, keep="end" if sort else None
        )
        if sort is not None:
            await self.log(file.name, done, sort, note)
        else:
            await self.keep(file.name, done.stdout, done=done, note=note)
        return done

    async def log(self, name: str, done: CommandResult, sort: Sort, note: str | None = None) -> Entry:
        """Keep a log: of a long one its end (a journal's), or the crash and what led to it (a dmesg's). The whole goes
        to the store, and the entry says where."""
        cut = await asyncio.to_thread(cutting.cut, sort, done.stdout)
        more: dict[str, Any] = {}
        said = [note] if note else []
        if cut.told is not None:
            said.append(f"{cut.told}{came(done)}")
            try:
                whole = await self.originals.keep(self.visit, wholes_of(self.visit.run_id), name, done.stdout)
            except StoreError as error:
                log.error("original.lost", run=self.visit.run_id, output=name, error=str(error))
                said.append(f"the whole could not be kept ({str(error)[:200]})")
            else:
                said.append(f"the whole is {whole.path} in the store")
                more = {"whole": whole.path, "whole_sha256": whole.sha256, "whole_size": whole.size}
        return await self.keep(name, cut.data, done=done, note="; ".join(said) or None, **more)

    async def all(self, files: Sequence[BundleFile]) -> None:
        limit = asyncio.Semaphore(_SESSIONS)

        async def one(file: BundleFile) -> None:
            async with limit:
                await self.command(file)

        # All of them end before a lost connection is told: none may write into a folder that is done with.
        ended = await asyncio.gather(*(one(f) for f in files), return_exceptions=True)
        for problem in ended:
            if problem is not None:
                raise problem

    async def crash(self, panic: Panic) -> tuple[crashdump.DumpReport, dict[str, Any], LastWords]:
        """The crash directory: its listing, the dmesg of the crash, and what the dump is like (never the dump).

        For a panic that came without readable text, the dmesg (or pstore's) is its last words.
        """
        report = await crashdump.examine(self.visit, panic)
        listing = report.outputs[0]
        error = None if listing["exit"] == 0 else f"{listing['outcome']}: {listing['stderr'].strip()}"[:300]
        await self.keep(
            "crash-directory.txt",
            str(listing["stdout"]).encode(),
            command=listing["command"], exit_status=listing["exit"], started_at=listing["at"],
            seconds=listing["seconds"], error=error,
        )  # fmt: skip
        dmesg = report.chosen.dmesg if report.chosen is not None else None
        done: CommandResult | None = None
        if dmesg is not None:
            done = await read_text(self.visit, dmesg, "read", "tail", self.config.journal_timeout)
            had = f", its last {len(done.stdout)} of {dmesg.size} bytes" if dmesg.size > FETCHED else ""
            await self.log("dmesg-crash.txt", done, "dmesg", f"from {dmesg.path}{had}")
        elif report.elsewhere is not None:
            beside = report.elsewhere.path
            note = f"kdump wrote it to the central directory, beside {beside}; panic-text.txt has its text"
            self.entries.append(Entry(file="dmesg-crash.txt", note=note))
        else:
            self.entries.append(
                Entry(
                    file="dmesg-crash.txt",
                    error=report.problem or report.gone or "the crash directory holds no dmesg of this panic",
                )
            )
        words = LastWords()
        if is_unread(panic):
            words = await read_last_words(self.visit, panic, report, done)
            if words.pstore is not None:
                await self.log("pstore-dmesg.txt", words.pstore, "dmesg", "pstore's text")
        return report, _vmcore(report), words

    async def journals(self, panic: Panic) -> boots.Choice:
        """The kernel journals of the boots before this one; which of them crashed is chosen by looking, and of that
        one the end of the whole journal is kept, too."""
        listed = await self._boots()
        past = [b for b in listed if b.index < 0]
        wanted = [b.index for b in past if b.index in (-1, -2)]
        wanted += [i for i in _around(past, panic) if i not in wanted]
        texts: dict[int, CommandResult] = {}
        for index in sorted(wanted, reverse=True):
            texts[index] = await self.visit.run(
                ("journalctl", "-b", str(index), "-k", "-o", "short-iso", "--no-pager"),
                timeout=self.config.journal_timeout,
                cap=self.config.journal_cap,
            )
        lines = {index: boots.command_line(done.text) for index, done in texts.items()}
        choice = boots.choose(listed, lines, boot_id=panic.boot_id, occurred_at=panic.occurred_at)
        for index, done in texts.items():
            role = _role(index, choice, lines.get(index))
            note = f"kernel journal of the {role} boot"
            await self.log(f"journal-boot{index}-{role}.txt", done, "journal", note)
        if choice.boot is None:
            self.entries.append(Entry(file="journal-crashed.txt", error=choice.reason))
        else:
            await self._whole_journal(choice.boot.index)
        return choice

    async def _whole_journal(self, index: int) -> None:
        """Everything that a boot logged, services as well as the kernel: its last lines, which lead to the crash."""
        lines = self.config.journal_lines
        argv = ("journalctl", "-b", str(index), "-o", "short-iso", "--no-pager", "-n", str(lines))
        done = await self.visit.run(argv, timeout=self.config.journal_timeout, cap=self.config.journal_cap)
        said = " ".join(done.stderr.decode("utf-8", "replace").replace("\x00", "").split())[:300]
        note = f"whole journal of the crashed boot, its last {lines} lines" + (f" ({said})" if said else "")
        await self.log(f"journal-boot{index}-crashed-all.txt", done, "journal", note)

    async def _boots(self) -> tuple[boots.Boot, ...]:
        """systemd before 251 tells no JSON."""
        as_json = BundleFile(
            name="list-boots.json",
            argv=("journalctl", "--list-boots", "--no-pager", "-o", "json"),
            timeout=60,
        )
        done = await self.command(as_json)
        found = boots.read_boots(done.text) if done.exit_status == 0 else ()
        table = BundleFile(
            name="list-boots.txt", argv=("journalctl", "--list-boots", "--no-pager"), timeout=60
        )
        told = await self.command(table)
        return found or boots.read_boots(told.text)


def wholes_of(run_id: int) -> str:
    """The folder of the logs that a run's bundle has only a part of."""
    return f"evidence-{run_id}-whole"


def error_of(done: CommandResult) -> str | None:
    if done.ok:
        return None
    said = " ".join(done.stderr.decode("utf-8", "replace").replace("\x00", "").split())[:300]
    return f"{done.outcome}: {said}" if said else done.outcome


def json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, default=str, ensure_ascii=False) + "\n").encode(
        "utf-8", "replace"
    )


def _around(past: Sequence[boots.Boot], panic: Panic) -> list[int]:
    """Boots further back that may be meant: the one with the reported id, or that ran when the panic came."""
    found = []
    wanted = (panic.boot_id or "").replace("-", "").lower()
    for boot in past:
        by_time = boot.first is not None and boot.last is not None and boot.first <= panic.occurred_at
        near = (
            by_time and boot.last is not None and abs((boot.last - panic.occurred_at).total_seconds()) < 1800
        )
        if boot.boot_id == wanted or near:
            found.append(boot.index)
    return found[-3:]


def _role(index: int, choice: boots.Choice, line: str | None) -> str:
    if choice.boot is not None and choice.boot.index == index:
        return "crashed"
    return "capture" if boots.is_capture_kernel(line) else "other"


def _vmcore(report: crashdump.DumpReport) -> dict[str, Any]:
    """The vmcore's line in the manifest; it holds memory, so it stays where it is."""
    told: dict[str, Any] = {"state": report.state.value, "in_bundle": False}
    if report.elsewhere is not None:
        where = report.elsewhere
        told |= {"path": where.path, "size": where.size, "central_directory": where.directory}
    elif report.problem is not None:
        return told | {"error": report.problem}
    if report.gone is not None:
        told |= {"reason": report.gone}
    if report.chosen is not None and report.chosen.dump is not None:
        told |= {"path": report.chosen.dump.path, "size": report.chosen.dump.size}
        told["saved_at"] = report.chosen.dump.mtime.isoformat()
    if report.completeness is not None:
        told |= {"format": report.completeness.format, "reason": report.completeness.reason}
    if report.info is not None:
        told |= {"release": report.info.release, "build_id": report.info.build_id}
        told["page_size"] = report.info.page_size
        told["crash_time"] = report.info.crash_time.isoformat() if report.info.crash_time else None
    return told
