"""Package histories, read to one shape: what was installed or upgraded when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_START = re.compile(r"^Start-Date: (\d{4}-\d\d-\d\d)\s+(\d\d:\d\d:\d\d)$")
_ACTION = re.compile(r"^(Install|Upgrade|Downgrade|Reinstall|Remove|Purge): (.*)$")
_ITEM = re.compile(r"([a-z0-9][a-z0-9.+-]*)(?::[a-z0-9]+)? \(([^()]*)\)")
_KERNEL = re.compile(r"^(linux-(image|modules)-|kernel(-core|-modules|-default|-rt|-uek|-64k)?$)")
_FIRMWARE = re.compile(r"firmware|microcode|ucode|fwupd")
_DRIVER = re.compile(
    r"dkms|^kmod-|-kmp-|mlnx|ofed|nvidia|^(ixgbe|i40e|ice|igb|iavf|bnxt|mlx[45]|qede|tg3|be2net|ena|gve)\b|kmp"
)


@dataclass(frozen=True)
class PackageChange:
    """One package at one time (UTC). `action` is install, upgrade, remove, …; `version` the one after it."""

    at: datetime
    action: str
    name: str
    version: str

    @property
    def sort(self) -> str:
        """kernel, firmware, driver or other."""
        if _KERNEL.search(self.name):
            return "kernel"
        if _FIRMWARE.search(self.name):
            return "firmware"
        return "driver" if _DRIVER.search(self.name) else "other"


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
            versions = [v.strip() for v in item[2].split(",") if v.strip() != "automatic"]
            found.append(PackageChange(at, action[1].lower(), item[1], versions[-1] if versions else ""))
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


def _time(text: str, zone_offset: int) -> datetime | None:
    try:
        local = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        return local - timedelta(seconds=zone_offset)
    except (ValueError, OverflowError):
        return None
