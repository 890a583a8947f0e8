"""The errors a verb may answer with.

CommandError
├── BadArguments     what was typed cannot be understood
├── NotFound         no such panic, incident, run
├── Refused          the role does not suffice
└── Impossible       understood and allowed, yet it cannot be done now
"""

from __future__ import annotations


class CommandError(Exception):
    """Something went wrong with this command. Try `/panic help`."""

    def __init__(self, message: str | None = None, *, example: str | None = None) -> None:
        self.example = example
        super().__init__(message or (type(self).__doc__ or "").strip())


class BadArguments(CommandError):
    """I could not understand that. Try `/panic help`."""


class NotFound(CommandError):
    """There is no such panic. `/panic list` shows what there is."""


class Refused(CommandError):
    """You may not do that. Ask an admin of Panicroom for the role."""


class Impossible(CommandError):
    """That cannot be done now."""
