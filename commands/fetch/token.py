"""What opens a link: its number, and a keyed digest over the number, the copy, the asker, the end and a salt."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from storage import DumpLink

_FORM = re.compile(r"([1-9][0-9]{0,17})\.([A-Za-z0-9_-]{43})")
_KEY_BYTES = 32
KEY_FILE = "dump-links.key"


def link_key(store_dir: Path) -> bytes:
    """The key beside the artefacts, mode 0600; made when there is none. Without it, links made before open nothing."""
    path = store_dir / KEY_FILE
    store_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        found = path.read_bytes()
        if len(found) == _KEY_BYTES:
            return found
        # A process that was killed while it made the key: nothing was signed with that.
        path.unlink()
        return link_key(store_dir)
    with os.fdopen(handle, "wb") as file:
        made = secrets.token_bytes(_KEY_BYTES)
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    return made


def token_of(link: DumpLink, key: bytes) -> str:
    until = int(link.expires_at.timestamp())
    told = f"dump-link-1|{link.id}|{link.copy_id}|{link.asked_by}|{until}|{link.salt}"
    digest = hmac.new(key, told.encode(), hashlib.sha256).digest()
    return f"{link.id}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def number_in(token: str) -> int | None:
    """The link's number, or None where it cannot be a token."""
    found = _FORM.fullmatch(token)
    return int(found[1]) if found is not None else None


def opens(token: str, link: DumpLink, key: bytes) -> bool:
    """In a time that does not depend on where they differ."""
    return hmac.compare_digest(token.encode(), token_of(link, key).encode())
