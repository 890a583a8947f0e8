"""`[drill]`: which hosts may be made to panic on purpose, how often, when, and how long each thing may take."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from commands.durations import PositiveDuration

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Trait = Literal["ring", "hardware", "kernel"]


class Window(BaseModel):
    """Days and hours, in the time zone of `[drill]`. An end before the start is on the next day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: tuple[Day, ...] = Field(
        default=("mon", "tue", "wed", "thu"), min_length=1, description="The days on which it begins."
    )
    start: time = Field(default=time(9), description="When it begins, as `09:00`.")
    end: time = Field(default=time(16), description="When it is over, as `16:00`.")

    @model_validator(mode="after")
    def _is_some_time(self) -> Self:
        if self.start == self.end:
            raise ValueError("a window that begins when it ends is none")
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise ValueError("the time zone is [drill] time_zone")
        return self


class DrillConfig(BaseModel):
    """`[drill]`: controlled panics. Nothing is ever drilled by the clock: two people say so, each time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=False, description="true: hosts that are marked for it may be drilled.")
    pilot: tuple[str, ...] = Field(
        default=("pilot",),
        description="Rings (or patterns of rings) whose hosts are marked for drills. A host is marked for itself with "
        "`drill = true` in `[[hosts]]`, and taken out with `drill = false`.",
    )
    critical: bool = Field(
        default=False, description="true: critical hosts may be drilled, too, where they are marked."
    )
    every: PositiveDuration = Field(
        default=timedelta(days=90), description="How often each class of host is to be drilled."
    )
    rings: dict[str, PositiveDuration] = Field(
        default_factory=dict, description='Another term for a ring: `canary = "30d"`.'
    )
    by: tuple[Trait, ...] = Field(
        default=("ring", "hardware", "kernel"),
        min_length=1,
        description="What makes a class: hosts that are the same in all of these are proved by one of them.",
    )
    windows: tuple[Window, ...] = Field(
        default=(Window(),), description="When a drill may run; `[]` for at any time."
    )
    time_zone: str = Field(default="UTC", description="Of the windows, such as `Europe/Berlin`.")
    approval: PositiveDuration = Field(
        default=timedelta(minutes=15),
        description="How long the two approvals hold; the countdown is over by then, too.",
    )
    countdown: PositiveDuration = Field(
        default=timedelta(seconds=60),
        description="From the second approval to the panic. Anyone may abort until then.",
    )

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("no time zone of that name, such as `Europe/Berlin`") from error
        return value

    @model_validator(mode="after")
    def _ends_in_time(self) -> Self:
        if self.countdown >= self.approval:
            raise ValueError("countdown must be shorter than approval")
        return self
