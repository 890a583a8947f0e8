"""A host certificate, checked as ssh does it: who signed it, for whom, for how long.

Format: OpenSSH's PROTOCOL.certkeys. paramiko verifies that the host holds the certificate's key (the key
exchange is signed with it) but looks at nothing else in the certificate; the rest is done here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import paramiko

from integrations.ssh.known_hosts import KnownKey, fingerprint

_SUFFIX = "-cert-v01@openssh.com"
_HOST = 2
# how many strings hold the public key itself, between the nonce and the serial number
_KEY_FIELDS = {"ssh-ed25519": 1, "ssh-rsa": 2}
_KEY_FIELDS |= dict.fromkeys(("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"), 2)


@dataclass(frozen=True)
class HostCertificate:
    """What a certificate says; `signed` are the bytes under `signature`. Times are seconds since the epoch."""

    key_id: str
    kind: int
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical: bytes
    public_blob: bytes
    authority: bytes
    signed: bytes
    signature: bytes


def is_certificate(key_type: str) -> bool:
    return key_type.endswith(_SUFFIX)


def read_certificate(blob: bytes) -> HostCertificate:
    """Raises ValueError for anything that is not exactly one certificate."""
    reader = _Reader(blob)
    key_type = reader.string().decode("ascii", "replace").removesuffix(_SUFFIX)
    if key_type not in _KEY_FIELDS:
        raise ValueError(f"unknown certificate type {key_type[:40]!r}")
    reader.string()  # nonce
    fields = [reader.string() for _ in range(_KEY_FIELDS[key_type])]
    reader.number(8)  # serial
    kind = reader.number(4)
    key_id = reader.string().decode("utf-8", "replace")
    packed = _Reader(reader.string())
    principals = []
    while packed.left:
        principals.append(packed.string().decode("utf-8", "replace"))
    valid_after, valid_before = reader.number(8), reader.number(8)
    critical = reader.string()
    reader.string()  # extensions: a host certificate has none that matter
    reader.string()  # reserved
    authority = reader.string()
    signed = blob[: reader.at]
    signature = reader.string()
    if reader.left:
        raise ValueError("something follows the signature")
    public_blob = b"".join(_packed(part) for part in (key_type.encode(), *fields))
    return HostCertificate(
        key_id, kind, tuple(principals), valid_after, valid_before, critical, public_blob, authority, signed,
        signature,
    )  # fmt: skip


def problem_of(blob: bytes, names: Sequence[str], authorities: Sequence[KnownKey], now: float) -> str | None:
    """Why the certificate does not vouch for a host of these names, in words; None when it does."""
    try:
        certificate = read_certificate(blob)
    except ValueError as error:
        return f"its certificate cannot be read ({error})"
    authority = next((a for a in authorities if a.blob == certificate.authority), None)
    if authority is None:
        return (
            f"its certificate is signed by {fingerprint(certificate.authority)}, no authority we know for it"
        )
    if certificate.kind != _HOST:
        return "its certificate is a user's, not a host's"
    if certificate.critical:
        return "its certificate has critical options, and hosts know none"
    if not certificate.valid_after <= now < certificate.valid_before:
        return "its certificate is not valid at this time: renew it, or set the clocks"
    wanted = [n.lower() for n in names]
    # ssh takes host certificates without principals for nobody (since 10.0) and matches wildcards in them.
    if not any(fnmatchcase(n, p.lower().replace("[", "[[]")) for n in wanted for p in certificate.principals):
        shown = ", ".join(certificate.principals[:5]) or "nobody"
        return f"its certificate is made out to {shown[:200]}, not to {' or '.join(names)}"
    try:
        key = paramiko.PKey.from_type_string(authority.key_type, authority.blob)
        inner = _Reader(certificate.signature)
        algorithm, value = inner.string(), inner.string()
        if inner.left:
            return "its certificate's signature is malformed"
        signature = paramiko.Message(_packed(algorithm) + _packed(value))
        good = bool(key.verify_ssh_sig(certificate.signed, signature))
    except (paramiko.SSHException, ValueError, IndexError, UnicodeDecodeError) as error:
        return f"its certificate's signature cannot be checked ({type(error).__name__})"
    return None if good else "its certificate's signature is wrong"


class _Reader:
    """SSH's wire types, with every length checked: a short field is an error, never padded with zeros."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError("it is cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def string(self) -> bytes:
        return self.take(self.number(4))


def _packed(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value
