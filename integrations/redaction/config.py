"""`[redaction]`: which sorts of things are taken out of host text before Slack sees it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RedactionConfig(BaseModel):
    """`[redaction]`: what is taken out of host text before Slack sees it. The store keeps the original."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passwords: bool = Field(
        default=True,
        description="Passwords, passphrases and keys that are assigned or given as options: `password=`, "
        "`DB_PASS:`, `--token …`, `mysql -p…`, iSCSI and LUKS on a kernel's command line, SNMP communities.",
    )
    headers: bool = Field(
        default=True, description="Credentials in HTTP headers: Authorization, Cookie, `X-…-Token`."
    )
    urls: bool = Field(default=True, description="User and password in an address: `https://user:…@host/`.")
    tokens: bool = Field(
        default=True,
        description="Tokens that are known by their shape: AWS, GitHub, GitLab, Slack, Google, JWT and others.",
    )
    keys: bool = Field(
        default=True, description="Private keys in PEM form, also in part, and hashes of passwords."
    )
    email: bool = Field(
        default=True, description="E-mail addresses; mailing lists in a kernel's banners stay."
    )
    mac: bool = Field(default=True, description="Hardware addresses: Ethernet, InfiniBand, Fibre Channel.")
    ipv4: bool = Field(default=True, description="IPv4 addresses; loopback and netmasks stay.")
    ipv6: bool = Field(default=True, description="IPv6 addresses; loopback stays.")
    serial: bool = Field(default=True, description="Serial numbers, asset tags and the names of disks (WWN).")
    uuid: bool = Field(default=True, description="UUIDs, such as a machine's or a file system's.")
