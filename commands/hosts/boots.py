"""Which boot crashed: chosen by looking at the boots that the journal knows, never by counting back.

With kdump-tools, the boot before this one is the capture kernel's, whose command line has
`systemd.unit=kdump-tools-dump.service`; the boot that crashed is the one before. Without kdump, or where the capture
kernel kept no journal (RHEL's lives in its initramfs), it is the boot before this one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# Added by kexec for the capture kernel: where the dead kernel's memory is described, and what it is to do.
_CAPTURE = re.compile(
    r"\belfcorehdr=|\bsystemd\.unit=kdump-tools-dump\.service\b|\breset_devices\b|\bkdump_saveinitrd\b"
)
_COMMAND_LINE = re.compile(r"\bkernel: (?:\[ *\d+\.\d+\] )?(?:Kernel c|C)ommand line: (.*)$", re.MULTILINE)
_ROW = re.compile(
    r"^ *(-?\d+) ([0-9a-f]{32}) \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (\S+)\s*(?:—|-|–)?\s*"
    r"\w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (\S+)$"
)


@dataclass(frozen=True)
class Boot:
    """One boot as `journalctl --list-boots` tells it; times are aware, None where the zone was not UTC."""

    index: int
    boot_id: str
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Choice:
    """The boot that crashed and why it is thought to be it; `boot` is None when the journal has none."""

    boot: Boot | None
    reason: str
    capture: Boot | None = None  # the capture kernel's boot, where there was one


def read_boots(text: str) -> tuple[Boot, ...]:
    """The output of `journalctl --list-boots`, as JSON or as a table (systemd before 251). Oldest first."""
    found = _read_json(text) if text.lstrip().startswith("[") else _read_table(text)
    return tuple(sorted(found, key=lambda b: b.index))


def command_line(journal: str) -> str | None:
    """The kernel's command line from a boot's kernel journal; None when its beginning is not there."""
    match = _COMMAND_LINE.search(journal)
    return match[1].strip() if match else None


def is_capture_kernel(line: str | None) -> bool:
    return line is not None and _CAPTURE.search(line) is not None


def choose(
    boots: tuple[Boot, ...],
    command_lines: Mapping[int, str | None],
    *,
    boot_id: str | None = None,
    occurred_at: datetime | None = None,
) -> Choice:
    """The boot that crashed.

    `command_lines` are those that were looked at, by index. `boot_id` is the crashed boot's as the host
    reported it; `occurred_at` when it died.
    """
    past = [b for b in boots if b.index < 0]
    captures = [b for b in past if is_capture_kernel(command_lines.get(b.index))]
    normal = [b for b in past if b not in captures]
    if boot_id:
        wanted = boot_id.replace("-", "").lower()
        named = next((b for b in past if b.boot_id == wanted and b in normal), None)
        if named is not None:
            return Choice(
                named, f"boot {named.index}: its id is the one the host reported", _after(named, captures)
            )
    if occurred_at is not None:
        before = [
            b for b in normal if b.first is not None and b.first <= occurred_at + timedelta(seconds=120)
        ]
        if (
            before
            and before[-1].last is not None
            and abs(before[-1].last - occurred_at) < timedelta(minutes=30)
        ):
            chosen = before[-1]
            return Choice(chosen, f"boot {chosen.index}: {_why(chosen, captures)}", _after(chosen, captures))
    if not normal:
        return Choice(
            None,
            "the journal holds no earlier boot (is it kept on disk?)",
            captures[-1] if captures else None,
        )
    chosen = normal[-1]
    return Choice(chosen, f"boot {chosen.index}: {_why(chosen, captures)}", _after(chosen, captures))


def _why(chosen: Boot, captures: list[Boot]) -> str:
    capture = _after(chosen, captures)
    if capture is not None:
        return f"boot {capture.index} is kdump's capture kernel, by its command line"
    return "the last one before this boot that is not kdump's capture kernel"


def _after(chosen: Boot, captures: list[Boot]) -> Boot | None:
    return next((b for b in captures if b.index == chosen.index + 1), None)


def _read_json(text: str) -> list[Boot]:
    try:
        rows = json.loads(text)
    except ValueError:
        return []
    found = []
    for row in rows if isinstance(rows, list) else []:
        if not isinstance(row, dict):
            continue
        index, boot_id = row.get("index"), row.get("boot_id")
        if isinstance(index, int) and isinstance(boot_id, str) and re.fullmatch(r"[0-9a-f]{32}", boot_id):
            found.append(Boot(index, boot_id, _micro(row.get("first_entry")), _micro(row.get("last_entry"))))
    return found


def _read_table(text: str) -> list[Boot]:
    found = []
    for line in text.splitlines():
        match = _ROW.match(line.rstrip())
        if match:
            found.append(
                Boot(int(match[1]), match[2], _stamp(match[3], match[4]), _stamp(match[5], match[6]))
            )
    return found


def _micro(value: object) -> datetime | None:
    """Microseconds since the epoch."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**17:
        return None
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
    except OverflowError:
        return None


def _stamp(text: str, zone: str) -> datetime | None:
    if zone.rstrip("—–-") != "UTC":
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
