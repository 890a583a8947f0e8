"""Placeholders: `[ip-k3f9x2]`, the same for the same thing wherever it stands, and nothing to learn from.

A name is made from the thing itself with a key that only this installation has. So the thread, the bundle and the
answer to a question agree on it, today and after a restart, and nobody can try addresses until one fits.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from integrations.redaction.config import RedactionConfig

SORTS = ("secret", "email", "mac", "ip", "serial", "uuid")
DONE = rf"(?![\"']?\[(?:{'|'.join(SORTS)})-[a-z2-7]{{6}}\])"  # what was named already is not named again
_KEY_FILE = "redaction.key"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Policy:
    """What is taken out, and the key of the names."""

    config: RedactionConfig = field(default_factory=RedactionConfig)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(_KEY_BYTES), repr=False)

    def name(self, sort: str, value: str) -> str:
        """The placeholder of a thing. `sort` is one of `SORTS`."""
        text = f"{sort}\x00{value}".encode("utf-8", "surrogatepass")
        digest = hmac.new(self.key, text, hashlib.sha256).digest()
        return f"[{sort}-{base64.b32encode(digest[:5]).decode().lower()[:6]}]"


_policy = Policy()


def set_policy(policy: Policy) -> None:
    """What this process takes out from now on: every message, whoever draws it. The composition root's to say."""
    global _policy
    _policy = policy


def policy() -> Policy:
    return _policy


def installation_key(folder: Path) -> bytes:
    """The installation's key, kept in `folder` (0600) and made at the first start. Raises OSError."""
    place = folder / _KEY_FILE
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = _read(place)
    if known is not None:
        return known
    fresh = folder / f".{_KEY_FILE}.{secrets.token_hex(4)}"
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, place)  # two that start at once agree on the first one's
        except FileExistsError:
            if _read(place) is None:  # cut short by a full disk, or not ours
                fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)
    return place.read_bytes()


def _read(place: Path) -> bytes | None:
    try:
        data = place.read_bytes()
    except FileNotFoundError:
        return None
    return data if len(data) == _KEY_BYTES else None
