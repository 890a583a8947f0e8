"""Where a fleet is described elsewhere: a file, a command, an address; and the reading of what they say."""

from __future__ import annotations

from integrations.inventory.reading import FIELDS, InventoryUnread, Told, read_inventory
from integrations.inventory.source import Answer, SourceFailed, from_address, from_command, from_file

__all__ = [
    "FIELDS",
    "Answer",
    "InventoryUnread",
    "SourceFailed",
    "Told",
    "from_address",
    "from_command",
    "from_file",
    "read_inventory",
]
