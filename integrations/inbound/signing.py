"""Signatures of hosts: HMAC-SHA256 over the time and the body.

X-Panicroom-Timestamp: 1763901247
X-Panicroom-Signature: v1=hex(hmac_sha256(secret, b"v1:" + timestamp + b":" + body))
X-Panicroom-Host: web-17        (optional: selects the host's own secret)
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from integrations.inbound.errors import Stale, Unsigned

TIMESTAMP_HEADER = "X-Panicroom-Timestamp"
SIGNATURE_HEADER = "X-Panicroom-Signature"
HOST_HEADER = "X-Panicroom-Host"

_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"v1=([0-9a-fA-F]{64})", re.ASCII)


@dataclass(frozen=True, repr=False)
class Secret:
    """A secret that a report may be signed with. `owner`: the inventory entry whose own it is; None: shared."""

    value: str
    owner: str | None = None

    def __repr__(self) -> str:
        return f"Secret(owner={self.owner!r})"


def sign(secret: str, timestamp: int | str, body: bytes) -> str:
    """The value of X-Panicroom-Signature."""
    digest = hmac.new(secret.encode(), b"v1:" + str(timestamp).encode() + b":" + body, hashlib.sha256)
    return "v1=" + digest.hexdigest()


def signed_headers(secret: str, timestamp: int, body: bytes, *, host: str | None = None) -> dict[str, str]:
    """All headers that a sender needs."""
    headers = {
        "Content-Type": "application/json",
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(secret, timestamp, body),
    }
    if host is not None:
        headers[HOST_HEADER] = host
    return headers


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], *, now: float, window: float
) -> Secret:
    """The first of `secrets` that the body is signed with; give the host's own ones first, shared ones next.

    `headers` looks names up whatever their case. `now`: unix seconds; `window`: seconds, either way. Every
    candidate is tried whichever fits, so the time taken does not tell which one did. Raises Unsigned, or
    Stale when the signature is right and only the time is not (then the sender may sign again).
    """
    stamp = headers.get(TIMESTAMP_HEADER)
    given = headers.get(SIGNATURE_HEADER)
    if stamp is None or given is None:
        absent = TIMESTAMP_HEADER if stamp is None else SIGNATURE_HEADER
        raise Unsigned(f"the header {absent} is missing. {Unsigned.__doc__}", field=absent)
    if _TIMESTAMP.fullmatch(stamp) is None:
        raise Unsigned(f"{TIMESTAMP_HEADER} must be unix seconds: `date +%s`.", field=TIMESTAMP_HEADER)
    matched = _SIGNATURE.fullmatch(given)
    if matched is None:
        raise Unsigned(
            f"{SIGNATURE_HEADER} must be `v1=` and 64 hexadecimal digits (HMAC-SHA256).",
            field=SIGNATURE_HEADER,
        )
    wanted = bytes.fromhex(matched.group(1))
    message = b"v1:" + stamp.encode("ascii") + b":" + body
    fitting: Secret | None = None
    for secret in secrets:
        digest = hmac.new(secret.value.encode(), message, hashlib.sha256).digest()
        if hmac.compare_digest(digest, wanted) and fitting is None:
            fitting = secret
    if fitting is None:
        raise Unsigned(field=SIGNATURE_HEADER)
    if abs(now - int(stamp)) > window:
        raise Stale(
            f"the timestamp is {now - int(stamp):+.0f} s from the server's time; {window:.0f} s are allowed. "
            "Sign again with `server_time`, and check the host's clock.",
            field=TIMESTAMP_HEADER,
        )
    return fitting
