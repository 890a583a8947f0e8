"""What a replayed host answers to a command: from its capture or from the facts of its boot, never from a shell."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.demo.hosts import crashdir, readiness
from bot.demo.hosts.instance import Instance
from bot.demo.hosts.timeline import span, utc

HELPER = "/usr/local/sbin/panicroom-host"
DMI = "/sys/class/dmi/id/"
# the files that `cat` finds, by their names in the package
_FILES = {
    "/proc/cmdline": "cmdline",
    "/etc/os-release": "os-release",
    "/proc/meminfo": "meminfo",
    "/proc/sys/kernel/tainted": "tainted",
    "/etc/default/kdump-tools": "kdump-defaults",
    "/var/log/apt/history.log": "apt-history",
}
# the commands whose output is kept word for word, by argv
_OUTPUTS: dict[tuple[str, ...], str] = {
    ("uname", "-a"): "uname",
    ("dmesg",): "dmesg",
    ("lsmod",): "lsmod",
    ("lscpu",): "lscpu",
    ("df", "-hT"): "df",
    ("df", "-i"): "df-inodes",
    ("kdump-config", "show"): "kdump-show",
    ("systemctl", "--failed", "--no-pager"): "failed-units",
    ("dpkg", "-l", "linux-image*", "kdump-tools", "makedumpfile", "kexec-tools"): "dpkg",
}
_UNITS = {"kdump-tools": ("kdump-status", 0), "systemd-pstore": ("pstore-status", 3)}
_SINCE = re.compile(r"\b(\w{3} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC; .+? ago\b")
_LAST_RANGE = re.compile(
    r"(\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}) - (\w{3} \w{3} [ \d]\d [\d:]{8} \d{4})  \(.*?\)"
)


@dataclass(frozen=True)
class Answer:
    """A command's result: bytes of both streams and the exit status."""

    stdout: bytes = b""
    stderr: bytes = b""
    status: int = 0


def answer(instance: Instance, command: str, now: float) -> Answer:
    """Answer one exec request. `command` is split as a POSIX shell would split words; nothing in it is ever run.

    `now` is in seconds since the epoch. What the capture does not hold exits 127, "command not found".
    """
    try:
        argv = tuple(shlex.split(command))
    except ValueError as wrong:
        return _failed(2, f"sh: 1: Syntax error: {wrong}")
    if not argv:
        return Answer()
    if argv in _OUTPUTS:
        return _text(instance.file(_OUTPUTS[argv]) or "")
    told = readiness.answer(instance, argv, now)
    if told is not None:
        return Answer(*told)
    handler = _COMMANDS.get(argv[0])
    found = handler(instance, argv[1:], now) if handler else None
    return found or _failed(127, f"sh: 1: {argv[0]}: not found in this capture: command not found")


def _cat(instance: Instance, paths: Sequence[str], now: float) -> Answer | None:
    out, err = [], []
    for path in paths:
        text = _file(instance, path, now)
        if text is None:
            err.append(f"cat: {path}: No such file or directory\n")
        else:
            out.append(text)
    return Answer("".join(out).encode("utf-8", "surrogateescape"), "".join(err).encode(), 1 if err else 0)


def _file(instance: Instance, path: str, now: float) -> str | None:
    if path in _FILES:
        return instance.file(_FILES[path])
    if path == "/proc/uptime":
        up = max(now - instance.booted_at, 0.0)
        total, idle = (float(n) for n in instance.capture.files["uptime"].splitlines()[1].split())
        return f"{up:.2f} {up * idle / total:.2f}\n"
    if path == "/proc/sys/kernel/random/boot_id":
        return f"{instance.boot_id()}\n"
    for line in instance.capture.files["kexec"].splitlines():
        name, _, value = line.partition(":")
        if name == path:
            return f"{value}\n"
    return None


def _uptime(instance: Instance, options: Sequence[str], now: float) -> Answer | None:
    return _text(f"{utc(instance.booted_at):%Y-%m-%d %H:%M:%S}\n") if options == ("-s",) else None


def _tail(instance: Instance, options: Sequence[str], now: float) -> Answer | None:
    if len(options) != 3 or options[0] != "-n" or not options[1].isdecimal():
        return None
    text = _file(instance, options[2], now)
    if text is None:
        return _failed(1, f"tail: cannot open '{options[2]}' for reading: No such file or directory")
    count = int(options[1])
    return _text("".join(text.splitlines(keepends=True)[-count:] if count else []))


def _journalctl(instance: Instance, options: Sequence[str], now: float) -> Answer | None:
    if options[:1] == ("--list-boots",):
        return _list_boots(instance, options[1:])
    if len(options) == 6 and options[0] == "-b" and options[2:] == ("-k", "-o", "short-iso", "--no-pager"):
        return _journal(instance, options[1])
    whole = ("-o", "short-iso", "--no-pager", "-n")
    if len(options) == 7 and options[0] == "-b" and options[2:6] == whole and options[6].isdecimal():
        return _journal_tail(instance, options[1], int(options[6]))
    return None


def _list_boots(instance: Instance, options: Sequence[str]) -> Answer | None:
    if options == ("--no-pager", "-o", "json"):
        rows = [
            {"index": b.index, "boot_id": b.boot_id, "first_entry": b.first_entry, "last_entry": b.last_entry}
            for b in instance.boots
        ]
        return _text(json.dumps(rows, separators=(",", ":")) + "\n")
    if options != ("--no-pager",):
        return None
    lines = ["IDX BOOT ID                          FIRST ENTRY                 LAST ENTRY"]
    for boot in instance.boots:
        first, last = (
            f"{utc(t / 1e6):%a %Y-%m-%d %H:%M:%S} UTC" for t in (boot.first_entry, boot.last_entry)
        )
        lines.append(f"{boot.index:3d} {boot.boot_id} {first} {last}")
    return _text("\n".join(lines) + "\n")


def _journal(instance: Instance, boot: str) -> Answer:
    if not re.fullmatch(r"-?\d{1,3}", boot) or instance.boot_id(int(boot)) is None:
        return _failed(
            1, f"Data from the specified boot ({boot}) is not available: No such boot ID in journal"
        )
    text = instance.file(f"journal-{abs(int(boot))}") if int(boot) <= 0 else None
    return _text(text) if text is not None else _failed(1, f"this capture holds no journal of boot {boot}")


def _journal_tail(instance: Instance, boot: str, count: int) -> Answer:
    """The last lines of a boot's whole journal: as many as the capture keeps, and a word when that is fewer."""
    if not re.fullmatch(r"-\d{1,3}", boot) or instance.boot_id(int(boot)) is None:
        return _failed(
            1, f"Data from the specified boot ({boot}) is not available: No such boot ID in journal"
        )
    text = instance.file(f"journal-{abs(int(boot))}-tail")
    if text is None:
        return _failed(1, f"this capture holds no whole journal of boot {boot}")
    lines = text.splitlines(keepends=True)
    kept = lines[-count:] if count else []
    note = f"this capture keeps the last {len(lines)} lines\n" if count > len(lines) else ""
    return Answer("".join(kept).encode("utf-8", "surrogateescape"), note.encode())


def _last(instance: Instance, options: Sequence[str], now: float) -> Answer | None:
    if options[:3] != ("-x", "-F", "-n") or len(options) != 4 or not options[3].isdecimal():
        return None
    text = instance.file("last") or ""
    records, _, begins = text.partition("\n\n")
    rows = records.splitlines()
    if instance.crashed_at is None:
        newest = next((n for n, row in enumerate(rows) if row.startswith("reboot")), len(rows) - 1)
        rows = rows[: newest + 1]
        since = re.search(r"\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}", rows[-1]) if rows else None
        begins = f"wtmp begins {since[0]}\n" if since else begins
    kept = [_LAST_RANGE.sub(_with_length, row) for row in rows[: int(options[3])]]
    return _text("\n".join(kept) + "\n\n" + begins)


def _with_length(match: re.Match[str]) -> str:
    first, last = (datetime.strptime(t, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC) for t in match.groups())
    minutes = int((last - first).total_seconds()) // 60
    return f"{match[1]} - {match[2]}  ({minutes // 60:02d}:{minutes % 60:02d})"


def _systemctl(instance: Instance, options: Sequence[str], now: float) -> Answer | None:
    if len(options) != 4 or options[0] != "status" or options[2:] != ("--no-pager", "-l"):
        return None
    unit = options[1].removesuffix(".service")
    if unit not in _UNITS:
        return _failed(4, f"Unit {unit}.service could not be found.")
    name, status = _UNITS[unit]

    def ago(match: re.Match[str]) -> str:
        since = datetime.strptime(match[1], "%a %Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        return f"{match[1]} UTC; {span(now - since.timestamp())} ago"

    text = instance.file(name)
    return None if text is None else _text(_SINCE.sub(ago, text), status)


def _grep(instance: Instance, options: Sequence[str], now: float) -> Answer | None:
    """`grep -s "" FILE…` over the DMI identity: "path:value" lines; 2 when a file is not there, as grep does."""
    if options[:2] != ("-s", "") or not all(path.startswith(DMI) for path in options[2:]):
        return None
    known = dict(line.split(": ", 1) for line in instance.capture.files["dmi"].splitlines() if ": " in line)
    out, missing = [], False
    for path in options[2:]:
        name = path.removeprefix(DMI)
        if name in known:
            out.append(f"{path}:{known[name]}\n")
        else:
            missing = True
    return _text("".join(out), 2 if missing else 0)


def _sysctl(instance: Instance, names: Sequence[str], now: float) -> Answer | None:
    if not names or any(name.startswith("-") for name in names):
        return None
    known = dict(
        line.split(" = ", 1) for line in instance.capture.files["sysctl"].splitlines() if " = " in line
    )
    out = [f"{name} = {known[name]}\n" for name in names if name in known]
    err = [
        f"sysctl: cannot stat /proc/sys/{name.replace('.', '/')}: No such file or directory\n"
        for name in names
        if name not in known
    ]
    return Answer("".join(out).encode(), "".join(err).encode(), 255 if err else 0)


def _sudo(instance: Instance, argv: Sequence[str], now: float) -> Answer | None:
    if argv[:2] != ("-n", HELPER):
        return _failed(1, "sudo: a password is required")
    if argv[2:3] in (("pstore-list",), ("pstore-read",)):
        return _pstore(instance, argv[2:])
    stdout, stderr, status = crashdir.helper(instance, argv[2:])
    return Answer(stdout, stderr, status)


def _pstore(instance: Instance, argv: Sequence[str]) -> Answer:
    """The helper over systemd-pstore's archive: the one text that the capture keeps, archived by the next boot."""
    if instance.crashed_at is None or not instance.capture.pstore:
        return _failed(69, "panicroom-host: there is no archive of pstore /var/lib/systemd/pstore")
    text = instance.tell(instance.capture.pstore).encode("utf-8", "surrogateescape")
    path = f"{int(instance.crashed_at)}/dmesg.txt"
    if tuple(argv) == ("pstore-list",):
        return Answer(f"{path}\tf\t{len(text)}\t{instance.booted_at:.10f}\n".encode())
    if tuple(argv) == ("pstore-read", path):
        return Answer(text)
    return _failed(1, "panicroom-host: no such file in the archive of pstore")


def _text(text: str, status: int = 0) -> Answer:
    return Answer(text.encode("utf-8", "surrogateescape"), b"", status)


def _failed(status: int, message: str) -> Answer:
    return Answer(b"", f"{message}\n".encode("utf-8", "surrogateescape"), status)


_Handler = Callable[[Instance, Sequence[str], float], Answer | None]
_COMMANDS: dict[str, _Handler] = {
    "cat": _cat,
    "uptime": _uptime,
    "tail": _tail,
    "journalctl": _journalctl,
    "last": _last,
    "systemctl": _systemctl,
    "grep": _grep,
    "sysctl": _sysctl,
    "sudo": _sudo,
}
