"""Sizes as people write them in settings: `1048576`, `512KiB`, `64 MiB`, `1GB`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_UNITS = {
    "": 1,
    "b": 1,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
}


def read_size(value: object) -> object:
    """`1048576`, `"1MiB"`, `"512 KiB"` -> bytes. Anything else goes on to pydantic, or raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]{1,15})\s*([a-z]*)\s*", value.lower())
    if match is None or match.group(2) not in _UNITS:
        raise ValueError(f"{value[:40]!r} is no size; write bytes (1048576) or 512KiB, 1MiB")
    return int(match.group(1)) * _UNITS[match.group(2)]


Size = Annotated[int, BeforeValidator(read_size)]
