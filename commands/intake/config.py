"""`[intake]`: how stored reports are read; `[netconsole]`: what is taken from dying kernels by UDP."""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from commands.durations import PositiveDuration

_SIZES = {"": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


def _read_size(value: object) -> object:
    """`262144`, `"256KiB"` -> bytes. Raises ValueError for other text."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]{1,15})\s*([a-z]*)\s*", value.lower())
    if match is None or match[2] not in _SIZES:
        raise ValueError(f"{value[:40]!r} is no size; write bytes (262144) or 256KiB, 64MiB")
    return int(match[1]) * _SIZES[match[2]]


_Size = Annotated[int, BeforeValidator(_read_size)]


class IntakeConfig(BaseModel):
    """`[intake]`: how stored reports become panics. Lengths of time: `90`, `30m`, `24h`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = Field(default=50, ge=1, le=1000, description="Reports read in one transaction at most.")
    max_attempts: int = Field(
        default=3, ge=1, le=100, description="A report that failed this often is parked for a person."
    )
    retry_after: PositiveDuration = Field(
        default=timedelta(seconds=10), description="Pause before a report that failed is read again."
    )
    same_boot_within: PositiveDuration = Field(
        default=timedelta(seconds=120),
        description="Two reports of a host whose boots started at most this far apart tell of the same boot "
        "(used when no boot id is known).",
    )


class NetconsoleConfig(BaseModel):
    """`[netconsole]`: lines of dying kernels by UDP, before there is a dump. See [netconsole.md](netconsole.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=False, description="Whether the UDP port is opened.")
    listen: str = Field(
        default="0.0.0.0",  # noqa: S104 - hosts are elsewhere; off unless enabled
        min_length=1,
        description="Address to listen on; `::` for IPv6 and IPv4.",
    )
    port: int = Field(default=6666, ge=0, le=65535, description="UDP port; 0 takes a free one.")
    sources: dict[str, str] = Field(
        default={},
        description="Which host sends from which address, where the inventory's `address` does not tell: "
        '`{ "10.0.0.7" = "web-17" }`.',
    )
    resolve: bool = Field(
        default=True,
        description="Look the inventory's names up (DNS) to know their addresses, every 10 minutes.",
    )
    allow_unknown: bool = Field(
        default=False,
        description="true: an unknown address is a host of that name; false: it is counted and told to admins once an "
        "hour, and its crashes are no panics.",
    )
    debounce: PositiveDuration = Field(
        default=timedelta(milliseconds=250),
        le=timedelta(milliseconds=500),
        description="How long after the first line of a crash its text is read for the first time; at most 500 ms.",
    )
    quiet: PositiveDuration = Field(
        default=timedelta(seconds=3),
        description="A trace without an end mark has ended after this long a silence.",
    )
    lives_after: PositiveDuration = Field(
        default=timedelta(seconds=60),
        description="An oops is survived when the same boot is seen this long after it.",
    )
    report_within: PositiveDuration = Field(
        default=timedelta(minutes=30),
        description="How long a thread says that its host is panicking while no report comes.",
    )
    rate: int = Field(
        default=2000,
        ge=1,
        le=1_000_000,
        description="Datagrams a second taken from one sender in the long run.",
    )
    burst: int = Field(
        default=20_000,
        ge=1,
        le=10_000_000,
        description="Datagrams taken from one sender at once, above the rate.",
    )
    senders: int = Field(default=4096, ge=1, le=1_000_000, description="Known senders remembered at a time.")
    bytes_per_sender: _Size = Field(
        default=256 * 1024,
        ge=16 * 1024,
        le=16 * 1024**2,
        description="Text of one crash that is kept of one sender; of a longer one, its beginning and its end.",
    )
    memory: _Size = Field(
        default=64 * 1024**2,
        ge=1024**2,
        le=4 * 1024**3,
        description="Datagrams kept in memory of all senders together.",
    )
    idle: PositiveDuration = Field(
        default=timedelta(hours=1), description="A sender that was silent for so long is forgotten."
    )
    receive_buffer: _Size = Field(
        default=8 * 1024**2,
        ge=64 * 1024,
        le=1024**3,
        description="Receive buffer asked of the kernel; it grants at most `net.core.rmem_max`.",
    )

    @field_validator("sources")
    @classmethod
    def _addresses(cls, sources: dict[str, str]) -> dict[str, str]:
        for address in sources:
            try:
                ip_network(address)
            except ValueError as error:
                raise ValueError(f"{address[:60]!r} is no IP address or network") from error
        return sources
