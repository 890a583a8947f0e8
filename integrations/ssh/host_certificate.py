"""A host certificate, checked as ssh does it: who signed it, for whom, for how long.

Read and verified by `cryptography` (OpenSSH's PROTOCOL.certkeys). paramiko verifies that the host holds the
certificate's key (the key exchange is signed with it) but looks at nothing else in the certificate.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from integrations.ssh.known_hosts import KnownKey, fingerprint


@dataclass(frozen=True)
class HostCertificate:
    """A certificate, with its own key and its authority's as SSH writes them."""

    inner: SSHCertificate
    public_blob: bytes
    authority: bytes


def read_certificate(blob: bytes) -> HostCertificate:
    """Raises ValueError for anything that is not exactly one certificate."""
    named = blob[4 : 4 + int.from_bytes(blob[:4], "big")]
    try:
        found = load_ssh_public_identity(named + b" " + base64.b64encode(blob))
        if not isinstance(found, SSHCertificate):
            raise ValueError("it is a bare key")  # noqa: TRY004 - the bytes are wrong, not their type
        public = found.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        authority = found.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except UnsupportedAlgorithm as error:
        raise ValueError(f"unknown certificate type {named[:60]!r}") from error
    return HostCertificate(found, base64.b64decode(public.split()[1]), base64.b64decode(authority.split()[1]))


def problem_of(blob: bytes, names: Sequence[str], authorities: Sequence[KnownKey], now: float) -> str | None:
    """Why the certificate does not vouch for a host of these names, in words; None when it does."""
    try:
        certificate = read_certificate(blob)
    except ValueError as error:
        return f"its certificate cannot be read ({str(error)[:100]})"
    inner = certificate.inner
    if all(a.blob != certificate.authority for a in authorities):
        return (
            f"its certificate is signed by {fingerprint(certificate.authority)}, no authority we know for it"
        )
    if inner.type is not SSHCertificateType.HOST:
        return "its certificate is a user's, not a host's"
    if inner.critical_options:
        return "its certificate has critical options, and hosts know none"
    if not inner.valid_after <= now < inner.valid_before:
        return "its certificate is not valid at this time: renew it, or set the clocks"
    wanted = [n.lower() for n in names]
    principals = [p.decode("utf-8", "replace").lower() for p in inner.valid_principals]
    # ssh takes host certificates without principals for nobody (since 10.0) and matches wildcards in them.
    if not any(fnmatchcase(n, p.replace("[", "[[]")) for n in wanted for p in principals):
        shown = ", ".join(principals[:5]) or "nobody"
        return f"its certificate is made out to {shown[:200]}, not to {' or '.join(names)}"
    try:
        inner.verify_cert_signature()
    except (InvalidSignature, ValueError):
        return "its certificate's signature is wrong"
    return None
