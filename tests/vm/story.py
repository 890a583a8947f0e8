"""What people do in a panic's thread, and what they see there, the same in each test."""

from __future__ import annotations

import re
from typing import Any

from bot.demo.workspace.testing import RunningWorkspace, visible_text
from tests.vm.guest import NAME

Json = dict[str, Any]

TOLD = 120.0  # seconds from the kernel's words to the thread, on a busy machine
REPORTED = 300.0  # seconds from the boot to its report: the timer's 15, and what a slow guest needs
VISIT = 300.0  # seconds for what the bot does on the guest
# The parent and the run's own message are edited one after the other: one may be a step ahead of the other.
_UNDER_WAY = re.compile(r"step \d+ of \d+")


async def told_while_dying(slack: RunningWorkspace) -> Json:
    """The thread that netconsole alone opens while kdump is at work."""
    return await slack.message(f"{NAME} is panicking; kdump is saving", timeout=TOLD)


async def reported(slack: RunningWorkspace, parent: Json) -> Json:
    """The thread once the host itself has told, after it came back."""
    return await slack.changed(parent, _is_back, timeout=REPORTED)


async def triaged(slack: RunningWorkspace, parent: Json) -> str:
    """Runs triage by its button; all that it says in the end."""
    await slack.person().click(parent, "Run triage")
    await slack.changed(parent, "Runbook 6/6", timeout=VISIT)
    run = await slack.reply(parent, f"Triage of {NAME}")
    run = await slack.changed(run, lambda m: _UNDER_WAY.search(visible_text(m)) is None, timeout=60)
    return visible_text(run)


def _is_back(message: Json) -> bool:
    seen = visible_text(message)
    return "is panicking" not in seen and "down since" in seen
