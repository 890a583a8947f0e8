"""Whether the key that a host offers is the one that somebody vouched for; if not, what an admin would do about it."""

from __future__ import annotations

import base64
import shlex
import time
from pathlib import Path

import paramiko

from integrations.ssh import host_certificate
from integrations.ssh.errors import HostKeyChanged, HostKeyRevoked, HostKeyUnknown
from integrations.ssh.known_hosts import KnownHosts, fingerprint, written_name
from integrations.ssh.route import Hop


def verify(offered: paramiko.PKey, hop: Hop, known: KnownHosts) -> None:
    """Raises HostKeyUnknown, HostKeyChanged or HostKeyRevoked, with fingerprint and command."""
    certificate = getattr(offered, "public_blob", None)
    if certificate is None:
        _verify_key(offered.get_name(), offered.asbytes(), hop, known)
    else:
        _verify_certificate(certificate.key_blob, hop, known)


def _verify_certificate(blob: bytes, hop: Hop, known: KnownHosts) -> None:
    """A certificate that does not hold is no better than its bare key, which may be known by itself."""
    names, port = hop.trusted_as
    problem = host_certificate.problem_of(blob, names, known.authorities_of(names, port), time.time())
    try:
        certificate = host_certificate.read_certificate(blob)
    except ValueError as error:
        raise HostKeyUnknown(f"{hop.spoken}: {problem}.") from error
    key = certificate.public_blob
    if known.is_revoked(key, certificate.authority, blob):
        raise HostKeyRevoked(f"{hop.spoken} offered {fingerprint(key)}.")
    if problem is None or any(k.blob == key for k in known.keys_of(names, port)):
        return
    key_type = _type_of(key)
    raise HostKeyUnknown(
        f"{hop.spoken} offered the {key_type} host key {fingerprint(key)}, but {problem}. "
        f"{_how_to_accept(hop, known, key_type, key)}"
    )


def _verify_key(key_type: str, blob: bytes, hop: Hop, known: KnownHosts) -> None:
    names, port = hop.trusted_as
    spoken = f"{hop.spoken} offered the {key_type} host key {fingerprint(blob)}"
    if known.is_revoked(blob):
        raise HostKeyRevoked(f"{spoken}.")
    trusted = known.keys_of(names, port)
    if any(k.blob == blob for k in trusted):
        return
    command = _how_to_accept(hop, known, key_type, blob)
    if trusted:
        vouched = ", ".join(f"{k.key_type} {fingerprint(k.blob)}" for k in trusted[:4])
        file = trusted[0].file or _file_of(hop)
        raise HostKeyChanged(f"{spoken}, but {file} has {vouched}. {command}")
    by_authority = bool(known.authorities_of(names, port))
    reason = "no certificate of the authority we know for it" if by_authority else "which nobody vouched for"
    raise HostKeyUnknown(f"{spoken}, {reason}. {command}")


def _how_to_accept(hop: Hop, known: KnownHosts, key_type: str, blob: bytes) -> str:
    """The commands that replace what is known of the host by the key that it offered, as one line for a shell.

    By the host's name, which is not told to fewer people than its address.
    """
    names, port = hop.trusted_as
    forms = tuple(dict.fromkeys(f for n in names for f in (written_name(n, port), n)))
    trusted = known.keys_of(names, port)
    plain = [k for k in trusted if k.is_plain and k.file is not None]
    old = dict.fromkeys((str(k.file), next(f for f in forms if k.matches(f))) for k in plain)
    commands = [shlex.join(("ssh-keygen", "-R", form, "-f", file)) for file, form in old]
    line = f"{written_name(names[0], port)} {key_type} {base64.b64encode(blob).decode()}"
    commands.append(f"echo {shlex.quote(line)} >> {shlex.quote(str(_file_of(hop)))}")
    wide = [",".join(k.patterns) for k in trusted if not k.is_plain]
    by_hand = f" (first take the line of {wide[0][:60]} out by hand)" if wide else ""
    return f"If it is right, accept it on the bot's machine{by_hand}: {' && '.join(commands)} ."


def _file_of(hop: Hop) -> Path:
    return (hop.known_hosts or (Path("~/.ssh/known_hosts"),))[0].expanduser()


def _type_of(blob: bytes) -> str:
    return blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode("ascii", "replace")
