"""An SSH connection with a verified host key, directly or through jump hosts. Blocking: runs in threads."""

from __future__ import annotations

import base64
import contextlib
import logging
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import paramiko

from integrations.ssh import host_certificate
from integrations.ssh.config import SshConfig, SshHost, check_address, parse_jump
from integrations.ssh.errors import (
    AuthRefused,
    HostKeyChanged,
    HostKeyRevoked,
    HostKeyUnknown,
    HostUnreachable,
    KeyUnusable,
    NoCommonAlgorithm,
)
from integrations.ssh.known_hosts import KnownHosts, fingerprint, preferred_types, written_name

# paramiko logs what it also raises, with tracebacks for every port scanner's greeting.
_LOG_CHANNEL = "integrations.ssh.paramiko"
logging.getLogger(_LOG_CHANNEL).addHandler(logging.NullHandler())
logging.getLogger(_LOG_CHANNEL).propagate = False


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
    try:
        known = KnownHosts.read(config.known_hosts)
    except OSError as error:
        raise KeyUnusable(f"the known_hosts file {config.known_hosts} cannot be read: {error}.") from error
    hops = parse_jump(config.jump or "" if host.jump is None else host.jump)
    connection = Connection(host)
    try:
        for hop in (*hops, host):
            connection.transports.append(_reach(hop, connection, config))
            _handshake(connection.transport, hop, config, known)
            _log_in(connection.transport, hop, config)
    except BaseException:
        connection.close()
        raise
    return connection


def _reach(host: SshHost, so_far: Connection, config: SshConfig) -> paramiko.Transport:
    address = check_address(host.target)
    wire: socket.socket | paramiko.Channel
    try:
        if so_far.transports:
            wire = so_far.transport.open_channel(
                "direct-tcpip", (address, host.port), ("127.0.0.1", 0), timeout=config.connect_timeout
            )
        else:
            wire = socket.create_connection((address, host.port), timeout=config.connect_timeout)
        transport = paramiko.Transport(wire)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise HostUnreachable(f"{host.spoken} does not answer ({_words(error)}).") from error
    transport.set_log_channel(_LOG_CHANNEL)
    transport.banner_timeout = config.connect_timeout
    transport.handshake_timeout = config.connect_timeout
    transport.auth_timeout = config.connect_timeout
    transport.channel_timeout = config.connect_timeout
    return transport


def _handshake(transport: paramiko.Transport, host: SshHost, config: SshConfig, known: KnownHosts) -> None:
    names = tuple(dict.fromkeys(n.lower() for n in (host.name, host.target)))
    keys, authorities = known.keys_of(names, host.port), known.authorities_of(names, host.port)
    transport._preferred_keys = preferred_types(keys, authorities)
    try:
        transport.start_client(timeout=config.connect_timeout)
        offered = transport.get_remote_server_key()
    except paramiko.ssh_exception.IncompatiblePeer as error:
        raise NoCommonAlgorithm(f"{host.spoken}: {error}.") from error
    except (paramiko.SSHException, EOFError, OSError, ValueError) as error:
        raise HostUnreachable(f"{host.spoken} answers, but not with SSH ({_words(error)}).") from error
    certificate = getattr(offered, "public_blob", None)
    if certificate is None:
        _check_key(offered.get_name(), offered.asbytes(), host, config, known, keys_known=bool(authorities))
        return
    _check_certificate(certificate.key_blob, host, names, config, known)


def _check_certificate(
    blob: bytes, host: SshHost, names: Sequence[str], config: SshConfig, known: KnownHosts
) -> None:
    """A certificate that does not hold is no better than its bare key, which may be known by itself."""
    problem = host_certificate.problem_of(blob, names, known.authorities_of(names, host.port), time.time())
    try:
        certificate = host_certificate.read_certificate(blob)
    except ValueError as error:
        raise HostKeyUnknown(f"{host.spoken}: {problem}.") from error
    if known.is_revoked(certificate.public_blob, certificate.authority, blob):
        raise HostKeyRevoked(f"{host.spoken} offered {fingerprint(certificate.public_blob)}.")
    if problem is None:
        return
    key_type = certificate.public_blob[4 : 4 + int.from_bytes(certificate.public_blob[:4], "big")].decode()
    if any(k.blob == certificate.public_blob for k in known.keys_of(names, host.port)):
        return
    raise HostKeyUnknown(
        f"{host.spoken} offered the {key_type} host key {fingerprint(certificate.public_blob)}, but {problem}."
    )


def _check_key(
    key_type: str, blob: bytes, host: SshHost, config: SshConfig, known: KnownHosts, *, keys_known: bool
) -> None:
    names = (host.name, host.target)
    spoken = f"{host.spoken} offered the {key_type} host key {fingerprint(blob)}"
    if known.is_revoked(blob):
        raise HostKeyRevoked(f"{spoken}.")
    trusted = known.keys_of(names, host.port)
    if any(k.blob == blob for k in trusted):
        return
    if trusted:
        vouched = ", ".join(f"{k.key_type} {fingerprint(k.blob)}" for k in trusted[:4])
        raise HostKeyChanged(f"{spoken}, but {config.known_hosts} has {vouched}.")
    line = f"{written_name(host.target, host.port)} {key_type} {base64.b64encode(blob).decode()}"
    reason = "no certificate of the authority we know for it" if keys_known else "which nobody vouched for"
    raise HostKeyUnknown(f"{spoken}, {reason}. The line for {config.known_hosts} would be: {line} .")


def _log_in(transport: paramiko.Transport, host: SshHost, config: SshConfig) -> None:
    user = host.user or config.user
    refused: list[str] = []
    with contextlib.closing(_Keys(config)) as keys:
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
            except (paramiko.SSHException, EOFError, OSError) as error:
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
    """The configured key first, then the agent's. Iterating yields (what to call it, key)."""

    def __init__(self, config: SshConfig) -> None:
        self._config = config
        self._agent: paramiko.Agent | None = None

    def __iter__(self) -> Iterator[tuple[str, paramiko.PKey]]:
        if self._config.key_file is not None:
            yield str(self._config.key_file), self._file_key()
        if self._config.agent:
            try:
                self._agent = paramiko.Agent()
            except (paramiko.SSHException, OSError) as error:
                raise KeyUnusable(f"the agent cannot be used: {_words(error)}.") from error
            keys = self._agent.get_keys()
            if not keys and self._config.key_file is None:
                raise KeyUnusable("the agent holds no key (is SSH_AUTH_SOCK set for this process?).")
            for key in keys:
                yield f"the agent's {key.get_name()} key {key.fingerprint}", key

    def _file_key(self) -> paramiko.PKey:
        path = self._config.key_file
        assert path is not None
        try:
            key = paramiko.PKey.from_path(path.expanduser())
            if self._config.certificate is not None:
                key.load_certificate(str(self._config.certificate.expanduser()))
        except (OSError, ValueError, TypeError, paramiko.SSHException) as error:
            raise KeyUnusable(f"{path} cannot be used: {_words(error)}.") from error
        return key

    def close(self) -> None:
        if self._agent is not None:
            self._agent.close()


def _words(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]
