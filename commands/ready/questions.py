"""The questions of readiness as data: `readiness.toml`, read and checked."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict, Field, model_validator

from commands.hosts.family import FAMILIES
from integrations.ssh import Request


class Question(BaseModel):
    """A fixed argv; `families` empty means every host; `helper`: its words go to the root-owned helper."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    argv: tuple[str, ...] = Field(min_length=1, max_length=60)
    families: tuple[str, ...] = ()
    helper: bool = False
    timeout: float = Field(default=10.0, gt=0, le=300)
    cap: int = Field(default=65536, gt=0, le=1024 * 1024)
    why: str = ""

    def request(self, helper: tuple[str, ...]) -> Request:
        return Request((*helper, *self.argv) if self.helper else self.argv, self.timeout, self.cap)


class Questions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    command: tuple[Question, ...]

    @model_validator(mode="after")
    def _each_once(self) -> Questions:
        for family in (None, *FAMILIES):
            asked = [q.key for q in self.command if not q.families or family in q.families]
            if len(set(asked)) < len(asked):
                raise ValueError(f"a key stands twice for {family or 'every host'}")
        return self

    def common(self) -> tuple[Question, ...]:
        """What is asked before the family is known."""
        return tuple(q for q in self.command if not q.families)

    def of(self, family: str | None) -> tuple[Question, ...]:
        """What this family is asked besides."""
        return tuple(q for q in self.command if family is not None and family in q.families)


@cache
def shipped() -> Questions:
    """The questions that this version asks."""
    text = resources.files("commands.ready").joinpath("readiness.toml").read_text("utf-8")
    return Questions.model_validate(tomllib.loads(text))
