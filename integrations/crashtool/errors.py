"""What can go wrong when a program reads a dump.

CrashToolError
├── ToolMissing      it is not installed where the bot runs
├── UnreadableDump   what it was given is no dump that it can read
├── WrongVmlinux     the vmlinux is of another kernel
├── OutOfTime        it was ended: it took too long
├── OutOfMemory      it was ended: it took too much memory
└── ToolFailed       it ended by itself, and not well
"""

from __future__ import annotations


class CrashToolError(Exception):
    """The dump could not be read. See the log for the reason."""

    permanent: bool = True

    def __init__(self, facts: str = "") -> None:
        default = " ".join((type(self).__doc__ or "").split())
        super().__init__(f"{facts} {default}".strip() if facts else default)


class ToolMissing(CrashToolError):
    """Install it where the bot runs (`pip install drgn` into the bot's environment, or the package `crash`)."""


class UnreadableDump(CrashToolError):
    """The file is damaged, cut short, or no dump of a kernel: `/panic triage` says whether the host's is whole."""


class WrongVmlinux(CrashToolError):
    """The vmlinux must be of the very build that crashed: its build id is the dump's."""


class OutOfTime(CrashToolError):
    """It was ended. `[analysis] time_limit` and `cpu_limit` say how long it may take."""


class OutOfMemory(CrashToolError):
    """It was ended. `[analysis] memory_limit` says how much memory it may take."""


class ToolFailed(CrashToolError):
    """The program ended by itself; what it said is above, and whole in the log."""
