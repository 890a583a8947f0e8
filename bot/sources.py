"""Where settings come from: panicroom.toml, the environment, and files that hold secrets."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

PREFIX = "PANICROOM_"
RESERVED = frozenset({"PANICROOM_CONFIG", "PANICROOM_SECRET"})  # read by the command line, not settings
_SECRET_FILE_LIMIT = 64 * 1024

Key = tuple[str | int, ...]


class SettingsError(Exception):
    """The settings cannot be used. Each problem names the key, where it stands and what is allowed."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass
class Gathered:
    """All values as one tree, with the origin of each (a file's path or a variable's name)."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Key, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    base: Path = field(default_factory=Path)  # what relative paths in the file are relative to

    def origin(self, key: Key) -> str:
        """Where this key, or else the closest one above it, was written."""
        for end in range(len(key), 0, -1):
            if key[:end] in self.origins:
                return self.origins[key[:end]]
        return ""

    def problem(self, key: Key, what: str) -> None:
        origin = self.origin(key)
        self.problems.append(f"{dotted(key)}{f' ({origin})' if origin else ''}: {what}")


def gather(model: type[BaseModel], path: Path | None, environ: Mapping[str, str]) -> Gathered:
    """The file's values, overridden by the environment's, with secrets read from the files they point to."""
    gathered = Gathered()
    if path is not None:
        gathered.base = path.parent
        gathered.values = _read_toml(path, gathered)
        _note_origins(gathered.values, (), str(path), gathered)
    _read_environment(model, environ, gathered)
    _resolve(model, gathered.values, (), gathered)
    return gathered


def dotted(key: Key) -> str:
    """`("hosts", 2, "port")` as `hosts[2].port`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def submodel(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model`, `Model | None`, `tuple[Model, ...]`; None when there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = submodel(inner)
        if found is not None:
            return found
    return None


def is_list(annotation: Any) -> bool:
    """Whether a field takes several values: `tuple[X, ...]`, `list[X]`, also inside `X | None`."""
    several: tuple[object, ...] = (tuple, list, set, frozenset)
    return _mentions(annotation, lambda a: get_origin(a) in several or a in several)


def is_table(annotation: Any) -> bool:
    """Whether a field takes names and values of its user's own: `dict[str, X]`."""
    tables: tuple[object, ...] = (dict,)
    return _mentions(annotation, lambda a: get_origin(a) in tables)


def is_secret(name: str, info: FieldInfo) -> bool:
    """A SecretStr, a field marked `json_schema_extra={"secret": True}`, or one that is called `secret`."""
    marked = isinstance(info.json_schema_extra, dict) and bool(info.json_schema_extra.get("secret"))
    return marked or name == "secret" or _mentions(info.annotation, lambda a: a is SecretStr)


def _mentions(annotation: Any, wanted: Any) -> bool:
    return bool(wanted(annotation)) or any(_mentions(inner, wanted) for inner in get_args(annotation))


def _read_toml(path: Path, gathered: Gathered) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(
            [f"{path}: cannot be read: {reason}. Give the right file with --config"]
        ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{path}: is not valid TOML: {error}"]) from error


def _note_origins(value: Any, key: Key, origin: str, gathered: Gathered) -> None:
    if key:
        gathered.origins[key] = origin
    children: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, inner in children:
        _note_origins(inner, (*key, name), origin, gathered)


# -- environment ------------------------------------------------------------------------------------------


def _read_environment(model: type[BaseModel], environ: Mapping[str, str], gathered: Gathered) -> None:
    """`PANICROOM_SLACK__BOT_TOKEN=…`; whole sections and lists are given as JSON."""
    for variable in sorted(environ):
        if not variable.upper().startswith(PREFIX) or variable.upper() in RESERVED:
            continue
        key = tuple(part.lower() for part in variable[len(PREFIX) :].split("__"))
        if not all(key):
            gathered.problems.append(f"{variable}: names no setting; write PANICROOM_SECTION__KEY")
            continue
        text = environ[variable]
        value: Any = text
        if _takes_json(model, key):
            try:
                value = json.loads(text)
            except ValueError:
                gathered.problems.append(
                    f'{dotted(key)} ({variable}): must be JSON, such as ["a", "b"] for a list'
                )
                continue
        place: Any = gathered.values
        for part in key[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                break
        if not isinstance(place, dict):
            gathered.problems.append(f"{variable}: {dotted(key[:-1])} holds no keys of its own")
            continue
        if isinstance(value, dict) and isinstance(place.get(key[-1]), dict):
            place[key[-1]] = {**place[key[-1]], **value}
        else:
            place[key[-1]] = value
        for known in [k for k in gathered.origins if k[: len(key)] == key and not isinstance(value, dict)]:
            del gathered.origins[known]
        _note_origins(value, key, variable, gathered)


def _takes_json(model: type[BaseModel], key: Sequence[str]) -> bool:
    current: type[BaseModel] | None = model
    for position, part in enumerate(key):
        info = current.model_fields.get(part) if current is not None else None
        if info is None:
            return False
        last = position == len(key) - 1
        if last:
            return (
                is_list(info.annotation) or is_table(info.annotation) or submodel(info.annotation) is not None
            )
        if is_list(info.annotation):
            return False
        current = submodel(info.annotation)
    return False


# -- secrets and paths ------------------------------------------------------------------------------------


def _resolve(model: type[BaseModel], values: dict[str, Any], key: Key, gathered: Gathered) -> None:
    """Replaces `file:` values and `*_file` keys of secrets by the file's content, and makes paths absolute."""
    for name, info in model.model_fields.items():
        here = (*key, name)
        if is_secret(name, info):
            _resolve_secret(model, name, info, values, here, gathered)
            continue
        value = values.get(name)
        inner = submodel(info.annotation)
        if inner is not None and isinstance(value, dict):
            _resolve(inner, value, here, gathered)
        elif inner is not None and isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    _resolve(inner, item, (*here, index), gathered)
        elif isinstance(value, str) and value and _mentions(info.annotation, lambda a: a is Path):
            values[name] = str(_place(value, here, gathered))


def _resolve_secret(
    model: type[BaseModel], name: str, info: FieldInfo, values: dict[str, Any], here: Key, gathered: Gathered
) -> None:
    file_key = f"{name}_file"
    in_file = (*here[:-1], file_key)
    if file_key in values and file_key not in model.model_fields:
        pointed = values.pop(file_key)
        if name in values:
            by_variable = [gathered.origin(k).startswith(PREFIX) for k in (here, in_file)]
            if by_variable[0] == by_variable[1]:
                gathered.problem(in_file, f"stands beside {dotted(here)}; give one of the two")
                return
            if by_variable[0]:  # the environment overrides the file's pointer
                _resolve_secret(model, name, info, values, here, gathered)
                return
        if not isinstance(pointed, str):
            gathered.problem(in_file, "must be the path of a file")
            return
        content = _read_secret(pointed, in_file, gathered)
        if content is not None:
            values[name] = content.split("\n") if is_list(info.annotation) else content
            gathered.origins[here] = f"{gathered.origin(in_file)}, file {pointed}"
        return
    value = values.get(name)
    several = is_list(info.annotation)

    def pointed_to(text: str, key: Key) -> list[str]:
        content = _read_secret(text.removeprefix("file:"), key, gathered) or ""
        return content.split("\n") if several else [content]

    if isinstance(value, str) and value.startswith("file:"):
        found = pointed_to(value, here)
        values[name] = found if several else found[0]
    elif isinstance(value, list):
        values[name] = [
            secret
            for index, item in enumerate(value)
            for secret in (
                pointed_to(item, (*here, index))
                if isinstance(item, str) and item.startswith("file:")
                else [item]
            )
        ]


def _read_secret(pointed: str, key: Key, gathered: Gathered) -> str | None:
    """The file's text without blank lines; None (and a problem) when it cannot be read or holds nothing."""
    path = _place(pointed, key, gathered)
    try:
        with path.open("rb") as file:
            raw = file.read(_SECRET_FILE_LIMIT + 1)
        text = raw.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
        gathered.problem(key, f"the secret file {path} cannot be read: {reason}")
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or len(raw) > _SECRET_FILE_LIMIT:
        gathered.problem(key, f"the secret file {path} is {'empty' if not lines else 'larger than 64 KiB'}")
        return None
    return "\n".join(lines)


def _place(text: str, key: Key, gathered: Gathered) -> Path:
    """A path from the file is relative to the file; one from the environment to the working directory."""
    path = Path(text).expanduser()
    from_environment = gathered.origin(key).startswith(PREFIX)
    return path if path.is_absolute() or from_environment else gathered.base / path
