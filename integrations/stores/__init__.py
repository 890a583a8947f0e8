"""Where artefacts are kept."""

from __future__ import annotations

from integrations.stores.errors import NotKept, StoreError, StoreFailed, UnsafeName
from integrations.stores.local import LocalStore, Stored

__all__ = ["LocalStore", "NotKept", "StoreError", "StoreFailed", "Stored", "UnsafeName"]
