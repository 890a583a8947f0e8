"""Commands on a host over SSH: verified host keys, keys or certificates or an agent, never a password."""

from __future__ import annotations

from integrations.ssh.client import SshClient, SshSession
from integrations.ssh.config import SshConfig, SshHost, parse_jump
from integrations.ssh.errors import (
    AuthRefused,
    BadAddress,
    ConnectionLost,
    HostKeyChanged,
    HostKeyRefused,
    HostKeyRevoked,
    HostKeyUnknown,
    HostUnreachable,
    KeyUnusable,
    NoCommonAlgorithm,
    SshError,
)
from integrations.ssh.exchange import CommandResult

__all__ = [
    "AuthRefused",
    "BadAddress",
    "CommandResult",
    "ConnectionLost",
    "HostKeyChanged",
    "HostKeyRefused",
    "HostKeyRevoked",
    "HostKeyUnknown",
    "HostUnreachable",
    "KeyUnusable",
    "NoCommonAlgorithm",
    "SshClient",
    "SshConfig",
    "SshError",
    "SshHost",
    "SshSession",
    "parse_jump",
]
