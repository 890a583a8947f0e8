"""Where kdump writes, as its configuration says, and how large a dump may become."""

from __future__ import annotations

import re
from dataclasses import dataclass

from integrations.readiness.answers import Outputs, whole

DIRECTORY = "/var/crash"
_GIB = 2**30
_USER_PAGES = 8  # this bit of makedumpfile's dump level leaves out user space
_LEVEL = re.compile(r"-d\s*(\d{1,2})(?:,\d{1,2})*\b")
# kdump.conf(5): the host has none of these mounted, or need not have.
_ELSEWHERE = (
    "nfs",
    "ssh",
    "raw",
    "ext2",
    "ext3",
    "ext4",
    "xfs",
    "btrfs",
    "minix",
    "virtiofs",
)
_PATH = re.compile(r"/[A-Za-z0-9_./-]{0,200}", re.ASCII)


@dataclass(frozen=True)
class Target:
    """`remote` is what the configuration names where dumps leave the host, or go to a disk that need not be mounted; ""
    where they stay in `directory`."""

    directory: str = DIRECTORY
    remote: str = ""
    level: int = 31


def target_of(family: str | None, out: Outputs) -> Target | None:
    """None where the configuration was not read, or the family is none that we know."""
    if out.text("config") is None:
        return None
    config = out.settings("config")
    if family == "debian":
        remote = next((f"{key}={config[key]}" for key in ("NFS", "SSH", "FTP") if config.get(key)), "")
        return Target(_path(config.get("KDUMP_COREDIR")), remote, _level(config.get("MAKEDUMP_ARGS")))
    if family == "rhel":
        remote = next((f"{key} {config[key]}" for key in _ELSEWHERE if config.get(key)), "")
        return Target(_path(config.get("path")), remote, _level(config.get("core_collector")))
    if family == "suse":
        saved = config.get("KDUMP_SAVEDIR", "")
        level = whole(config.get("KDUMP_DUMPLEVEL"))
        local = saved.removeprefix("file://")
        remote = saved if "://" in local else ""
        return Target(_path(local), remote, level if level is not None and 0 <= level <= 31 else 31)
    return None


def estimate(ram: int, level: int) -> int:
    """Bytes that a dump may take: all of RAM where user pages are in it; else 8 % of the first 64 GiB (a small host's
    kernel takes a larger share of it) and 1 % of what is beyond, 64 MiB at least."""
    if not level & _USER_PAGES:
        return ram
    first = min(ram, 64 * _GIB)
    return max(64 * 2**20, int(first * 0.08 + (ram - first) * 0.01))


def _path(told: str | None) -> str:
    """The directory; kdump's own default for what is no plain path (it is shown in commands)."""
    return told if told and _PATH.fullmatch(told) and ".." not in told.split("/") else DIRECTORY


def _level(arguments: str | None) -> int:
    found = _LEVEL.search(arguments or "")
    return int(found[1]) if found and int(found[1]) <= 31 else 31
