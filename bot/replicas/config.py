"""`[replicas]`."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from commands.durations import PositiveDuration


class ReplicasConfig(BaseModel):
    """`[replicas]`: several bots on one PostgreSQL, of which one leads. On SQLite there is one bot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    term: PositiveDuration = Field(
        default=timedelta(seconds=12),
        ge=timedelta(seconds=3),
        le=timedelta(minutes=1),
        description="How long after its last sign of life the bot that leads is followed by another one. It renews "
        "six times as often, and ends itself when it could not for that long. The same for all replicas.",
    )
    name: str = Field(
        default="",
        max_length=100,
        description="What people know this replica by, in the log and for `panicroom doctor`. Default: the name of its "
        "machine, and its port.",
    )
