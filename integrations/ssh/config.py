"""`[ssh]`: how the bot reaches hosts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from integrations.ssh.errors import BadAddress

_ADDRESS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._:%-]{0,253}[A-Za-z0-9_])?|::1?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class SshHost:
    """Where a host is. `name` is what people call it; `address` is where we connect to (default: the name)."""

    name: str
    address: str | None = None
    port: int = 22
    user: str | None = None  # default: [ssh] user
    jump: str | None = None  # default: [ssh] jump; "" for none

    @property
    def target(self) -> str:
        return self.address or self.name

    @property
    def spoken(self) -> str:
        """For messages: `web-17 (10.0.0.17:22)`."""
        where = f"{self.target}:{self.port}" if self.port != 22 else self.target
        return self.name if where == self.name else f"{self.name} ({where})"


class SshConfig(BaseModel):
    """Keys, certificates or an agent; a password has no place here.

    `known_hosts` is an OpenSSH known_hosts file, hashed names, wildcards, `@cert-authority` and `@revoked`
    included. It is read at each connection, so a key added to it counts at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str = "triage"
    key_file: Path | None = None
    certificate: Path | None = None  # default: KEY_FILE-cert.pub when there is one
    agent: bool = False  # use the keys of the agent at SSH_AUTH_SOCK
    known_hosts: Path = Path("~/.ssh/known_hosts")
    jump: str | None = None  # `user@bastion:22`; several, comma-separated, are gone through in order
    connect_timeout: float = Field(
        default=10.0, gt=0, le=300
    )  # seconds, for each of TCP, handshake and login
    command_timeout: float = Field(default=30.0, gt=0, le=3600)  # seconds, where a step states none
    output_cap: int = Field(default=4 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)  # bytes of one command
    threads: int = Field(default=8, ge=1, le=64)  # connections and commands at work at the same time
    helper: tuple[str, ...] = ("sudo", "-n", "/usr/local/sbin/panicroom-host")

    @field_validator("user")
    @classmethod
    def _is_user(cls, value: str) -> str:
        if _USER.fullmatch(value) is None:
            raise ValueError("a user name as the host knows it, such as `triage`")
        return value

    @field_validator("jump")
    @classmethod
    def _is_jump(cls, value: str | None) -> str | None:
        try:
            parse_jump(value or "")
        except BadAddress as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("helper")
    @classmethod
    def _is_helper(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(value):
            raise ValueError('a command as a list, such as ["sudo", "-n", "/usr/local/sbin/panicroom-host"]')
        return value


def check_address(address: str) -> str:
    """The address itself. Raises BadAddress: a host's name comes from reports and is not to be trusted."""
    if _ADDRESS.fullmatch(address) is None:
        raise BadAddress(f"{address[:80]!r} cannot be the address of a host.")
    return address


def parse_jump(text: str) -> tuple[SshHost, ...]:
    """`user@bastion:22,second` as the hosts to go through, in order. `[2001:db8::1]:22` for IPv6."""
    hops = []
    for part in (p.strip() for p in text.split(",")):
        if not part:
            continue
        user, at, where = part.rpartition("@")
        bracketed = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?", where)
        plain = re.fullmatch(r"([^:\[\]]+)(?::(\d{1,5}))?", where)
        match = bracketed or plain
        if match is None or (at and _USER.fullmatch(user) is None):
            raise BadAddress(f"{part[:80]!r} is no jump host.")
        port = int(match[2] or 22)
        if not 0 < port < 65536:
            raise BadAddress(f"{part[:80]!r} names a port that does not exist.")
        address = check_address(match[1])
        hops.append(SshHost(address, address, port, user or None, ""))
    return tuple(hops)
