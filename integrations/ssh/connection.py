"""An SSH connection with a verified host key, directly or through jump hosts. Blocking: runs in threads."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from integrations.ssh.config import SshConfig, SshHost
from integrations.ssh.errors import BROKEN, AuthRefused, HostUnreachable, KeyUnusable, NoCommonAlgorithm
from integrations.ssh.known_hosts import KnownHosts, preferred_types
from integrations.ssh.route import Hop, route_to
from integrations.ssh.verification import verify

# paramiko logs what it also raises, with tracebacks for every port scanner's greeting.
_LOG_CHANNEL = "integrations.ssh.paramiko"
logging.getLogger(_LOG_CHANNEL).addHandler(logging.NullHandler())
logging.getLogger(_LOG_CHANNEL).propagate = False
# 1 GiB costs paramiko 8.6 s of CPU with its own first choice (aes128-ctr and a MAC), 5.2 s with this.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
# A host that dies says no goodbye: something is sent every so often, and what is not acknowledged ends the connection.
_REKEY_BYTES = 1 << 40
_KEEPALIVE = 10  # seconds
_UNACKNOWLEDGED = 20_000  # milliseconds


@dataclass
class Connection:
    """The transports from the first jump host to the host itself; `transport` is the last."""

    host: SshHost
    transports: list[paramiko.Transport] = field(default_factory=list)

    @property
    def transport(self) -> paramiko.Transport:
        return self.transports[-1]

    @property
    def is_open(self) -> bool:
        return bool(self.transports) and all(t.is_active() for t in self.transports)

    def close(self) -> None:
        for transport in reversed(self.transports):
            transport.close()


def open_connection(host: SshHost, config: SshConfig) -> Connection:
    """Connect, verify the host's key, log in. Raises an SshError; nothing is left open then."""
    connection = Connection(host)
    try:
        for hop in route_to(host, config):
            try:
                known = KnownHosts.read_all(hop.known_hosts)
            except OSError as error:
                raise KeyUnusable(
                    f"the known_hosts file {error.filename} cannot be read: {error.strerror}."
                ) from error
            connection.transports.append(_reach(hop, connection, config))
            _handshake(connection.transport, hop, config, known)
            _log_in(connection.transport, hop)
    except BaseException:
        connection.close()
        raise
    connection.transport.set_keepalive(_KEEPALIVE)
    return connection


def _reach(hop: Hop, so_far: Connection, config: SshConfig) -> paramiko.Transport:
    wire: socket.socket | paramiko.Channel
    try:
        if so_far.transports:
            wire = so_far.transport.open_channel(
                "direct-tcpip", (hop.address, hop.port), ("127.0.0.1", 0), timeout=config.connect_timeout
            )
        else:
            wire = socket.create_connection((hop.address, hop.port), timeout=config.connect_timeout)
            # A request and its answer are small: without this each waits for an acknowledgement, 40 ms.
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)
        transport = paramiko.Transport(wire)
    except BROKEN as error:
        raise HostUnreachable(f"{hop.spoken} does not answer ({_words(error)}).") from error
    transport.set_log_channel(_LOG_CHANNEL)
    # A re-key that paramiko begins while data comes in races with its own window messages and may hang until the
    # connection is given up (its issue 822). One that the server begins does not, and every server begins them.
    transport.packetizer.REKEY_BYTES = _REKEY_BYTES
    offered = transport.get_security_options()
    offered.ciphers = (*_CIPHERS, *(c for c in offered.ciphers if c not in _CIPHERS))
    transport.banner_timeout = config.connect_timeout
    transport.handshake_timeout = config.connect_timeout
    transport.auth_timeout = config.connect_timeout
    transport.channel_timeout = config.connect_timeout
    return transport


def _handshake(transport: paramiko.Transport, hop: Hop, config: SshConfig, known: KnownHosts) -> None:
    names, port = hop.trusted_as
    transport._preferred_keys = preferred_types(known.keys_of(names, port), known.authorities_of(names, port))
    try:
        transport.start_client(timeout=config.connect_timeout)
        offered = transport.get_remote_server_key()
    except paramiko.ssh_exception.IncompatiblePeer as error:
        raise NoCommonAlgorithm(f"{hop.spoken}: {error}.") from error
    except (*BROKEN, ValueError) as error:
        raise HostUnreachable(f"{hop.spoken} answers, but not with SSH ({_words(error)}).") from error
    verify(offered, hop, known)


def _log_in(transport: paramiko.Transport, host: Hop) -> None:
    user = host.user
    refused: list[str] = []
    with contextlib.closing(_Keys(host)) as keys:
        for label, key in keys:
            try:
                missing = transport.auth_publickey(user, key)
            except paramiko.BadAuthenticationType as error:
                allowed = ", ".join(error.allowed_types)
                raise AuthRefused(f"{host.spoken} takes no keys from {user!r}, only: {allowed}.") from error
            except paramiko.AuthenticationException as error:
                # paramiko tells a host that went silent or away at login as a failed login, too.
                gone = not transport.is_active() or "timeout" in str(error).lower()
                if gone and not refused:
                    raise HostUnreachable(f"{host.spoken} broke off at login ({_words(error)}).") from error
                refused.append(f"{label} ({_words(error)})")
                if gone:
                    break
            except BROKEN as error:
                raise HostUnreachable(
                    f"{host.spoken} closed the connection at login ({_words(error)})."
                ) from error
            else:
                if transport.is_authenticated():
                    return
                raise AuthRefused(f"{host.spoken} wants more than a key from {user!r}: {', '.join(missing)}.")
    if not refused:
        raise KeyUnusable("there is no key to log in with.")
    raise AuthRefused(f"{host.spoken} refused {user!r} with {', '.join(refused[:5])}.")


class _Keys:
    """The key files first, then the agent's keys. Iterating yields (what to call it, key)."""

    def __init__(self, hop: Hop) -> None:
        self._hop = hop
        self._agent: paramiko.Agent | None = None

    def __iter__(self) -> Iterator[tuple[str, paramiko.PKey]]:
        for path in self._files():
            yield str(path), self._file_key(path)
        if self._hop.agent:
            try:
                self._agent = paramiko.Agent()
            except BROKEN as error:
                raise KeyUnusable(f"the agent cannot be used: {_words(error)}.") from error
            keys = self._agent.get_keys()
            if not keys and not self._hop.key_files:
                raise KeyUnusable("the agent holds no key (is SSH_AUTH_SOCK set for this process?).")
            for key in keys:
                yield f"the agent's {key.get_name()} key {key.fingerprint}", key

    def _files(self) -> tuple[Path, ...]:
        """Of several key files those that are there, as ssh does; one that was named alone has to be there."""
        there = tuple(path for path in self._hop.key_files if path.exists())
        return there or self._hop.key_files[:1]

    def _file_key(self, path: Path) -> paramiko.PKey:
        try:
            key = paramiko.PKey.from_path(path)
            if self._hop.certificate is not None and path == self._files()[0]:
                key.load_certificate(str(self._hop.certificate.expanduser()))
        except (OSError, ValueError, TypeError, paramiko.SSHException) as error:
            raise KeyUnusable(f"{path} cannot be used: {_words(error)}.") from error
        return key

    def close(self) -> None:
        if self._agent is not None:
            self._agent.close()


def _words(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]
