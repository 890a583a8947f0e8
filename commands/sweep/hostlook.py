"""A look at one host over SSH: what its crash directory and pstore's archive hold that nobody told of."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from commands.hosts.boots import Boot, command_line, read_boots
from commands.sweep.found import PSTORE, FoundDump, Sorted, name_of, sort_out, written_at
from commands.sweep.look import Deliver, Findings, Terms, Told
from commands.sweep.reading import TEXT, Unreadable, back_at, boot_of, read_content, time_of_death
from integrations.kernel import read_crash
from integrations.kernel.crashdirs import CrashDump, CrashFile, read_listing
from integrations.ssh import CommandResult, SshError, SshSession

_LISTING_CAP = 1024 * 1024
_COMMAND_LINE_CAP = 64 * 1024
_BOOTS = ("journalctl", "--list-boots", "--no-pager", "-o", "json")
_NO_DIRECTORY = 69  # the helper's exit status
_BAD_CALL = 64
_DIRECTORY = re.compile(r"^crash[_-]?dir(?:ectory)?=(/[^\x00-\x1f]{1,900})$", re.MULTILINE)
_EVERYWHERE = "/var/crash"  # where all families save by default
_PROC_CAP = 4096
_BOOT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UPTIME = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s")
_AHEAD = timedelta(minutes=5)

Audit = Callable[[str, str, str], Awaitable[None]]  # command, outcome, detail


class CannotLook(Exception):
    """The host was reached, and its crash directory could not be read."""


class HostLook:
    """One host, on an open connection that the caller closes. Every command is audited."""

    def __init__(self, host: str, session: SshSession, helper: Sequence[str], audit: Audit) -> None:
        self.host = host
        self._session = session
        self._helper = tuple(helper)
        self._audit = audit
        self._known_boots: tuple[Boot, ...] | None = None

    async def look(
        self,
        told: Told,
        terms: Terms,
        deliver: Deliver,
        findings: Findings,
        *,
        is_told: Callable[[str], Awaitable[bool]],
    ) -> str:
        """Fills `findings` and delivers each dump that nobody told of; returns a remark for people ("" when there is
        none). `is_told(text)`: whether a panic of the host has this very crash. Raises CannotLook and SshError."""
        listing = await self._help("list", cap=_LISTING_CAP)
        remark = ""
        if listing.exit_status == _NO_DIRECTORY:
            remark = "it has no crash directory"
        elif listing.truncated:
            remark = "its crash directory holds more than can be listed"
        elif not listing.ok:
            raise CannotLook(f"its crash directory could not be listed ({_said(listing)})")
        dumps = read_listing(listing.text.rpartition("\n")[0]) if not remark or listing.truncated else ()
        boots: tuple[Boot, ...] = ()
        findings.seen |= {(self.host, name_of(dump)) for dump in dumps}
        if any(not d.test and not told.of(self.host, (name_of(d),)) for d in dumps):
            boots = await self._boots()
        sorted_out = self._sort(dumps, told, terms, boots)
        findings.add(sorted_out)
        findings.known -= sum(told.by_this_sweep(self.host, (name_of(d),)) for d in dumps if not d.test)
        if sorted_out.fresh:
            where = await self._directory()
            for dump in sorted_out.fresh:
                await self._read(dump, where, boots, terms, deliver, findings)
        await self._pstore(told, terms, deliver, findings, is_told)
        return remark

    def _sort(self, dumps: Sequence[CrashDump], told: Told, terms: Terms, boots: Sequence[Boot]) -> Sorted:
        present = next((b for b in boots if b.index == 0), None)
        return sort_out(
            dumps,
            lambda names: told.of(self.host, names),
            now=_present(boots, terms.now) or terms.now,
            settle=terms.settle,
            finished_before=present.first if present is not None else None,
            most=terms.most,
        )

    async def _read(
        self,
        dump: CrashDump,
        where: str,
        boots: Sequence[Boot],
        terms: Terms,
        deliver: Deliver,
        findings: Findings,
    ) -> None:
        name = name_of(dump)
        try:
            content = await read_content(self, dump)
        except Unreadable as error:
            findings.unread.append(f"{name} ({error})")
            return
        crash = await asyncio.to_thread(read_crash, content.text)
        death = await time_of_death(
            dump,
            content.info,
            crash.uptime if crash.crash else None,
            boots,
            self._command_line,
            now=terms.now,
        )
        await deliver(
            FoundDump(
                host=self.host,
                directory=name,
                place=f"{where}/{dump.directory}" if dump.directory else where,
                layout=dump.family,
                text=content.text,
                digest=content.digest,
                died=death.at,
                crash_time=death.crash_time,
                boot_id=death.boot.boot_id if death.boot is not None else None,
                back_at=back_at(boots, death.boot, dump),
                saved_at=dump.stamp or written_at(dump) or death.at,
                stamped=dump.stamp is not None,
                release=content.info.release if content.info is not None else None,
                dump_path=f"{where}/{dump.dump.path}" if dump.dump is not None else None,
                dump_size=dump.dump.size if dump.dump is not None else None,
                complete=content.complete,
                reason=content.completeness.reason if content.completeness is not None else "",
                host_clock=_present(boots, terms.now),
            )
        )

    async def _pstore(
        self,
        told: Told,
        terms: Terms,
        deliver: Deliver,
        findings: Findings,
        is_told: Callable[[str], Awaitable[bool]],
    ) -> None:
        """The texts that systemd-pstore archived. A host without an archive, or with an older helper, has none."""
        listing = await self._help("pstore-list", cap=_LISTING_CAP)
        if not listing.ok and not listing.truncated:
            if listing.exit_status not in (_NO_DIRECTORY, _BAD_CALL):
                findings.unread.append(f"pstore's archive ({_said(listing)})")
            return
        files = sorted(_texts(listing.text), key=lambda f: f.mtime, reverse=True)
        findings.seen |= {(self.host, PSTORE + file.path) for file in files}
        read = 0
        for file in files:
            names = (PSTORE + file.path, file.path.rsplit("/", 1)[0])
            if told.of(self.host, names):
                findings.known += not told.by_this_sweep(self.host, names)
                continue
            if read >= terms.most:
                findings.later += 1
                continue
            read += 1
            await self._read_pstore(file, terms, deliver, findings, is_told)

    async def _read_pstore(
        self,
        file: CrashFile,
        terms: Terms,
        deliver: Deliver,
        findings: Findings,
        is_told: Callable[[str], Awaitable[bool]],
    ) -> None:
        name = PSTORE + file.path
        done = await self._help("pstore-read", file.path, cap=TEXT)
        if not done.ok and not done.truncated:
            findings.unread.append(f"{name} ({_said(done)})")
            return
        crash = await asyncio.to_thread(read_crash, done.text)
        if not crash.crash or await is_told(done.text):
            findings.known += crash.crash  # a shutdown's last words are no crash
            return
        second = _pstore_time(file)
        boot = boot_of(await self._boots(), second) if second is not None else None
        await deliver(
            FoundDump(
                host=self.host,
                directory=name,
                place=f"/var/lib/systemd/pstore/{file.path.rsplit('/', 1)[0]}",
                layout="pstore",
                text=done.text,
                digest=hashlib.sha256(done.stdout).hexdigest(),
                died=second or file.mtime,
                crash_time=second,
                boot_id=boot.boot_id if boot is not None else None,
                saved_at=file.mtime,
                stamped=False,
            )
        )

    # -- the host ---------------------------------------------------------------------------------------

    async def boot(self, now: Callable[[], datetime]) -> dict[str, str]:
        """Which boot runs: `boot_id`, and `booted_at` (ISO 8601) by our clock; what cannot be read is left out."""
        facts: dict[str, str] = {}
        boot_id = await self._run(("cat", "/proc/sys/kernel/random/boot_id"), cap=_PROC_CAP)
        if boot_id.ok and _BOOT_ID.fullmatch(boot_id.text.strip()):
            facts["boot_id"] = boot_id.text.strip()
        uptime = await self._run(("cat", "/proc/uptime"), cap=_PROC_CAP)
        seconds = _UPTIME.match(uptime.text) if uptime.ok else None
        if seconds is not None:
            facts["booted_at"] = (now() - timedelta(seconds=float(seconds[1]))).isoformat()
        return facts

    async def part(self, path: str, size: int, offset: int, length: int) -> bytes:
        if offset == 0 and length >= size:
            done = await self._help("read", path, cap=max(size, 1))
        elif offset == 0:
            done = await self._help("head", path, str(length), cap=length)
        elif offset + length >= size:
            done = await self._help("tail", path, str(size - offset), cap=length)
        else:
            done = await self._help("bytes", path, str(offset), str(length), cap=length)
        if not done.ok:
            raise Unreadable(_said(done))
        return done.stdout

    async def _boots(self) -> tuple[Boot, ...]:
        """What the journal lists; asked for once, and only where there is something to tell."""
        if self._known_boots is None:
            done = await self._run(_BOOTS, cap=_LISTING_CAP)
            self._known_boots = read_boots(done.text) if done.ok else ()
        return self._known_boots

    async def _command_line(self, index: int) -> str | None:
        argv = ("journalctl", "-b", str(index), "-k", "-o", "short-iso", "--no-pager")
        done = await self._run(argv, cap=_COMMAND_LINE_CAP)
        return command_line(done.text) if done.stdout else None

    async def _directory(self) -> str:
        """Where the helper's paths begin; an older helper does not say."""
        done = await self._help("facts", cap=_COMMAND_LINE_CAP)
        found = _DIRECTORY.search(done.text) if done.ok else None
        return found[1].rstrip("/") if found is not None else _EVERYWHERE

    async def _help(self, *words: str, cap: int) -> CommandResult:
        return await self._run((*self._helper, *words), cap=cap)

    async def _run(self, argv: Sequence[str], *, cap: int) -> CommandResult:
        said = shlex.join(argv)
        try:
            done = await self._session.run(argv, cap=cap)
        except SshError as error:
            await self._audit(said, "lost", str(error))
            raise
        outcome = "done" if done.exit_status == 0 and not done.timed_out else "failed"
        await self._audit(said, outcome, f"{done.outcome}, {len(done.stdout)} bytes, {done.seconds:.2f} s")
        return done


def _present(boots: Sequence[Boot], now: datetime) -> datetime | None:
    """The host's own clock, by the last line of its journal, where it is ahead of ours: dumps bear its times."""
    present = next((b for b in boots if b.index == 0), None)
    ahead = present is not None and present.last is not None and present.last > now + _AHEAD
    return present.last if present is not None and ahead else None


def _texts(listing: str) -> list[CrashFile]:
    """`pstore-list`: PATH, type, size, mtime, with tabs between them."""
    found = []
    for line in listing.splitlines():
        cells = line.split("\t")
        if (
            len(cells) != 4
            or cells[1] != "f"
            or cells[0].rsplit("/", 1)[-1] != "dmesg.txt"
            or "/" not in cells[0]
        ):
            continue
        try:
            found.append(CrashFile(cells[0], int(cells[2]), datetime.fromtimestamp(float(cells[3]), UTC)))
        except (ValueError, OverflowError, OSError):
            continue
    return found


def _pstore_time(file: CrashFile) -> datetime | None:
    """The record's second: since version 253, systemd makes the directory's name of it; before, of more digits."""
    second = file.path.split("/", 1)[0]
    if len(second) != 10 or not second.isdecimal():
        return None
    at = datetime.fromtimestamp(int(second), UTC)
    return at if at <= file.mtime + _AHEAD else None


def _said(done: CommandResult) -> str:
    said = " ".join(done.stderr.decode("utf-8", "replace").split())[:160]
    return f"{done.outcome}: {said}" if said else done.outcome
