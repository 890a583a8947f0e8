"""The runbook as data: `runbook.toml`, a team's own steps beside it, read and checked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from commands.hosts.cutting import FETCHED, sort_of
from commands.hosts.family import FAMILIES
from commands.hosts.patience import Patience
from commands.triage.checks import CHECKS, problem_of_expectation

READERS = ("dump", "identity", "recent", "seen", "offline", "ready")  # what reads the shipped steps
PLACEHOLDER = "{interface}"
_MOST_STEPS, _MOST_COMMANDS = 30, 60
_ARGV = 'is a list of words, such as ["cat", "/proc/mdstat"]; no shell splits a line'
_OPERATORS = frozenset({"|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1", "1>&2", "&>"})
_EXPANDED = re.compile(r"\$\(|\$\{|\$[A-Za-z_]|`")


class RunbookError(Exception):
    """The runbook cannot be used. Each problem names the step, the command, and what is allowed."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class Command(BaseModel):
    """A fixed argv of a step; `families` empty means every host. A command with a `check` is read by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    argv: tuple[str, ...] = Field(min_length=1, max_length=60)
    families: tuple[str, ...] = ()
    timeout: float = Field(default=60.0, gt=0, le=300)
    cap: int = Field(default=65536, gt=0, le=16 * 1024 * 1024)
    keep: Literal["start", "end"] = "start"
    why: str = ""
    each: Literal["interface"] | None = None
    check: str | None = None
    expect: str | int | None = None
    otherwise: Literal["warn", "failed"] = "warn"
    title: str | None = Field(default=None, max_length=100)

    @field_validator("argv", mode="before")
    @classmethod
    def _is_list(cls, value: object) -> object:
        if not isinstance(value, (list, tuple)):
            raise ValueError(_ARGV)  # noqa: TRY004 - pydantic tells of ValueErrors
        if not all(isinstance(word, str) and "\0" not in word for word in value) or not (value and value[0]):
            raise ValueError("is a list of words, each a text, and the first one names the program")
        return value

    @field_validator("families")
    @classmethod
    def _are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [f for f in value if f not in FAMILIES]
        if unknown:
            raise ValueError(f"knows {', '.join(FAMILIES)}, not {', '.join(unknown)}")
        return value

    @property
    def taken(self) -> int:
        """Bytes of output that are taken; a journal or dmesg comes whole unless `cap` says otherwise."""
        return FETCHED if sort_of(self.argv) and "cap" not in self.model_fields_set else self.cap

    @property
    def end_kept(self) -> Literal["start", "end"]:
        """Which end is taken of what exceeds that; of a journal or dmesg its last, unless `keep` says otherwise."""
        return "end" if sort_of(self.argv) and "keep" not in self.model_fields_set else self.keep

    def runs_on(self, family: str | None) -> bool:
        return not self.families or family in self.families


class Step(BaseModel):
    """What a step asks, how its answers are read, what a good one is and why. `timeout` is for all its commands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    title: str = Field(default="", max_length=100)
    asks: str = Field(default="", max_length=500)
    good: str = Field(default="", max_length=1000)
    why: str = Field(default="", max_length=2000)
    reader: str | None = None
    timeout: float = Field(default=60.0, gt=0, le=600)
    helper: tuple[str, ...] = ()  # what is asked of the root-owned helper, and when
    after: str | None = None
    command: tuple[Command, ...] = ()


class Runbook(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    step: tuple[Step, ...]

    def find(self, name: str) -> Step | None:
        return next((s for s in self.step if s.name == name), None)

    def named(self, name: str) -> Step:
        return next(s for s in self.step if s.name == name)


class TriageConfig(BaseModel):
    """`[triage]`: how patient the runbook is, how far back it looks, and a team's own steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patience: Patience = Patience()
    change_window_days: float = Field(default=14.0, gt=0, le=365)
    seen_window_days: float = Field(default=30.0, gt=0, le=3650)
    runbook: Path | None = Field(
        default=None,
        description="A file with steps of your own, which are added to the shipped runbook; see docs/runbook.md.",
    )

    @field_validator("runbook")
    @classmethod
    def _can_be_used(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                load_runbook(value)
            except RunbookError as error:
                raise ValueError(str(error)) from error
        return value


@cache
def shipped() -> Runbook:
    """The runbook that this version ships."""
    text = resources.files("commands.triage").joinpath("runbook.toml").read_text("utf-8")
    return Runbook.model_validate(tomllib.loads(text))


def load_runbook(path: Path | None) -> Runbook:
    """The shipped runbook with a team's steps. Raises RunbookError."""
    if path is None:
        return shipped()
    try:
        text = path.expanduser().read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        raise RunbookError([f"{path}: cannot be read: {reason}"]) from error
    return extend(shipped(), text)


def extend(base: Runbook, text: str) -> Runbook:
    """`base` with the steps of a team's file: a step of a known name gets more commands, others are new.

    Raises RunbookError with every problem there is.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RunbookError([f"is not valid TOML: {error}"]) from error
    try:
        added = Runbook.model_validate(values)
    except ValidationError as error:
        raise RunbookError([_told(d["loc"], d["msg"], values) for d in error.errors()]) from error
    problems = [p for step in added.step for p in _problems_of(step, base)]
    names = [s.name for s in added.step]
    problems += [f"step {n!r}: is there twice" for n in dict.fromkeys(names) if names.count(n) > 1]
    steps = list(base.step)
    for step in added.step:
        known = next((n for n, s in enumerate(steps) if s.name == step.name), None)
        if known is not None:
            steps[known] = steps[known].model_copy(update={"command": (*steps[known].command, *step.command)})
            continue
        place = next((n for n, s in enumerate(steps) if s.name == step.after), None)
        if step.after is not None and place is None:
            problems.append(f"step {step.name!r}: comes after {step.after!r}, which is no step above it")
        steps.insert(len(steps) if place is None else place + 1, step)
    if len(steps) > _MOST_STEPS or any(len(s.command) > _MOST_COMMANDS for s in steps):
        problems.append(f"has more than {_MOST_STEPS} steps, or {_MOST_COMMANDS} commands in one")
    if problems:
        raise RunbookError(problems)
    return Runbook(step=tuple(steps))


def doubts(path: Path | None) -> list[str]:
    """What is allowed in a team's steps and yet is hardly meant. Raises RunbookError."""
    ours = {id(c) for s in shipped().step for c in s.command}
    found = []
    for step in load_runbook(path).step:
        for command in step.command:
            if id(command) in ours:
                continue
            where = f"step {step.name!r}, command {command.key!r}"
            odd = [w for w in command.argv if w in _OPERATORS or _EXPANDED.search(w)]
            if odd and command.argv[0] not in ("sh", "bash"):
                found.append(
                    f"{where}: {odd[0]!r} is handed to {command.argv[0]} as it is: no shell reads it"
                )
            if command.argv[0] == "sudo" and "-n" not in command.argv[1:3]:
                found.append(f"{where}: sudo without -n asks for a password that nobody gives")
            if command.timeout > step.timeout:
                found.append(
                    f"{where}: its {command.timeout:.0f} s are cut by the step's {step.timeout:.0f} s"
                )
    return found


def _problems_of(step: Step, base: Runbook) -> list[str]:
    """What is wrong with a team's step."""
    where = f"step {step.name!r}"
    problems = []
    known = base.find(step.name)
    if known is None and not step.title:
        problems.append(f"{where}: needs a title")
    if known is not None and (step.title or step.after or step.reader):
        problems.append(f"{where}: is a shipped step: it takes more commands, no title, reader or after")
    if known is None and step.reader is not None:
        told = ", ".join(sorted(CHECKS))
        problems.append(
            f"{where}: reader {step.reader!r} reads a shipped step; give each command a check: {told}"
        )
    if step.after in {s.name for s in base.step[:1]} and any(c.families for c in step.command):
        problems.append(f"{where}: the family is not known before step 'kernel': come after that")
    if not step.command:
        problems.append(f"{where}: has no command")
    taken = {c.key for c in known.command} if known is not None else set()
    for command in step.command:
        at = f"{where}, command {command.key!r}"
        if command.key in taken:
            problems.append(f"{at}: this key is taken by the shipped step; choose another")
        if command.check is None:
            problems.append(f"{at}: needs a check: {', '.join(sorted(CHECKS))}")
        elif command.check not in CHECKS:
            problems.append(f"{at}: there is no check {command.check!r}, only {', '.join(sorted(CHECKS))}")
        else:
            wrong = problem_of_expectation(command.check, command.expect)
            problems += [f"{at}: {wrong}"] if wrong else []
        if command.each is not None or any(PLACEHOLDER in word for word in command.argv):
            problems.append(f"{at}: only shipped commands are made of what a host told")
    for family in (None, *FAMILIES):
        keys = [c.key for c in step.command if c.runs_on(family)]
        twice = [k for k in dict.fromkeys(keys) if keys.count(k) > 1]
        if twice:
            problems.append(f"{where}: command {twice[0]!r} is there twice for {family or 'every host'}")
            break
    return problems


def _told(loc: tuple[int | str, ...], message: str, values: Mapping[str, Any]) -> str:
    """`step 'raid', command 'mdstat', argv: …` for pydantic's place in the file."""
    place: Any = values
    names: list[str] = []
    for part in loc:
        place = place.get(part) if isinstance(place, dict) else place[part] if _holds(place, part) else None
        if isinstance(part, int):
            label = place.get("name") or place.get("key") if isinstance(place, dict) else None
            names[-1] = f"{names[-1]} {label!r}" if isinstance(label, str) else f"{names[-1]} {part + 1}"
        else:
            names.append(str(part))
    said = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{', '.join(names)}: {said}"


def _holds(place: Any, part: object) -> bool:
    return isinstance(place, (list, tuple)) and isinstance(part, int) and part < len(place)
