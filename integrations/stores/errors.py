"""What can go wrong with a store.

StoreError
├── UnsafeName          a name that is no plain file name
├── NotKept             there is no such artefact
├── StoreFailed         the disk did not do it (full, read-only, broken)
│   └── StoreFull       there is no room: it may be made
├── StoreUnreachable    the central store does not answer, or broke off
├── StoreRefused        the central store does not let us
└── BadStoreUrl         the URL of the central store cannot be one
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


class StoreFull(StoreFailed):
    """The store has no room for it: remove old dumps there, or give it more space."""


class StoreUnreachable(StoreError):
    """The central store does not answer: look at the network between it and the bot, and at its server."""

    permanent = False


class StoreRefused(StoreError):
    """The central store refused: `panicroom doctor` tries what the bot needs there and says what is missing."""


class BadStoreUrl(StoreError):
    """`[central] url` is one of file:///directory, sftp://user@host/directory, s3://bucket/prefix."""
