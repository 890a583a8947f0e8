"""A plain feed of changes: `changes.toml`, CSV or JSON, from a file or from a deploy pipeline's request.

One change has a `source` and a `key` of the source's own; told again under them it is an update that needs to say
only what is new. What it touches is said by `hosts` (names or globs), `rings`, `hardware`, `services`, `everywhere`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from integrations.changes.change import Scope
from integrations.changes.errors import BadFeed

Format = Literal["toml", "csv", "json"]
FORMATS: Mapping[str, Format] = {
    "application/toml": "toml",
    "text/csv": "csv",
    "application/json": "json",
}
MOST = 5000  # changes in one feed
MOST_NAMES = 5000  # names in one scope
# What Panicroom itself reads in a tracker or on a host is kept under these sources; a feed must not write over it.
RESERVED = re.compile(r"(host:.*|jira)", re.IGNORECASE)

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SEPARATORS = re.compile(r"[,;\n]+")
_EARLIEST, _LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _line(value: object) -> object:
    """One line: control characters become spaces, so that a name can stand in a message and in a log."""
    if not isinstance(value, str):
        return value
    return " ".join(_CONTROL.sub(" ", _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)).split())


def _storable(value: object) -> object:
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value


def _names(value: object) -> object:
    """A list of names, or one text with commas or semicolons between them; in lower case, each once."""
    if value is None:
        return None
    parts = _SEPARATORS.split(value) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise ValueError("must be a list of names, or one text with commas between them")
    names = (str(_line(part)).lower() for part in parts)
    return tuple(dict.fromkeys(name for name in names if name))


def _instant(value: object) -> object:
    """ISO 8601 with a zone; TOML hands over a datetime. A number would be read as seconds and is refused."""
    if value is None or isinstance(value, datetime):
        return value
    if not isinstance(value, str) or re.match(r"\d{4}-\d{2}-\d{2}[Tt ]", value.strip()) is None:
        raise ValueError("must be an ISO 8601 time with a zone, such as 2026-11-23T09:14:07Z")
    return value.strip()


_Line = BeforeValidator(_line)
Names = Annotated[
    tuple[Annotated[str, Field(max_length=253)], ...] | None,
    BeforeValidator(_names),
]
Moment = Annotated[AwareDatetime | None, BeforeValidator(_instant)]


class FeedChange(BaseModel):
    """One change as it was told. None: not said this time (of an update: as it was)."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    source: Annotated[str, Field(min_length=1, max_length=60), _Line] = "feed"
    key: Annotated[str, Field(min_length=1, max_length=200), _Line]
    summary: Annotated[str | None, Field(max_length=1000), _Line] = None
    kind: Annotated[str | None, Field(max_length=40), _Line] = None
    status: Annotated[str | None, Field(max_length=100), _Line] = None
    started: Moment = None
    ended: Moment = None
    url: Annotated[str | None, Field(max_length=2000), _Line] = None
    text: Annotated[str | None, Field(max_length=20_000), BeforeValidator(_storable)] = None
    hosts: Names = Field(default=None, validation_alias=AliasChoices("hosts", "host"), max_length=MOST_NAMES)
    rings: Names = Field(default=None, validation_alias=AliasChoices("rings", "ring"), max_length=MOST_NAMES)
    hardware: Names = Field(default=None, max_length=MOST_NAMES)
    services: Names = Field(
        default=None, validation_alias=AliasChoices("services", "service"), max_length=MOST_NAMES
    )
    everywhere: bool | None = None

    @field_validator("source")
    @classmethod
    def _not_reserved(cls, source: str) -> str:
        if RESERVED.fullmatch(source):
            raise ValueError(
                'must not be "jira" or begin with "host:": those are what Panicroom reads itself'
            )
        return source

    @field_validator("kind")
    @classmethod
    def _lower(cls, kind: str | None) -> str | None:
        return kind.lower() if kind is not None else None

    @field_validator("url")
    @classmethod
    def _an_address(cls, url: str | None) -> str | None:
        if url and not re.fullmatch(r"https?://[^\s<>|]+", url):
            raise ValueError("must be an address like https://deploys.example.com/7")
        return url

    @field_validator("started", "ended")
    @classmethod
    def _in_range(cls, at: datetime | None) -> datetime | None:
        if at is not None and not _EARLIEST <= at <= _LATEST:
            raise ValueError("must be between the years 1990 and 2200")
        return at.astimezone(UTC) if at is not None else None

    @model_validator(mode="after")
    def _in_order(self) -> FeedChange:
        if self.started is not None and self.ended is not None and self.ended < self.started:
            raise ValueError("ended must not be before started")
        return self

    @property
    def scope(self) -> Scope | None:
        """What it touches; None when this telling says nothing of it."""
        said = (self.hosts, self.rings, self.hardware, self.services, self.everywhere)
        if all(part is None for part in said):
            return None
        return Scope(
            self.hosts or (),
            self.rings or (),
            self.hardware or (),
            self.services or (),
            bool(self.everywhere),
        )


def read_feed(data: bytes, form: Format, *, source: str | None = None) -> list[FeedChange]:
    """The changes of a feed, in its order. `source` is the name of those that give none.

    JSON: one change, a list of them, or {"source": …, "changes": [...]}. TOML: `[[change]]` tables and maybe a
    `source` above them. CSV: a header line with the names of the fields. Raises BadFeed, which says where and what.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFeed(f"it is not UTF-8 (byte {error.start})") from error
    given, rows = _READERS[form](text)
    if len(rows) > MOST:
        raise BadFeed(f"{len(rows)} changes; at most {MOST} are taken at once")
    return [_change(row, where, given or source) for where, row in rows]


_Rows = list[tuple[str, Mapping[str, Any]]]


def _read_json(text: str) -> tuple[str | None, _Rows]:
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise BadFeed("it is nested too deeply") from error
    except ValueError as error:
        raise BadFeed(f"it is no JSON: {str(error)[:150]}") from error
    given = None
    if isinstance(data, dict) and "changes" in data:
        given = _source(data)
        data = _only(data, {"source", "changes"}, "changes")
        if not isinstance(data, list):
            raise BadFeed('"changes" must be a list')
    elif isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        raise BadFeed('send one change, a list of them, or {"source": ..., "changes": [...]}')
    return given, _rows(data)


def _read_toml(text: str) -> tuple[str | None, _Rows]:
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except RecursionError as error:
        raise BadFeed("it is nested too deeply") from error
    except ValueError as error:
        raise BadFeed(f"it is no TOML: {str(error)[:150]}") from error
    given = _source(data)
    changes = _only(data, {"source", "change"}, "change")
    if not isinstance(changes, list):
        raise BadFeed("write each change as a table of its own: [[change]]")
    return given, _rows(changes)


def _read_csv(text: str) -> tuple[str | None, _Rows]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: _Rows = []
    try:
        names = [str(name or "").strip() for name in reader.fieldnames or ()]
        if "key" not in names:
            raise BadFeed('the first line must name the columns, "key" among them')
        reader.fieldnames = names
        for row in reader:
            if None in row:
                raise BadFeed(f"line {reader.line_num} has more cells than the first line names")
            said = {name: cell for name, cell in row.items() if cell is not None and cell.strip()}
            if said:
                rows.append((f"line {reader.line_num}", said))
            if len(rows) > MOST:
                break
    except csv.Error as error:
        raise BadFeed(f"line {reader.line_num} is no CSV: {error}") from error
    return None, rows


_READERS = {"json": _read_json, "toml": _read_toml, "csv": _read_csv}


def _rows(data: Iterable[Any]) -> _Rows:
    rows: _Rows = []
    for number, row in enumerate(data, 1):
        if not isinstance(row, dict):
            raise BadFeed(f"change {number} is no table of fields")
        rows.append((f"change {number}", row))
    return rows


def _source(data: Mapping[str, Any]) -> str | None:
    source = data.get("source")
    if source is not None and not isinstance(source, str):
        raise BadFeed("source must be a text")
    return source


def _only(data: Mapping[str, Any], allowed: set[str], wanted: str) -> Any:
    unknown = sorted(set(data) - allowed)
    if unknown:
        raise BadFeed(f"{unknown[0][:60]!r} is not known beside {wanted!r}")
    return data.get(wanted, [])


def _change(row: Mapping[str, Any], where: str, source: str | None) -> FeedChange:
    given = dict(row) if source is None or "source" in row else {**row, "source": source}
    try:
        return FeedChange.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "it"
        if first["type"] == "extra_forbidden":
            why = f"is no field of a change; there are {', '.join(FeedChange.model_fields)}"
        elif first["type"] == "missing":
            why = "is missing"
        else:
            why = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
        name = str(_line(field))[:60]
        raise BadFeed(f"{where}: {'' if name == 'it' else name + ' '}{why}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
