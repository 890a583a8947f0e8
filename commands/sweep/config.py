"""`[sweep]`: when the bot looks for dumps that nobody reported, and where."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from commands.durations import Duration, PositiveDuration


class CentralDirectory(BaseModel):
    """`[[sweep.directories]]`: a directory that the hosts' kdump itself writes to, over NFS or SSH."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(
        description="Where the bot sees it (a mount). In it lie `HOST-DATE` or `ADDRESS-DATE` directories, as kdump "
        "makes them."
    )

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise ValueError("must be an absolute path, such as /srv/kdump")
        return path


class SweepConfig(BaseModel):
    """`[sweep]`: the look for dumps that nobody reported. Lengths of time: `90`, `30m`, `24h`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        default=True, description="false: no sweep by the clock; `/panic sweep` works all the same."
    )
    every: PositiveDuration = Field(
        default=timedelta(hours=6),
        description="From one sweep by the clock to the next. A host that was looked at since then is left out.",
    )
    window: Duration = Field(
        default=timedelta(minutes=30),
        description="A sweep by the clock spreads its hosts over this long, each at a moment of its own. Shorter than "
        "`every`.",
    )
    parallelism: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Places that are looked at at the same time; hosts as far as `[ssh] hosts_at_once` leaves room: "
        "triage goes first, and three quarters of its connections are the most that a sweep has.",
    )
    patience: PositiveDuration = Field(
        default=timedelta(seconds=60),
        description="The longest look at one place, connecting included; its wait for a turn is not. What is not done "
        "by then is for the next sweep.",
    )
    since: PositiveDuration = Field(
        default=timedelta(days=7),
        description="Crashes older than this are history: they become panics without a thread, and nobody is woken.",
    )
    settle: PositiveDuration = Field(
        default=timedelta(minutes=10),
        description="A dump whose files changed this lately may still be written, and is left for the next sweep.",
    )
    directories: tuple[CentralDirectory, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> SweepConfig:
        if self.window >= self.every:
            raise ValueError("window must be shorter than every: one sweep would run into the next")
        return self

    @field_validator("directories")
    @classmethod
    def _each_once(cls, directories: tuple[CentralDirectory, ...]) -> tuple[CentralDirectory, ...]:
        paths = [directory.path for directory in directories]
        if len(set(paths)) < len(paths):
            raise ValueError("the same path stands twice")
        return directories
