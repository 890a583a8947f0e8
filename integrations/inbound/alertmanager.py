"""What Alertmanager posts: a group of alerts (webhook, version 4)."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from integrations.inbound.errors import InvalidReport, Unsigned
from integrations.inbound.report import host_name, read_object

_MATCHER = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=)\s*\"((?:[^\"\\]|\\.)*)\"\s*")
_MOST_ALERTS = 10_000


@dataclass(frozen=True)
class Matcher:
    """As in Alertmanager's configuration: `alertname=~"Node.*"`; expressions are anchored at both ends."""

    label: str
    operator: str
    value: str

    def fits(self, labels: Mapping[str, str]) -> bool:
        given = labels.get(self.label, "")
        if self.operator in ("=", "!="):
            return (given == self.value) is (self.operator == "=")
        return (re.fullmatch(self.value, given) is not None) is (self.operator == "=~")


def read_matchers(text: str) -> tuple[Matcher, ...]:
    """`alertname="HostDown", severity=~"page|critical"`: all must fit. Raises ValueError."""
    found: list[Matcher] = []
    at = 0
    while True:
        match = _MATCHER.match(text, at)
        if match is None:
            raise ValueError(
                f'{text[:80]!r} is no matcher; write alertname="HostDown" or alertname=~"Host.*"'
            )
        label, operator, value = match[1], match[2], re.sub(r"\\([\\\"])", r"\1", match[3])
        if operator.endswith("~"):
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"{value[:60]!r} is no regular expression: {error}") from error
        found.append(Matcher(label, operator, value))
        at = match.end()
        if at == len(text):
            return tuple(found)
        if text[at] != ",":
            raise ValueError(f"{text[:80]!r}: matchers are separated by commas")
        at += 1


class AlertmanagerConfig(BaseModel):
    """`[alertmanager]`: `POST /v1/alertmanager`, Alertmanager's webhook. See [alertmanager.md](alertmanager.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bearer_token: SecretStr = Field(
        default=SecretStr(""),
        description="Token that Alertmanager sends (`http_config.authorization.credentials`). Without it and without "
        "`basic_password` the route answers 404.",
    )
    basic_user: str = Field(
        default="alertmanager",
        min_length=1,
        description="User name, where Alertmanager sends one (`basic_auth`).",
    )
    basic_password: SecretStr = Field(
        default=SecretStr(""), description="Password of `basic_user`. Both ways may be open at a time."
    )
    host_labels: tuple[str, ...] = Field(
        default=("instance", "host", "node", "nodename", "hostname"),
        min_length=1,
        description="Labels that name the host, the first one that is there; a port is cut off, an address looked up "
        "in the inventory.",
    )
    alerts: tuple[str, ...] = Field(
        default=(
            'alertname=~"(Instance|Host|Node|Server|Machine|Target)_?(Is_?)?(Down|Unreachable|Rebooted|Restarted)"',
            'alertname=~"(Unexpected|Host|Node|Server)_?(Unexpected)?_?Reboot(ed)?"',
            'alertname=~"KubeNode(NotReady|Unreachable)"',
            'alertname=~".*Kernel_?(Panic|Oops|Crash|Deadlock|Lockup).*"',
        ),
        min_length=1,
        description="Which alerts tell of a crash: matchers as in Alertmanager's own configuration, separated by "
        "commas where several must fit; one entry that fits is enough.",
    )
    lag_minutes: int = Field(
        default=10,
        ge=1,
        le=360,
        description="How many minutes before an alert's `startsAt` the crash may lie: scrape interval, `for:` and a "
        "reserve.",
    )

    @field_validator("bearer_token", "basic_password")
    @classmethod
    def _long_enough(cls, secret: SecretStr) -> SecretStr:
        if 0 < len(secret.get_secret_value()) < 16:
            raise ValueError("needs at least 16 characters: `openssl rand -hex 32`")
        return secret

    @field_validator("alerts")
    @classmethod
    def _matchers(cls, alerts: tuple[str, ...]) -> tuple[str, ...]:
        for text in alerts:
            read_matchers(text)
        return alerts

    @model_validator(mode="after")
    def _user(self) -> AlertmanagerConfig:
        if ":" in self.basic_user:
            raise ValueError("basic_user must not hold a colon")
        return self

    @property
    def enabled(self) -> bool:
        return bool(self.bearer_token.get_secret_value() or self.basic_password.get_secret_value())

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels tells of a crash."""
        return any(all(m.fits(labels) for m in read_matchers(text)) for text in self.alerts)


@dataclass(frozen=True)
class Alert:
    """One alert. `ends_at` is None while it fires."""

    name: str
    labels: Mapping[str, str]
    firing: bool
    starts_at: datetime
    ends_at: datetime | None
    fingerprint: str

    @property
    def ident(self) -> str:
        """The same whenever this firing is told again."""
        return f"alert:{self.fingerprint}:{self.starts_at.isoformat()}"


@dataclass(frozen=True)
class Webhook:
    """One notification. `invalid` says of alerts that could not be read why; the others count."""

    group_key: str
    status: str
    alerts: tuple[Alert, ...]
    truncated: int
    invalid: tuple[str, ...] = ()


def authenticate(header: str | None, config: AlertmanagerConfig) -> None:
    """`Authorization: Bearer …` or `Basic …`, whichever is set, compared in constant time. Raises Unsigned."""
    scheme, _, given = (header or "").strip().partition(" ")
    given = given.strip()
    accepted = False
    token = config.bearer_token.get_secret_value()
    if token:
        accepted = _equal(given if scheme.lower() == "bearer" else "", token)
    password = config.basic_password.get_secret_value()
    if password:
        credentials = _basic(given) if scheme.lower() == "basic" else ""
        accepted = _equal(credentials, f"{config.basic_user}:{password}") or accepted
    if not accepted:
        ways = [way for way, on in (("Bearer", token), ("Basic", password)) if on]
        problem = Unsigned(
            f"the Authorization header is missing or wrong; {' or '.join(ways)} is taken here.",
            field="Authorization",
        )
        problem.code = "bad_credentials"
        raise problem


def _equal(given: str, wanted: str) -> bool:
    """Hashed first, so that the time taken tells nothing of the length either."""
    digests = [hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest() for text in (given, wanted)]
    return hmac.compare_digest(*digests)


def _basic(given: str) -> str:
    try:
        return b64decode(given, validate=True).decode("utf-8")
    except (Base64Error, ValueError):
        return ""


def read_webhook(body: bytes) -> Webhook:
    """Raises InvalidReport: `code` "bad_json" when it is no JSON object, "invalid_webhook" when it is another one."""
    data = read_object(body)
    version = data.get("version")
    if version != "4":
        raise _invalid(
            "version", f'version must be "4", not {str(version)[:20]!r}: is this Alertmanager\'s webhook?'
        )
    status = data.get("status")
    if status not in ("firing", "resolved"):
        raise _invalid("status", 'status must be "firing" or "resolved".')
    alerts = data.get("alerts")
    if not isinstance(alerts, list) or len(alerts) > _MOST_ALERTS:
        raise _invalid("alerts", f"alerts must be a list of at most {_MOST_ALERTS} alerts.")
    truncated = data.get("truncatedAlerts", 0)
    if not isinstance(truncated, int) or isinstance(truncated, bool) or not 0 <= truncated < 1 << 62:
        raise _invalid("truncatedAlerts", "truncatedAlerts must be a whole number.")
    read: list[Alert] = []
    problems: list[str] = []
    for number, item in enumerate(alerts):
        try:
            read.append(_alert(item))
        except ValueError as error:
            problems.append(f"alerts[{number}]: {error}")
    group_key = data.get("groupKey")
    return Webhook(
        group_key=group_key[:1000] if isinstance(group_key, str) else "",
        status=status,
        alerts=tuple(read),
        truncated=truncated,
        invalid=tuple(problems),
    )


def _alert(item: Any) -> Alert:
    if not isinstance(item, dict):
        raise ValueError("must be an object")  # noqa: TRY004 - a problem of what was sent
    labels = item.get("labels")
    if not isinstance(labels, dict) or not all(isinstance(v, str) for v in labels.values()):
        raise ValueError("labels must be an object of texts")
    status = item.get("status")
    if status not in ("firing", "resolved"):
        raise ValueError('status must be "firing" or "resolved"')
    starts_at = _moment(item.get("startsAt"))
    if starts_at is None:
        raise ValueError("startsAt must be an ISO 8601 time with a zone")
    fingerprint = item.get("fingerprint")
    if not isinstance(fingerprint, str) or re.fullmatch(r"[0-9A-Za-z_-]{1,64}", fingerprint) is None:
        # Older senders leave it out: the labels are what it is made of.
        pairs = "\0".join(f"{key}\1{value}" for key, value in sorted(labels.items()))
        fingerprint = hashlib.sha256(pairs.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Alert(
        name=labels.get("alertname", "")[:200],
        labels=labels,
        firing=status == "firing",
        starts_at=starts_at,
        ends_at=_moment(item.get("endsAt")) if status == "resolved" else None,
        fingerprint=fingerprint,
    )


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None or not 1970 <= moment.year <= 2200:  # "0001-01-01T00:00:00Z" is none
        return None
    return moment.astimezone(UTC)


def _invalid(field: str, message: str) -> InvalidReport:
    problem = InvalidReport(message, field=field)
    problem.code = "invalid_webhook"
    return problem


def host_of(labels: Mapping[str, str], names: Sequence[str]) -> str | None:
    """The first of the labels that names a host or an address, without its port; None when none does."""
    for name in names:
        value = labels.get(name, "").strip()
        if not value:
            continue
        bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.%\w]+)\](?::\d+)?", value)
        if bracketed:
            value = bracketed[1]
        else:
            value = re.sub(r"\A([^:]*):\d{1,5}\Z", r"\1", value)
        try:
            return str(ip_address(value.partition("%")[0]))
        except ValueError:
            pass
        try:
            return host_name(value)
        except ValueError:
            continue
    return None
