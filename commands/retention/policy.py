"""`[retention]`: how long dumps are kept, where, and how much room they may take. Data: `plan` is what acts on it."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from commands.durations import PositiveDuration, write_duration
from commands.sizes import Size

SHORTEST, LONGEST = timedelta(days=7), timedelta(days=30)


def _read_time(value: object) -> object:
    if isinstance(value, time):
        return value
    try:
        return time.fromisoformat(value if isinstance(value, str) and len(value) == 5 else "-")
    except ValueError as error:
        raise ValueError("must be a time of day in UTC, such as 03:30") from error


TimeOfDay = Annotated[
    time,
    BeforeValidator(_read_time),
    PlainSerializer(lambda at: at.strftime("%H:%M"), return_type=str, when_used="json"),
]


class Terms(BaseModel):
    """What is kept of hosts of one criticality."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    local: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="The latest dumps that stay on each host; older ones go once a verified copy is in central.",
    )
    central: PositiveDuration = Field(
        default=timedelta(days=14),
        ge=SHORTEST,
        le=LONGEST,
        description="How long a copy stays in central, from its verification. 7 to 30 days, at most `most`.",
    )


_CENTRAL = Terms.model_fields["central"].description


class LowTerms(Terms):
    """As `Terms`, shorter."""

    central: PositiveDuration = Field(default=SHORTEST, ge=SHORTEST, le=LONGEST, description=_CENTRAL)


class CriticalTerms(Terms):
    """As `Terms`, longer."""

    central: PositiveDuration = Field(default=LONGEST, ge=SHORTEST, le=LONGEST, description=_CENTRAL)


class RetentionConfig(BaseModel):
    """`[retention]`: how long dumps are kept, on hosts and in central. Lengths of time: `7d`, `14d`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        default=True,
        description="false: nothing goes by the clock; `/panic retention run` works all the same.",
    )
    at: TimeOfDay = Field(default=time(3, 30), description="When the daily sweep begins, in UTC.")
    most: PositiveDuration = Field(
        default=timedelta(days=30),
        ge=SHORTEST,
        le=LONGEST,
        description="The hard end: the newest copy of a signature stays so long, and nothing stays longer but what is "
        "pinned, held or of an open incident.",
    )
    low: LowTerms = LowTerms()
    normal: Terms = Terms()
    critical: CriticalTerms = CriticalTerms()
    host_budget: Size | None = Field(
        default=None,
        ge=1024**2,
        description="Most bytes of dumps in a host's crash directory; beyond it, the latest ones with a verified copy "
        "go, too.",
    )
    scrub: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Copies picked at random that are read back whole in each sweep, beside those whose turn it is: "
        "each is read at least once in its term.",
    )
    scrub_most: Size = Field(
        default=200 * 10**9,
        ge=1024**2,
        description="Most bytes read back in one sweep; at least one copy is.",
    )

    @model_validator(mode="after")
    def _within(self) -> RetentionConfig:
        for name in ("low", "normal", "critical"):
            if self.terms(name).central > self.most:
                raise ValueError(f"{name}.central is longer than most ({write_duration(self.most)})")
        return self

    def terms(self, criticality: str) -> Terms:
        """Of a criticality that is none of ours: as of a normal host."""
        known: dict[str, Terms] = {"low": self.low, "normal": self.normal, "critical": self.critical}
        return known.get(criticality, self.normal)
