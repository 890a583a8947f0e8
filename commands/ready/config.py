"""`[ready]`: when hosts are asked whether they are ready for the next panic."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from commands.durations import PositiveDuration


class ReadyConfig(BaseModel):
    """`[ready]`: the readiness of the fleet, watched. Lengths of time: `90`, `30m`, `24h`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        default=True,
        description="false: no look by the clock or after an incident; `/panic ready` works all the same.",
    )
    every: PositiveDuration = Field(
        default=timedelta(hours=24),
        description="A host that was not asked for so long is asked again, by the clock.",
    )
    parallelism: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Hosts that are asked at the same time, as far as `[ssh] hosts_at_once` leaves room: triage goes "
        "first.",
    )
    patience: PositiveDuration = Field(
        default=timedelta(seconds=60),
        description="The longest look at one host, connecting included; its wait for a turn is not.",
    )
