"""What the App Home says under "needs attention" of verbs that it does not know itself."""

from __future__ import annotations

from collections.abc import Sequence

from commands.home_attention import Notice
from commands.hosts.crashdump import size_words
from commands.incident.wording import share
from commands.retention.desk import RetentionDesk
from integrations.slack.text import escape

_SOON = 3.0  # days until the budget is full, at which it is told


def retention_notice(desk: RetentionDesk) -> Notice:
    """The store's budget, where it is full or soon will be, and a clock by which nothing may go. Writes nothing."""

    async def look() -> Sequence[str]:
        survey = await desk.survey(note=False)
        usage, lines = survey.usage, []
        if usage.budget is not None and usage.full_in is not None and usage.full_in <= _SOON:
            held = f"{size_words(usage.central.size)} of {size_words(usage.budget)}"
            held += f" ({share(usage.central.size, usage.budget)})"
            if usage.full_in <= 0:
                lines.append(
                    f":no_entry: *The central store is full*: {held}. New copies are refused, dumps stay on their "
                    "hosts. `/panic retention` says what keeps each."
                )
            else:
                lines.append(
                    f":hourglass: *The central store is nearly full*: {held}; at this pace it is full in "
                    f"{usage.full_in:.0f} d. `/panic retention` says what the next sweep removes."
                )
        if not survey.inventory.clock.trusted:
            lines.append(
                f":alarm_clock: *Retention removes nothing by its age*: {escape(survey.inventory.clock.why)}."
            )
        return lines

    return look
