"""Where artefacts are kept: bundles and texts beside the bot, dumps in a central store."""

from __future__ import annotations

from integrations.stores.central import CentralStore, Part, PartWriter, Probe, Shelf
from integrations.stores.errors import (
    BadStoreUrl,
    NotKept,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreRefused,
    StoreUnreachable,
    UnsafeName,
)
from integrations.stores.local import LocalStore, Stored
from integrations.stores.pace import Pace
from integrations.stores.places import S3Access, SftpAddress, SftpLink, read_url

__all__ = [
    "BadStoreUrl",
    "CentralStore",
    "LocalStore",
    "NotKept",
    "Pace",
    "Part",
    "PartWriter",
    "Probe",
    "S3Access",
    "SftpAddress",
    "SftpLink",
    "Shelf",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreRefused",
    "StoreUnreachable",
    "Stored",
    "UnsafeName",
    "read_url",
]
