"""`[changes]`: the tracker, when the bot looks for a change by itself, and what it does while nobody answers."""

from __future__ import annotations

import string
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

from commands.durations import PositiveDuration
from integrations.changes import JiraConfig


class ProblemConfig(BaseModel):
    """`[changes.problem]`. Leave the section out, and no problem tickets are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str = Field(pattern=r"^[A-Z][A-Z0-9_]{1,31}$", description="The project that it is made in.")
    type: str = Field(default="Problem", min_length=1, max_length=60, description="Its issue type.")
    labels: tuple[str, ...] = Field(
        default=("panicroom",), max_length=20, description="Its labels; none with a space."
    )
    summary: str = Field(
        default="Kernel panic keeps coming back: {title}",
        description="Its summary; `{title}` is the panic's headline.",
    )
    after: int = Field(
        default=3, ge=2, le=1000, description="Panics of a signature within `window` that make one."
    )
    window: PositiveDuration = Field(default=timedelta(days=30), description="How far back panics count.")
    tell_every: PositiveDuration = Field(
        default=timedelta(days=1), description="Later panics are told in one comment at most this often."
    )

    @field_validator("labels")
    @classmethod
    def _words(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if any(not label or len(label) > 255 or label.split() != [label] for label in labels):
            raise ValueError("labels are words without spaces")
        return labels

    @field_validator("summary")
    @classmethod
    def _template(cls, summary: str) -> str:
        names = [
            name for _text, name, spec, conversion in string.Formatter().parse(summary) if name is not None
        ]
        if set(names) - {"title"} or "{title:" in summary or "{title!" in summary:
            raise ValueError("only {title} may stand in it; write {{ for a brace")
        return summary


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
        default=timedelta(days=7),
        description="How long before the first panic a change may have begun or ended. What has not ended may have "
        "begun 30 days earlier.",
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
    renew_within: PositiveDuration = Field(
        default=timedelta(seconds=15),
        description="A ticket's comment is edited about this long after its incident was resolved or reopened, or has "
        "another bundle.",
    )
    poll_every: PositiveDuration = Field(
        default=timedelta(minutes=10),
        description="A linked ticket is read again this often, so that its card is right without a webhook, too.",
    )
    poll_for: PositiveDuration = Field(
        default=timedelta(days=14), description="No ticket is read again so long after it was linked."
    )
    problem: ProblemConfig | None = Field(
        default=None, description="Problem tickets for panics that keep coming back."
    )
