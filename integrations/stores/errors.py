"""What can go wrong with a store.

StoreError
├── UnsafeName    a name that is no plain file name
├── NotKept       there is no such artefact
└── StoreFailed   the disk did not do it (full, read-only, broken)
"""

from __future__ import annotations


class StoreError(Exception):
    """The artefact store failed. See the log for the reason."""

    permanent: bool = True

    def __init__(self, facts: str = "") -> None:
        default = " ".join((type(self).__doc__ or "").split())
        super().__init__(f"{facts} {default}".strip() if facts else default)


class UnsafeName(StoreError):
    """Names in the store are letters, digits, `.`, `_` and `-`, and begin with a letter or a digit."""


class NotKept(StoreError):
    """It was removed, or never kept. `/panic show` lists what there is."""


class StoreFailed(StoreError):
    """The artefact could not be written: look at the free space and the permissions of the store directory."""

    permanent = False
