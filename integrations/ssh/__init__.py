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
    SshConfigRefused,
    SshError,
)
from integrations.ssh.exchange import CommandResult, Keep, Request
from integrations.ssh.route import Hop, route_to
from integrations.ssh.streaming import StreamEnd

__all__ = [
    "AuthRefused",
    "BadAddress",
    "CommandResult",
    "ConnectionLost",
    "Hop",
    "HostKeyChanged",
    "HostKeyRefused",
    "HostKeyRevoked",
    "HostKeyUnknown",
    "HostUnreachable",
    "Keep",
    "KeyUnusable",
    "NoCommonAlgorithm",
    "Request",
    "SshClient",
    "SshConfig",
    "SshConfigRefused",
    "SshError",
    "SshHost",
    "SshSession",
    "StreamEnd",
    "parse_jump",
    "route_to",
]
