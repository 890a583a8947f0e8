"""Programs that read crash dumps (drgn, crash, makedumpfile), each in a process with limits."""

from __future__ import annotations

from integrations.crashtool.bounded import Bounds, Ended, run_bounded
from integrations.crashtool.errors import (
    CrashToolError,
    OutOfMemory,
    OutOfTime,
    ToolFailed,
    ToolMissing,
    UnreadableDump,
    WrongVmlinux,
)
from integrations.crashtool.tools import Analysis, Tools

__all__ = [
    "Analysis",
    "Bounds",
    "CrashToolError",
    "Ended",
    "OutOfMemory",
    "OutOfTime",
    "ToolFailed",
    "ToolMissing",
    "Tools",
    "UnreadableDump",
    "WrongVmlinux",
    "run_bounded",
]
