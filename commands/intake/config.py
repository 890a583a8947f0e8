"""`[intake]`: how stored reports are read."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from commands.durations import PositiveDuration


class IntakeConfig(BaseModel):
    """`[intake]`: how stored reports become panics. Lengths of time: `90`, `30m`, `24h`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = Field(default=50, ge=1, le=1000, description="Reports read in one transaction at most.")
    max_attempts: int = Field(
        default=3, ge=1, le=100, description="A report that failed this often is parked for a person."
    )
    retry_after: PositiveDuration = Field(
        default=timedelta(seconds=10), description="Pause before a report that failed is read again."
    )
    same_boot_within: PositiveDuration = Field(
        default=timedelta(seconds=120),
        description="Two reports of a host whose boots started at most this far apart tell of the same boot "
        "(used when no boot id is known).",
    )
