"""Debug information of kernels: found on disks by build id, or asked of a debuginfod server."""

from __future__ import annotations

from integrations.debuginfo.cache import Cache
from integrations.debuginfo.config import DebuginfoConfig
from integrations.debuginfo.debuginfod import Debuginfod
from integrations.debuginfo.elf import ElfFacts, read_elf
from integrations.debuginfo.errors import (
    DebuginfodDown,
    DebuginfodRefused,
    DebuginfoError,
    NotServed,
    NoVmlinux,
    TooLarge,
    WrongFile,
)
from integrations.debuginfo.local import find_vmlinux

__all__ = [
    "Cache",
    "DebuginfoConfig",
    "DebuginfoError",
    "Debuginfod",
    "DebuginfodDown",
    "DebuginfodRefused",
    "ElfFacts",
    "NoVmlinux",
    "NotServed",
    "TooLarge",
    "WrongFile",
    "find_vmlinux",
    "read_elf",
]
