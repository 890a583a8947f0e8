"""A look at a directory that the hosts' kdump itself writes to over NFS or SSH, mounted where the bot runs.

Names and files are hostile: no symbolic link is followed, no special file opened, and of a file only small pieces are
read.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import stat
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from commands.sweep.found import FoundDump, name_of, sort_out, written_at
from commands.sweep.look import Deliver, Findings, Terms, Told
from commands.sweep.naming import Owner
from commands.sweep.reading import Unreadable, read_content, time_of_death
from integrations.kernel import read_crash
from integrations.kernel.crashdirs import CrashDump, read_listing

_MOST_ENTRIES = 200_000


class CentralLook:
    """One central directory. Its methods raise OSError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def listed(self) -> Sequence[CrashDump]:
        """The crash directories that are there. Blocking."""
        return read_listing(_listing(self.path)[0])

    async def look(
        self,
        owner: Callable[[str], Owner],
        told_of: Callable[[Iterable[str]], Awaitable[dict[str, Told]]],
        terms: Terms,
        deliver: Deliver,
        findings: Findings,
    ) -> str:
        """Fills `findings` and delivers each dump that nobody told of; returns a remark for people.

        `told_of(hosts)`: what is known of each host's crashes. Raises OSError when the directory cannot be read.
        """
        listing, more = await asyncio.to_thread(_listing, self.path)
        by_host: dict[str, list[CrashDump]] = {}
        for dump in read_listing(listing):
            if dump.test:
                findings.tests += 1
                continue
            its = owner(name_of(dump))
            if its.host is not None:
                by_host.setdefault(its.host, []).append(dump)
                continue
            why, count = findings.unplaced.get(its.called, (its.why, 0))
            findings.unplaced[its.called] = (why, count + 1)
        told = await told_of(by_host)
        room = terms.most
        for host, dumps in sorted(by_host.items()):
            known = told.get(host, Told())
            is_known = functools.partial(known.of, host)
            sorted_out = sort_out(dumps, is_known, now=terms.now, settle=terms.settle, most=room)
            room -= len(sorted_out.fresh)
            findings.add(sorted_out)
            findings.seen |= {(host, name_of(dump)) for dump in dumps}
            findings.known -= sum(known.by_this_sweep(host, (name_of(d),)) for d in dumps)
            for dump in sorted_out.fresh:
                await self._read(host, dump, terms, deliver, findings)
        return f"it holds more than {_MOST_ENTRIES} entries: not all were looked at" if more else ""

    async def _read(
        self, host: str, dump: CrashDump, terms: Terms, deliver: Deliver, findings: Findings
    ) -> None:
        try:
            content = await read_content(self, dump)
        except Unreadable as error:
            findings.unread.append(f"{name_of(dump)} ({error})")
            return
        crash = await asyncio.to_thread(read_crash, content.text)
        death = await time_of_death(
            dump, content.info, crash.uptime if crash.crash else None, (), _no_journal, now=terms.now
        )
        await deliver(
            FoundDump(
                host=host,
                directory=name_of(dump),
                place=str(self.path / dump.directory),
                layout=dump.family,
                text=content.text,
                digest=content.digest,
                died=death.at,
                crash_time=death.crash_time,
                saved_at=dump.stamp or written_at(dump) or death.at,
                stamped=dump.stamp is not None,
                release=content.info.release if content.info is not None else None,
                dump_path=str(self.path / dump.dump.path) if dump.dump is not None else None,
                dump_size=dump.dump.size if dump.dump is not None else None,
                complete=content.complete,
                reason=content.completeness.reason if content.completeness is not None else "",
                central=str(self.path),
            )
        )

    async def part(self, path: str, size: int, offset: int, length: int) -> bytes:
        try:
            return await asyncio.to_thread(_part, self.path, path, offset, length)
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from error


async def _no_journal(_index: int) -> str | None:
    return None


def _listing(root: Path) -> tuple[str, bool]:
    """As `find ROOT -mindepth 1 -maxdepth 2 -printf '%P\\t%y\\t%s\\t%T@\\n'` would list it, and whether there was more
    than is taken. Names with control characters are no crash directory's and are left out."""
    rows: list[str] = []
    with os.scandir(root) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if len(rows) >= _MOST_ENTRIES:
                return "\n".join(rows), True
            row = _row(entry, "")
            if row is None:
                continue
            rows.append(row)
            if "\td\t" in row:
                rows += _inside(entry)
    return "\n".join(rows), False


def _inside(folder: os.DirEntry[str]) -> list[str]:
    try:
        with os.scandir(folder.path) as entries:
            return [row for entry in entries if (row := _row(entry, f"{folder.name}/")) is not None]
    except (PermissionError, FileNotFoundError):
        return []  # one that kdump keeps to itself, or that went away meanwhile: it counts as empty


def _row(entry: os.DirEntry[str], prefix: str) -> str | None:
    if not entry.name.isprintable():
        return None
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    kind = "d" if stat.S_ISDIR(found.st_mode) else "f" if stat.S_ISREG(found.st_mode) else ""
    return f"{prefix}{entry.name}\t{kind}\t{found.st_size}\t{found.st_mtime:.6f}" if kind else None


def _part(root: Path, path: str, offset: int, length: int) -> bytes:
    """Each step is opened in the directory before it and follows no link, so that nothing can lead outside."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *above, name = path.split("/")
        for step in above:
            inner = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(name, flags, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            return _read_at(file, offset, length)
        finally:
            os.close(file)
    finally:
        os.close(folder)


def _read_at(file: int, offset: int, length: int) -> bytes:
    """Fewer bytes at the end of the file."""
    pieces: list[bytes] = []
    while length > 0 and (piece := os.pread(file, min(length, 1 << 20), offset)):
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces)
