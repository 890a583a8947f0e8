"""Package histories, read to one shape: what was installed or upgraded when."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

_START = re.compile(r"^Start-Date: (\d{4}-\d\d-\d\d)\s+(\d\d:\d\d:\d\d)$")
_ACTION = re.compile(r"^(Install|Upgrade|Downgrade|Reinstall|Remove|Purge): (.*)$")
_ITEM = re.compile(r"([a-z0-9][a-z0-9.+-]*)(?::[a-z0-9]+)? \(([^()]*)\)")
_KERNEL = re.compile(r"^(linux-(image|modules)-|kernel(-core|-modules|-default|-rt|-uek|-64k)?$)")
_FIRMWARE = re.compile(r"firmware|microcode|ucode|fwupd")
_DRIVER = re.compile(
    r"dkms|^kmod-|-kmp-|mlnx|ofed|nvidia|^(ixgbe|i40e|ice|igb|iavf|bnxt|mlx[45]|qede|tg3|be2net|ena|gve)\b|kmp"
)


class PackageChange(NamedTuple):
    """One package at one time (UTC). `action` is install, upgrade, remove, …; `version` the one after it."""

    at: datetime
    action: str
    name: str
    version: str

    @property
    def sort(self) -> str:
        """kernel, firmware, driver or other."""
        return _sort_of(self.name)


@lru_cache(maxsize=8192)
def _sort_of(name: str) -> str:
    if _KERNEL.search(name):
        return "kernel"
    if _FIRMWARE.search(name):
        return "firmware"
    return "driver" if _DRIVER.search(name) else "other"


def read_apt(text: str, zone_offset: int = 0) -> tuple[PackageChange, ...]:
    """/var/log/apt/history.log. Its times are the host's local ones; `zone_offset` is in seconds east of UTC."""
    found: list[PackageChange] = []
    at: datetime | None = None
    for line in text.splitlines():
        start = _START.match(line)
        if start:
            at = _time(f"{start[1]} {start[2]}", zone_offset)
            continue
        action = _ACTION.match(line)
        if action is None or at is None:
            continue
        for item in _ITEM.finditer(action[2]):
            version = item[2].removesuffix("automatic").rstrip(", ").rpartition(",")[2].strip()
            found.append(PackageChange(at, action[1].lower(), item[1], version))
    return tuple(found)


def read_rpm(text: str) -> tuple[PackageChange, ...]:
    """`rpm -qa --qf '%{INSTALLTIME}\\t%{NAME}\\t%{VERSION}-%{RELEASE}\\n'`: what is installed, since when."""
    found = []
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) != 3 or not parts[0].isascii() or not parts[0].isdecimal() or len(parts[0]) > 11:
            continue
        found.append(PackageChange(datetime.fromtimestamp(int(parts[0]), UTC), "install", parts[1], parts[2]))
    return tuple(sorted(found, key=lambda c: (c.at, c.name)))


def read_zypper(text: str, zone_offset: int = 0) -> tuple[PackageChange, ...]:
    """/var/log/zypp/history: `2026-11-20 10:00:01|install|kernel-default|6.4.0-150600.23|x86_64|…`, in local time."""
    found = []
    for line in text.splitlines():
        parts = line.split("|")
        if line.startswith("#") or len(parts) < 4 or parts[1].strip() not in ("install", "remove"):
            continue
        at = _time(parts[0].strip(), zone_offset)
        if at is not None:
            found.append(PackageChange(at, parts[1].strip(), parts[2].strip(), parts[3].strip()))
    return tuple(found)


_DNF = re.compile(r"^\s*(\d+) \| (.*?) *\| (\d{4}-\d\d-\d\d \d\d:\d\d) +\| ([A-Za-z, ]+?) *\|")


def read_dnf(text: str, zone_offset: int = 0) -> tuple[PackageChange, ...]:
    """`dnf history list`, in local time: one row a transaction, told by its command line (`upgrade -y kernel`)."""
    found = []
    for line in text.splitlines():
        match = _DNF.match(line)
        at = _time(f"{match[3]}:00", zone_offset) if match else None
        if match is not None and at is not None:
            found.append(PackageChange(at, "transaction", f"dnf {match[2].strip() or match[4]}"[:120], ""))
    return tuple(found)


def _time(text: str, zone_offset: int) -> datetime | None:
    try:
        local = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        return local - timedelta(seconds=zone_offset)
    except (ValueError, OverflowError):
        return None
