"""The text and formats of a dying kernel. Pure: no file, socket or clock is touched here."""

from __future__ import annotations

from integrations.kernel.crash import Crash, Frame, Kind, Signature
from integrations.kernel.reading import read_crash, read_stream

__all__ = ["Crash", "Frame", "Kind", "Signature", "read_crash", "read_stream"]
