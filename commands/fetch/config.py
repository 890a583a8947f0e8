"""`[fetch]`: links to dumps in the central store."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

from commands.durations import PositiveDuration

_LONGEST = timedelta(days=1)


class FetchConfig(BaseModel):
    """`[fetch]`: links to dumps in the central store. Who may ask for one: admins, and `access.dump_readers`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expires: PositiveDuration = Field(
        default=timedelta(minutes=15),
        description="How long a link may be begun with; at most a day. What has begun goes on to its end.",
    )
    uses: int = Field(
        default=1,
        ge=1,
        le=20,
        description="How often a link lets somebody begin. One that broke off is continued without a new use.",
    )
    direct: bool = Field(
        default=True,
        description="From an S3 store: addresses that the store itself has signed, where the dump has few parts. They "
        "can be used again until they expire, and only the bucket's own log knows of it; `false`: always through the "
        "bot.",
    )
    at_once: int = Field(default=4, ge=1, le=32, description="Dumps that are sent at the same time.")

    @field_validator("expires")
    @classmethod
    def _short(cls, value: timedelta) -> timedelta:
        if value > _LONGEST:
            raise ValueError("a link lives for a day at most")
        return value
