"""`[ssh]`: how the bot reaches hosts."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from integrations.ssh.errors import BadAddress

_ADDRESS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._:%-]{0,253}[A-Za-z0-9_])?")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class SshHost:
    """Where a host is. `name` is what people call it; `address` is where we connect to (default: the name).

    What is None is looked up in the ssh_config file, then in `[ssh]`.
    """

    name: str
    address: str | None = None
    port: int | None = None  # default: 22
    user: str | None = None
    jump: str | None = None  # "" for none

    @property
    def target(self) -> str:
        return self.address or self.name

    @property
    def spoken(self) -> str:
        """For messages: `web-17 (10.0.0.17:22)`."""
        return spoken(self.name, self.target, self.port or 22)


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
    config_file: Path | None = Field(
        default=None,
        description="An OpenSSH client configuration (`~/.ssh/config`): aliases, ports, users, keys, ProxyJump. "
        "What an inventory entry says comes first; what the file says comes before this section.",
    )
    connect_timeout: float = Field(
        default=10.0, gt=0, le=300
    )  # seconds, for each of TCP, handshake and login
    command_timeout: float = Field(default=60.0, gt=0, le=3600)  # seconds, where a step states none
    output_cap: int = Field(default=4 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)  # bytes of one command
    hosts_at_once: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Hosts connected at the same time, by triage, evidence, copies and sweeps together; others wait.",
    )
    idle_seconds: float = Field(
        default=10.0,
        ge=0,
        le=600,
        description="A connection that nobody uses any more is kept this long for the next one, then closed.",
    )
    batch: bool = Field(
        default=True,
        description="Commands of a step go to the host in one go, each under `timeout -k`. false: one request each, "
        "for accounts that allow nothing else (the bot finds that out by itself).",
    )
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
    if _ADDRESS.fullmatch(address) is None and not _is_ip(address):
        raise BadAddress(f"{address[:80]!r} cannot be the address of a host.")
    return address


def is_user(name: str) -> bool:
    return _USER.fullmatch(name) is not None


def spoken(name: str, address: str, port: int) -> str:
    """For messages: `web-17`, `web-17 (10.0.0.17:2222)`, `web-17 ([2001:db8::17]:2222)`."""
    where = address
    if port != 22:
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return name if where == name else f"{name} ({where})"


def _is_ip(text: str) -> bool:
    """IPv6 addresses may begin and end with colons (`::1`, `2001:db8::`)."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return re.fullmatch(r"[0-9A-Fa-f:.]+", text) is not None


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
        port = int(match[2]) if match[2] else None
        if port is not None and not 0 < port < 65536:
            raise BadAddress(f"{part[:80]!r} names a port that does not exist.")
        address = check_address(match[1])
        hops.append(SshHost(address, None, port, user or None, ""))
    return tuple(hops)
