"""What can go wrong in the search for debug information.

DebuginfoError
├── NoVmlinux          no directory holds it
├── WrongFile          a file that is not the debug information of this kernel
├── NotServed          the server does not have it
├── TooLarge           it is larger than what is allowed
├── DebuginfodRefused  the server does not let us
└── DebuginfodDown     transient: it does not answer, or broke off
"""

from __future__ import annotations


class DebuginfoError(Exception):
    """The debug information could not be had. See the log for the reason."""

    permanent: bool = True

    def __init__(self, facts: str = "") -> None:
        default = " ".join((type(self).__doc__ or "").split())
        super().__init__(f"{facts} {default}".strip() if facts else default)


class NoVmlinux(DebuginfoError):
    """None of `[analysis] debuginfo_dirs` holds the vmlinux of this kernel."""


class WrongFile(DebuginfoError):
    """It was refused: only the vmlinux with debug information of the very build that crashed can be used."""


class NotServed(DebuginfoError):
    """The debuginfod server does not have this build. Install the package, and set `[analysis] debuginfo_dirs`."""


class TooLarge(DebuginfoError):
    """It was not taken. `[analysis] download_limit` and `cache_limit` say how large it may be."""


class DebuginfodRefused(DebuginfoError):
    """Look at `[analysis] debuginfod_urls`: the server refused the request."""


class DebuginfodDown(DebuginfoError):
    """The debuginfod server does not answer. Try again later, or name another in `[analysis] debuginfod_urls`."""

    permanent = False
