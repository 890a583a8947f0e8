"""Block Kit as Slack takes it: what is refused, and how an accepted message is kept."""

from __future__ import annotations

from bot.demo.workspace.blockkit.checks import check_content, check_message, check_metadata, check_view
from bot.demo.workspace.blockkit.settling import settled

__all__ = ["check_content", "check_message", "check_metadata", "check_view", "settled"]
