from __future__ import annotations

from tests.intake.conftest import bot, quiet, ws

__all__ = ["bot", "quiet", "ws"]
