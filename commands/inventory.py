"""The fleet as the settings describe it: who a host is, and where its incidents are told."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr


def _one_or_several(value: object) -> object:
    return value if isinstance(value, (list, tuple)) else () if value is None else (value,)


class HostEntry(BaseModel):
    """One `[[hosts]]` entry: a host by name, or many by glob (`web-*`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=255)
    address: str | None = None  # default: the name
    port: int = Field(default=22, ge=1, le=65535)
    ring: str | None = None
    hardware: str | None = None
    service: str | None = None  # what runs on it: a change may be made to a service
    criticality: str = Field(default="normal", pattern="^(low|normal|critical)$")
    owner: str | None = None
    # The host's own reporting secrets: one, or several during a rotation; checked by the settings.
    secret: Annotated[tuple[SecretStr, ...], BeforeValidator(_one_or_several)] = Field(
        default=(), max_length=10
    )
    user: str | None = None  # SSH user, when it differs from [ssh] user
    jump: str | None = None

    @property
    def is_pattern(self) -> bool:
        return any(c in self.name for c in "*?[")


class Inventory:
    """Hosts by name first, then by the first pattern that matches.

    One object for the life of the bot: `replace` puts other entries into it, for all who hold it. Who keeps
    something made of the entries makes it again when `version` has changed.
    """

    def __init__(self, entries: tuple[HostEntry, ...] = (), *, closed: bool = False) -> None:
        self.closed = closed
        self.version = 0
        self._set(entries)

    def replace(self, entries: tuple[HostEntry, ...]) -> None:
        self._set(entries)
        self.version += 1

    def _set(self, entries: tuple[HostEntry, ...]) -> None:
        self.entries = entries
        self._by_name = {e.name.lower(): e for e in reversed(entries) if not e.is_pattern}
        self._patterns = [e for e in entries if e.is_pattern]

    def find(self, host: str) -> HostEntry | None:
        """The entry for a host as it named itself; its short name is tried, too (`web-17.example.org`)."""
        name = host.lower()
        for candidate in (name, name.split(".", 1)[0]):
            if candidate in self._by_name:
                return self._by_name[candidate]
        return next((e for e in self._patterns if fnmatchcase(name, e.name.lower())), None)

    def knows(self, host: str) -> bool:
        return self.find(host) is not None
