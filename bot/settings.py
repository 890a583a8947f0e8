"""panicroom.toml and PANICROOM_* environment -> one frozen `Settings`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from bot.replicas.config import ReplicasConfig
from bot.sources import Gathered, Key, SettingsError, dotted, gather, is_secret, submodel
from commands.access import AccessConfig
from commands.analysis.config import AnalysisConfig
from commands.changes.config import ChangesConfig
from commands.copies.config import CentralConfig
from commands.durations import PositiveDuration
from commands.evidence.contents import EvidenceConfig
from commands.fetch.config import FetchConfig
from commands.incident.config import IncidentConfig, RoutingConfig
from commands.intake.config import IntakeConfig, NetconsoleConfig
from commands.inventory import HostEntry, Inventory
from commands.inventory_config import InventoryConfig
from commands.inventory_desk import read_kept, together
from commands.ready.config import ReadyConfig
from commands.retention.policy import RetentionConfig
from commands.sizes import Size
from commands.sweep.config import SweepConfig
from commands.triage.runbook import TriageConfig
from integrations.changes import JiraConfig
from integrations.changes.feed_config import FeedConfig
from integrations.inbound.alertmanager import AlertmanagerConfig
from integrations.pager.config import PagerConfig
from integrations.redaction import RedactionConfig
from integrations.slack.client import SlackConfig
from integrations.ssh.config import SshConfig
from integrations.workload.config import WorkloadConfig

__all__ = ["Settings", "SettingsError", "load_settings"]

_SHORTEST_SECRET = 16


class ServerConfig(BaseModel):
    """`[server]`: the HTTP port of the bot, and what it takes from hosts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on; `0.0.0.0` for all."
    )
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    public_url: str | None = Field(
        default=None,
        pattern="^https?://[^ ]+$",
        description="How Slack and the hosts reach the bot; written into the app manifest.",
    )
    body_limit: Size = Field(
        default=1024 * 1024,
        ge=1024,
        le=64 * 1024 * 1024,
        description="Largest report that is taken, in bytes, or as `512KiB`, `1MiB`.",
    )
    time_window: PositiveDuration = Field(
        default=timedelta(seconds=300),
        description="How far a report's timestamp may be from the bot's clock.",
    )
    shared_secrets: tuple[SecretStr, ...] = Field(
        default=(),
        max_length=10,
        description="Secrets that any host may sign its reports with; two are valid during a rotation. "
        f"At least {_SHORTEST_SECRET} characters each.",
    )

    @field_validator("shared_secrets")
    @classmethod
    def _long_enough(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(s.get_secret_value()) < _SHORTEST_SECRET for s in secrets):
            raise ValueError(
                f"each secret needs at least {_SHORTEST_SECRET} characters: `openssl rand -hex 32`"
            )
        return secrets


class DatabaseConfig(BaseModel):
    """`[database]`: where the bot keeps what it knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        default="sqlite:///panicroom.db",
        repr=False,
        json_schema_extra={"secret": True},
        description="`sqlite:///file` (a relative file stands beside panicroom.toml) or "
        "`postgresql://user:password@host/name`.",
    )
    backup_dir: Path | None = Field(
        default=None,
        description="Where the bot puts backups of its database by itself; a relative one stands beside "
        "panicroom.toml. None: it takes none.",
    )
    backup_every: PositiveDuration = Field(
        default=timedelta(days=1), ge=timedelta(minutes=1), description="How often it takes one."
    )
    backup_keep: int = Field(
        default=7, ge=1, le=10_000, description="How many of its backups stay there; older ones are removed."
    )

    @field_validator("url")
    @classmethod
    def _known_backend(cls, url: str) -> str:
        allowed = "must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise ValueError(allowed) from error
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
            raise ValueError(allowed)
        if parsed.drivername == "sqlite" and (not parsed.database or parsed.database == ":memory:"):
            raise ValueError("a database in memory forgets everything: give a file, sqlite:///panicroom.db")
        return parsed.render_as_string(hide_password=False)

    @property
    def shown(self) -> str:
        """The URL without its password, for people and logs."""
        return make_url(self.url).render_as_string(hide_password=True)


class StoreConfig(BaseModel):
    """`[store]`: where evidence bundles and panic texts are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dir: Path = Field(
        default=Path("store"),
        description="Directory of the artefacts; a relative one stands beside panicroom.toml.",
    )


class LogConfig(BaseModel):
    """`[log]`: what the bot writes to standard error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console when standard error is a terminal, JSON otherwise."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level written."
    )


class Settings(BaseSettings):
    """Everything that can be set. Build it with `load_settings`; nothing is read from the environment by itself."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix="PANICROOM_",
        env_nested_delimiter="__",
    )

    server: ServerConfig = ServerConfig()
    database: DatabaseConfig = DatabaseConfig()
    replicas: ReplicasConfig = ReplicasConfig()
    store: StoreConfig = StoreConfig()
    slack: SlackConfig = SlackConfig()
    routing: RoutingConfig = RoutingConfig()
    access: AccessConfig = AccessConfig()
    incident: IncidentConfig = IncidentConfig()
    intake: IntakeConfig = IntakeConfig()
    netconsole: NetconsoleConfig = NetconsoleConfig()
    alertmanager: AlertmanagerConfig = AlertmanagerConfig()
    ssh: SshConfig = SshConfig()
    triage: TriageConfig = TriageConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    redaction: RedactionConfig = RedactionConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    central: CentralConfig = CentralConfig()
    fetch: FetchConfig = FetchConfig()
    sweep: SweepConfig = SweepConfig()
    ready: ReadyConfig = ReadyConfig()
    retention: RetentionConfig = RetentionConfig()
    changes: ChangesConfig = ChangesConfig()
    jira: JiraConfig | None = None
    feed: FeedConfig = FeedConfig()
    workload: WorkloadConfig = WorkloadConfig()
    pager: PagerConfig = PagerConfig()
    inventory: InventoryConfig = InventoryConfig()
    hosts: tuple[HostEntry, ...] = ()
    log: LogConfig = LogConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what it is given: `load_settings` reads the file and the environment that it is handed."""
        return (init_settings,)

    def make_inventory(self) -> Inventory:
        """The settings' hosts, and what was last taken from the source (`[inventory]`). Blocking."""
        hosts = self.hosts
        if self.inventory.has_source:
            hosts = together(hosts, read_kept(self.store.dir, self.inventory.source).entries)
        return Inventory(hosts, closed=self.inventory.closed)


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The file's settings (none: defaults), overridden by `PANICROOM_SECTION__KEY` of `environ`.

    Raises SettingsError with one line a problem: key, where it was written, what is allowed.
    """
    gathered = gather(Settings, path, environ)
    _place_database(gathered, path)
    try:
        settings = Settings(**gathered.values)
    except ValidationError as error:
        known = {problem.split(" ", 1)[0].rstrip(":") for problem in gathered.problems}
        for detail in error.errors(include_url=False):
            if dotted(_key(detail["loc"])) not in known:
                _describe(detail, gathered)
        raise SettingsError(gathered.problems) from error
    _check_together(settings, gathered)
    if gathered.problems:
        raise SettingsError(gathered.problems)
    changes = settings.changes.model_copy(update={"jira": settings.jira})
    files = tuple(file if file.is_absolute() else gathered.base / file for file in settings.feed.files)
    feed = settings.feed.model_copy(update={"files": files})
    return settings.model_copy(update={"changes": changes, "feed": feed})


def _place_database(gathered: Gathered, path: Path | None) -> None:
    """A relative SQLite file and the store stand beside panicroom.toml, wherever the bot was started."""
    if path is None:
        return
    database = gathered.values.setdefault("database", {})
    store = gathered.values.setdefault("store", {})
    if isinstance(store, dict):
        store.setdefault("dir", str(gathered.base / "store"))
    if not isinstance(database, dict) or gathered.origin(("database", "url")).startswith("PANICROOM_"):
        return
    url = database.setdefault("url", "sqlite:///panicroom.db")
    if isinstance(url, str) and url.startswith("sqlite:///") and url != "sqlite:///:memory:":
        file = Path(url.removeprefix("sqlite:///"))
        if url != "sqlite:///" and not file.is_absolute():
            database["url"] = f"sqlite:///{gathered.base / file}"


def _check_together(settings: Settings, gathered: Gathered) -> None:
    """What no section can see alone."""

    def missing(key: Key, what: str) -> None:
        variable = "PANICROOM_" + "__".join(str(part).upper() for part in key)
        gathered.problem(key, f"is missing: {what}. Set {dotted(key)}, {dotted(key)}_file or {variable}")

    slack = settings.slack
    if not slack.bot_token.get_secret_value():
        missing(("slack", "bot_token"), "the bot token (xoxb-…) of the installed app")
    if slack.mode == "http" and not slack.signing_secret.get_secret_value():
        missing(("slack", "signing_secret"), 'mode "http" needs the signing secret of the app')
    if slack.mode == "socket" and not slack.app_token.get_secret_value():
        missing(("slack", "app_token"), 'mode "socket" needs an app-level token (xapp-…)')
    if not settings.routing.channel:
        gathered.problem(
            ("routing", "channel"), "is missing: the id of the incident channel, such as C0123456789"
        )
    if settings.changes.jira is not None:
        gathered.problem(("changes", "jira"), "is written as a section of its own: [jira]")
    if settings.pager.enabled and not settings.pager.routing_key.get_secret_value():
        missing(("pager", "routing_key"), "the pager's url is set, so its routing key is needed")
    if not settings.server.shared_secrets and not any(host.secret for host in settings.hosts):
        missing(
            ("server", "shared_secrets"),
            "hosts sign their reports with one; make it by `openssl rand -hex 32`",
        )
    seen: dict[str, int] = {}
    for index, host in enumerate(settings.hosts):
        name = host.name.lower()
        if name in seen:
            gathered.problem(
                ("hosts", index, "name"), f"{host.name!r} is already the name of hosts[{seen[name]}]"
            )
        seen.setdefault(name, index)
        if any(len(secret) < _SHORTEST_SECRET for secret in reporting_secrets(host)):
            gathered.problem(("hosts", index, "secret"), f"needs at least {_SHORTEST_SECRET} characters")


def reporting_secrets(host: HostEntry) -> tuple[str, ...]:
    """The secrets of its own that this host signs its reports with; more than one during a rotation."""
    return tuple(secret.get_secret_value() for secret in host.secret)


# -- what pydantic found, in words --------------------------------------------------------------------------


def _key(loc: tuple[int | str, ...]) -> Key:
    """pydantic's location without the names of union members and validators."""
    return tuple(part for part in loc if isinstance(part, int) or re.fullmatch(r"[A-Za-z0-9_-]+", part))


def _describe(detail: ErrorDetails, gathered: Gathered) -> None:
    key = _key(detail["loc"])
    model, secret = _model_at(key)
    kind = detail["type"]
    if kind == "extra_forbidden":
        allowed = sorted(model.model_fields) if model is not None else []
        near = difflib.get_close_matches(str(key[-1]), allowed, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        gathered.problem(key, f"is no setting; {hint}Allowed here: {', '.join(allowed)}")
        return
    if kind == "missing":
        gathered.problem(key, "is missing")
        return
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    context: dict[str, Any] = detail.get("ctx", {})
    choice = re.fullmatch(r"\^\(([\w|-]+)\)\$", str(context.get("pattern", "")))
    if choice is not None:
        message = f"must be one of {', '.join(choice.group(1).split('|'))}"
    elif kind == "string_pattern_mismatch":
        info = model.model_fields.get(str(key[-1])) if model is not None else None
        meant = f" ({info.description.rstrip('.')})" if info is not None and info.description else ""
        message = f"must have the form {context.get('pattern')}{meant}"
    given = detail.get("input")
    told = isinstance(given, (str, int, float)) and not secret
    if isinstance(given, str):
        told = told and given[:40] not in message
    gathered.problem(key, message + (f", not {repr(given)[:60]}" if told else ""))


def _model_at(key: Key) -> tuple[type[BaseModel] | None, bool]:
    """The model that the last part of the key belongs to, and whether the key holds a secret."""
    model: type[BaseModel] | None = Settings
    parts = [part for part in key if isinstance(part, str)]
    for position, part in enumerate(parts):
        info = model.model_fields.get(part) if model is not None else None
        last = position == len(parts) - 1
        if last or info is None:
            return model, info is not None and is_secret(part, info)
        model = submodel(info.annotation)
    return model, False
