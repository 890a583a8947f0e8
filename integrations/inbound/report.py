"""What a host reports: `POST /v1/panics`."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictBool,
    ValidationError,
)

from integrations.inbound.errors import InvalidReport

# Letters, digits, hyphens and underscores (some fleets use them), dot-separated labels of at most 63.
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)  # where a host without a clock battery starts counting
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def host_name(value: str) -> str:
    """In lower case, without a final dot. Raises ValueError for what is no host name."""
    name = value.strip().lower().removesuffix(".")
    if _HOST.fullmatch(name) is None:
        raise ValueError("must be a host name: letters, digits, hyphens and dots, at most 253 characters")
    return name


def _storable(value: object) -> object:
    """NUL and lone surrogates, which PostgreSQL and UTF-8 cannot hold, become U+FFFD: host text is never refused."""
    if not isinstance(value, str) or (
        value.isascii() and "\x00" not in value
    ):  # nearly all: no need to look closer
        return value
    return _UNSTORABLE.sub("�", value)


def _one_line(value: str) -> str:
    if _UNPRINTABLE.search(value):
        raise ValueError("must be one line without control characters")
    return value


def _iso_text(value: object) -> object:
    """pydantic would read a bare number as unix seconds; the contract says ISO 8601 with a zone."""
    if value is not None and (
        not isinstance(value, str) or re.match(r"\d{4}-\d{2}-\d{2}[Tt ]", value) is None
    ):
        raise ValueError("must be an ISO 8601 time with a zone, such as 2026-11-23T09:14:07Z")
    return value


def _sane_instant(value: datetime) -> datetime:
    if not _EARLIEST <= value <= _LATEST:
        raise ValueError("must be between the years 1970 and 2200")
    return value.astimezone(UTC)


# Limits stand next to `str`, so that they speak of characters; what comes after them wraps them.
_CLEAN = BeforeValidator(_storable)
_LINE = AfterValidator(_one_line)
HostName = Annotated[str, Field(min_length=1, max_length=254), _CLEAN, AfterValidator(host_name)]
ReportId = Annotated[str, Field(min_length=1, max_length=200), _CLEAN, _LINE]
BootId = Annotated[str, Field(max_length=64), _CLEAN, _LINE]
Words = Annotated[str, Field(max_length=200), _CLEAN, _LINE]
PathName = Annotated[str, Field(min_length=1, max_length=1000), _CLEAN, _LINE]
Instant = Annotated[AwareDatetime, BeforeValidator(_iso_text), AfterValidator(_sane_instant)]
HostText = Annotated[str, _CLEAN]

# Who tells of the crash: the host itself ("report", "pstore", "no-dump": it came back and has nothing to show), its
# consoles, monitoring, or the bot's own look at a dump that nobody reported.
Source = Literal["report", "pstore", "console", "netconsole", "alertmanager", "sweep", "no-dump"]


class Dump(BaseModel):
    """The dump as the host sees it. `complete`: None when the host did not check."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: PathName
    size: int = Field(ge=0, le=2**53, strict=True)
    complete: StrictBool | None = None


class PanicReport(BaseModel):
    """One report. A key that we do not know is no reason to lose a panic: it is left out, and `ignored` names it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: ReportId
    host: HostName
    text: HostText
    source: Source = "report"
    occurred_at: Instant | None = None
    reported_at: Instant | None = None
    boot_id: BootId | None = None
    crashed_boot_id: BootId | None = None
    kernel: Words | None = None  # the one that runs now
    crashed_kernel: Words | None = None
    down_since: Instant | None = None
    back_at: Instant | None = None
    hardware: Words | None = None
    crash_dir: Annotated[str, Field(max_length=1000), _CLEAN, _LINE] | None = None
    dump: Dump | None = None
    _ignored: tuple[str, ...] = PrivateAttr(default=())

    @property
    def ignored(self) -> tuple[str, ...]:
        """Keys that were sent and mean nothing here, at most twenty."""
        return self._ignored

    def as_body(self) -> dict[str, Any]:
        """As stored in `Report.body`: JSON values, times as ISO 8601 in UTC, absent fields left out."""
        return self.model_dump(mode="json", exclude_none=True)


def read_report(body: bytes) -> PanicReport:
    """Raises InvalidReport: `code` "bad_json" when it is no JSON object, "invalid_report" when a field is wrong."""
    data = read_object(body)
    unknown = [key for key in data if key not in PanicReport.model_fields]
    try:
        report = PanicReport.model_validate({key: value for key, value in data.items() if key not in unknown})
        report._ignored = tuple(_shown(key) or "" for key in unknown[:20])
        return report
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        first = details[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        raise InvalidReport(
            _why(first["type"], first["msg"], field, len(details)), field=_shown(field)
        ) from error


def read_object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        _bad_json(
            f"the body is not UTF-8 (byte {error.start}). Escape the text, as a JSON library does.", error
        )
    except json.JSONDecodeError as error:
        _bad_json(f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).", error)
    except RecursionError as error:
        _bad_json("the body is nested too deeply.", error)
    except ValueError as error:  # NaN, numbers of thousands of digits
        _bad_json(f"the body is not JSON: {str(error)[:120]}.", error)
    if not isinstance(data, dict):
        _bad_json("the body must be a JSON object: {...}.", None)
    return data


def _bad_json(message: str, cause: Exception | None) -> NoReturn:
    problem = InvalidReport(message)
    problem.code = "bad_json"
    raise problem from cause


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


_MEANT = {
    "id": "send an id of your own, the same one whenever this report is sent again",
    "host": "send the name of the host that panicked",
    "text": 'send the dmesg or console text, "" when there is none',
    "dump.path": "send the dump's path on the host",
    "dump.size": "send the dump's size in bytes",
}


def _why(kind: str, message: str, field: str | None, count: int) -> str:
    name = _shown(field)
    if kind == "missing":
        text = f"{name} is missing: {_MEANT.get(field or '', 'send it, too')}"
    else:
        text = f"{name} {message.removeprefix('Value error, ').replace('Input should', 'should')}"
    more = f" ({count - 1} more fields are wrong)" if count > 1 else ""
    return f"{text}.{more}"


def _shown(field: str | None) -> str | None:
    return None if field is None else _UNSTORABLE.sub("�", field)[:100]
