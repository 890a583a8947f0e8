"""`[changes]`: the tracker, when the bot looks for a change by itself, and what it does while nobody answers."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from commands.durations import PositiveDuration
from integrations.changes import JiraConfig


class ChangesConfig(BaseModel):
    """`[changes]`. Lengths of time: `90`, `30m`, `24h`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jira: JiraConfig | None = Field(
        default=None, description="The tracker; without one nothing can be linked."
    )
    automatic: bool = Field(
        default=True, description="Look for the open or recent change that names the host, for each panic."
    )
    look_back: PositiveDuration = Field(
        default=timedelta(hours=24),
        description="How long before the panic a change may have ended or started.",
    )
    tell_likely: bool = Field(
        default=True,
        description="Tell a ticket that the bot found by itself, too (a comment with the thread's link), not only "
        "one that a person linked.",
    )
    searches_per_incident: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="A fleet-wide panic asks the tracker for this many of its hosts, not for thousands.",
    )
    retry_first: PositiveDuration = Field(
        default=timedelta(seconds=5), description="The pause after the first failure; it doubles each time."
    )
    retry_longest: PositiveDuration = Field(
        default=timedelta(minutes=15), description="The longest pause between two tries."
    )
    give_up_after: PositiveDuration = Field(
        default=timedelta(days=7), description="A tracker that was down for this long is not asked any more."
    )
    concurrency: int = Field(default=4, ge=1, le=32, description="Calls to the tracker at the same time.")
