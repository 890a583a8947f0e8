"""`[inventory]`: where the fleet is read from besides `[[hosts]]`, and how far a source is trusted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from commands.durations import PositiveDuration
from commands.sizes import Size
from integrations.inventory import FIELDS

_GROUP_FIELDS = ("ring", "service", "hardware", "criticality", "owner")


class InventoryConfig(BaseModel):
    """`[inventory]`: whether the hosts are all that there are, and one source of more of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    closed: bool = Field(
        default=False,
        description="true: a report of a host that no `[[hosts]]` entry and no entry of the source matches is "
        "quarantined and told to admins.",
    )
    file: Path | None = Field(
        default=None, description="A JSON file of hosts. See [inventory.md](inventory.md)."
    )
    command: tuple[str, ...] = Field(
        default=(),
        max_length=50,
        description='A command that prints the hosts as JSON, such as `["ansible-inventory", "--list"]`. No shell.',
    )
    url: str | None = Field(
        default=None,
        pattern="^https?://[^ ]+$",
        description="An address that answers with the hosts as JSON.",
    )
    token: SecretStr | None = Field(default=None, description="Sent to `url` as `Authorization: Bearer …`.")
    every: PositiveDuration = Field(
        default=timedelta(minutes=15), description="How often the source is read."
    )
    timeout: PositiveDuration = Field(
        default=timedelta(seconds=60), description="How long the source may take."
    )
    limit: Size = Field(
        default=32 * 1024 * 1024, ge=1024, le=1024 * 1024 * 1024,
        description="The most that is read of the source, in bytes, or as `32MiB`.",
    )  # fmt: skip
    largest_drop: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A reload that would drop a larger share of the hosts waits for an admin: "
        "`/panic inventory confirm`.",
    )
    groups: dict[str, str] = Field(
        default_factory=dict,
        description='What an Ansible group means: `prod_2 = "ring:prod-2"`; of `ring`, `service`, `hardware`, '
        "`criticality`, `owner`. The name may be a pattern (`web_*`); of several that fit the first counts.",
    )
    variables: dict[str, str] = Field(
        default_factory=dict,
        description='Which Ansible variable holds what, where it is not called so: `ring = "stage"`. Known without '
        "it: `ansible_host`, `ansible_port`, `ansible_user`.",
    )

    @field_validator("groups")
    @classmethod
    def _groups_mean_something(cls, groups: dict[str, str]) -> dict[str, str]:
        for name, meaning in groups.items():
            field, colon, value = meaning.partition(":")
            if not colon or field not in _GROUP_FIELDS or not value:
                raise ValueError(f"{name} must mean one of {', '.join(f'{f}:…' for f in _GROUP_FIELDS)}")
        return groups

    @field_validator("variables")
    @classmethod
    def _variables_are_fields(cls, variables: dict[str, str]) -> dict[str, str]:
        strange = sorted(set(variables) - (FIELDS - {"name"}))
        if strange:
            raise ValueError(
                f"{strange[0]} is no field of a host; there are {', '.join(sorted(FIELDS - {'name'}))}"
            )
        return variables

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("file", "command", "url") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are set: a fleet has one source")
        if self.token is not None and self.url is None:
            raise ValueError("token is set without url")
        return self

    @property
    def has_source(self) -> bool:
        return bool(self.file or self.command or self.url)

    @property
    def source(self) -> str:
        """The source in words, without a secret: an address without its query and its user."""
        if self.file is not None:
            return f"file {self.file}"
        if self.command:
            return f"command {self.command[0]}"
        if self.url is None:
            return "[[hosts]]"
        return self.url.split("?", 1)[0].split("#", 1)[0].rsplit("@", 1)[-1]
