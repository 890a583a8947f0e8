"""The runbook as data: `runbook.toml`, read and checked."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict, Field

from commands.hosts.patience import Patience


class Command(BaseModel):
    """A fixed argv of a step; `families` empty means every host."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    argv: tuple[str, ...] = Field(min_length=1)
    families: tuple[str, ...] = ()
    timeout: float = Field(gt=0, le=300)
    cap: int = Field(gt=0, le=16 * 1024 * 1024)

    def runs_on(self, family: str | None) -> bool:
        return not self.families or family in self.families


class Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    command: tuple[Command, ...] = ()


class Runbook(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    step: tuple[Step, ...]

    def named(self, name: str) -> Step:
        return next(s for s in self.step if s.name == name)


class TriageConfig(BaseModel):
    """`[triage]`: how patient the runbook is, and how far back it looks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patience: Patience = Patience()
    change_window_days: float = Field(default=14.0, gt=0, le=365)
    seen_window_days: float = Field(default=30.0, gt=0, le=3650)


@cache
def runbook() -> Runbook:
    """The runbook that this version ships."""
    text = resources.files("commands.triage").joinpath("runbook.toml").read_text("utf-8")
    return Runbook.model_validate(tomllib.loads(text))
