"""Crash directories of the Debian, RHEL and SUSE families, read from a listing of names.

Layouts (kdump-tools 1.8-1.10, kdump-utils/kexec-tools, SUSE kdump 2.x):
  Debian  `YYYYMMDDHHMM/{dump,vmcore}.STAMP[.gz|.xz|.bz2|.lz4|.zst]`, `dmesg.STAMP`; remote `HOST-YYYYMMDDHHMM/`;
          FTP targets have the files without a directory
  RHEL    `IP-YYYY-MM-DD-HH:MM:SS/{vmcore,vmcore.flat,vmcore-dmesg.txt,kexec-dmesg.log}`; `kdump-test-ID/`
  SUSE    `[HOST-]YYYY-MM-DD-HH-MM/{vmcore,dmesg,README.txt}`; older `...-HH:MM`
Apport's `*.crash` files are of user space and are passed over, as are `kexec_cmd`, `kdump_lock`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class CrashFile:
    """`path` is relative to the crash directory, `size` in bytes."""

    path: str
    size: int
    mtime: datetime


@dataclass(frozen=True, slots=True)
class CrashDump:
    """What one crash left. `stamp` is when the dump was saved, not when the kernel died; the directory's
    name is in the capture kernel's zone: it is taken as UTC unless the files' own times show the zone."""

    directory: str
    family: str
    stamp: datetime | None
    dump: CrashFile | None
    dmesg: CrashFile | None
    incomplete: bool
    test: bool


_DEBIAN = re.compile(r"(?:(?P<host>[\w.:-]{1,255})-)?(?P<stamp>\d{12})\Z")
_RHEL = re.compile(r"(?:(?P<host>[\w.:-]{1,255}?)-)?(?P<stamp>\d{4}-\d{2}-\d{2}-\d{2}:\d{2}:\d{2})\Z")
_SUSE = re.compile(r"(?:(?P<host>[\w.:-]{1,255}?)-)?(?P<stamp>\d{4}-\d{2}-\d{2}-\d{2}[-:]\d{2})\Z")
_TEST = re.compile(r"kdump-test-[\w.-]{1,128}\Z")
_FORMATS = {
    "debian": ("%Y%m%d%H%M",),
    "rhel": ("%Y-%m-%d-%H:%M:%S",),
    "suse": ("%Y-%m-%d-%H-%M", "%Y-%m-%d-%H:%M"),
}
_PACKED = r"(?:\.(?:gz|xz|bz2|lz4|zst|lzo))?"
_DUMP = re.compile(rf"(?:dump|vmcore)(?:\.\d{{12}})?(?:\.flat)?{_PACKED}\Z")
_DUMP_PART = re.compile(
    rf"(?:dump|vmcore)(?:\.flat)?-incomplete(?:\.\d{{12}})?(?:\.flat)?{_PACKED}\Z|vmcore\.tmp\Z"
)
_DMESG = re.compile(r"(?:dmesg(?:\.\d{12}|\.txt)?|vmcore-dmesg\.txt)\Z")
_DMESG_PART = re.compile(r"(?:vmcore-)?dmesg-incomplete(?:\.txt)?\Z")
_LOOSE = re.compile(rf"(?:(?:dump|vmcore)\.(?P<a>\d{{12}}){_PACKED}|dmesg\.(?P<b>\d{{12}}))\Z")
_QUARTER = timedelta(minutes=15)
# Offsets between UTC and a zone's time that are no whole hours, in quarters of an hour as `UTC - local`: India,
# Nepal, Iran, Afghanistan, Myanmar, central Australia, Eucla, Lord Howe, Chatham, Newfoundland, the Marquesas.
_ODD_ZONES = frozenset({-22, -23, -14, -18, -26, -38, -42, -35, -51, -55, 14, 10, 38})
_FARTHEST_ZONE = timedelta(hours=14, minutes=15)


@dataclass(slots=True)
class _Entry:
    name: str
    file: CrashFile


def _family(name: str) -> tuple[str, str | None] | None:
    """(family, stamp text) of a directory's name."""
    for family, pattern in (("debian", _DEBIAN), ("rhel", _RHEL), ("suse", _SUSE)):
        if match := pattern.match(name):
            return family, match["stamp"]
    return ("rhel", None) if _TEST.match(name) else None


def _time(family: str, stamp: str | None) -> datetime | None:
    for form in _FORMATS[family] if stamp else ():
        try:
            return datetime.strptime(stamp or "", form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None


def _zoned(stamp: datetime | None, saved: CrashFile | None) -> datetime | None:
    """Moves a local stamp to UTC when the first file was written whole quarter-hours from it."""
    if stamp is None or saved is None:
        return stamp
    apart = saved.mtime - stamp
    if abs(apart) > _FARTHEST_ZONE:
        return stamp
    quarters = round((apart - timedelta(minutes=2)) / _QUARTER)
    if quarters % 4 and quarters not in _ODD_ZONES:
        return stamp
    remainder = apart - quarters * _QUARTER
    return (
        stamp + quarters * _QUARTER if -timedelta(minutes=1) <= remainder <= timedelta(minutes=5) else stamp
    )


def _entry(line: str) -> tuple[list[str], str, CrashFile] | None:
    """(path parts, type, file) of one `path\\ttype\\tsize\\tmtime` line; None if the line is no such thing."""
    parts = line.rsplit("\t", 3)
    if len(parts) != 4:
        return None
    path, kind, size, mtime = parts
    pieces = path.split("/")
    if not path or path.startswith("/") or any(p in ("", ".", "..") for p in pieces) or not size.isdecimal():
        return None
    try:
        when = datetime.fromtimestamp(float(mtime), UTC)
        return pieces, kind, CrashFile(path, int(size), when)
    except (ValueError, OverflowError, OSError):
        return None


def _first(entries: list[_Entry], pattern: re.Pattern[str]) -> CrashFile | None:
    return max(
        (e.file for e in entries if pattern.match(e.name)), key=lambda f: (f.size, f.path), default=None
    )


def _crash_dump(directory: str, family: str, stamp: str | None, entries: list[_Entry]) -> CrashDump:
    dump = _first(entries, _DUMP)
    part = _first(entries, _DUMP_PART)
    dmesg = _first(entries, _DMESG)
    dmesg_part = _first(entries, _DMESG_PART)
    cut = (dump is None and (part is not None or dmesg_part is not None)) or (
        dump is not None and dump.size == 0
    )
    empty = dump is None and part is None and dmesg is None and dmesg_part is None
    first = min((e.file for e in entries), key=lambda f: f.mtime, default=None)
    return CrashDump(
        directory=directory,
        family=family,
        stamp=_zoned(_time(family, stamp), first),
        dump=dump or part,
        dmesg=dmesg or dmesg_part,
        incomplete=cut or empty or (dmesg is None and dmesg_part is not None),
        test=bool(_TEST.match(directory)),
    )


def read_listing(lines: str) -> tuple[CrashDump, ...]:
    """Reads `find DIR -mindepth 1 -maxdepth 2 -printf '%P\\t%y\\t%s\\t%T@\\n'`: one `CrashDump` a crash, oldest
    first (those without a stamp last). Lines and names of no known layout are passed over; never raises."""
    found: dict[str, tuple[str, str | None]] = {}
    inside: dict[str, list[_Entry]] = {}
    loose: dict[str, list[_Entry]] = {}
    for line in lines.split("\n"):
        entry = _entry(line.rstrip("\r"))
        if entry is None:
            continue
        pieces, kind, file = entry
        if len(pieces) == 1 and kind == "f" and (match := _LOOSE.match(pieces[0])):
            loose.setdefault(match["a"] or match["b"], []).append(_Entry(pieces[0], file))
        family = _family(pieces[0])
        if family is None or (len(pieces) == 1 and kind != "d"):
            continue
        found[pieces[0]] = family
        if len(pieces) == 2 and kind == "f":
            inside.setdefault(pieces[0], []).append(_Entry(pieces[1], file))
    dumps = [
        _crash_dump(name, family, stamp, inside.get(name, [])) for name, (family, stamp) in found.items()
    ]
    dumps += [_crash_dump("", "debian", stamp, entries) for stamp, entries in loose.items()]
    far = datetime.max.replace(tzinfo=UTC)
    return tuple(sorted(dumps, key=lambda d: (d.stamp or far, d.directory)))
