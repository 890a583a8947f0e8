"""Who vouches for a host's key: OpenSSH's known_hosts file, read as sshd(8) describes it.

paramiko's own reader knows neither `@cert-authority` nor `@revoked` nor wildcards, so the file is read here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path


def fingerprint(blob: bytes) -> str:
    """`SHA256:…` of a public key, as `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def written_name(name: str, port: int) -> str:
    """A host as known_hosts names it: `web-17`, or `[web-17]:2222` where the port is not 22."""
    return name if port == 22 else f"[{name}]:{port}"


@dataclass(frozen=True)
class KnownKey:
    """One line: the marker ("" for none), the patterns, the key's type and its blob."""

    marker: str
    patterns: tuple[str, ...]
    key_type: str
    blob: bytes
    file: Path | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the line names hosts one by one, so that `ssh-keygen -R` finds it."""
        return not any(set(p) & set("*?!") for p in self.patterns if not p.startswith("|"))

    def matches(self, name: str) -> bool:
        """Whether the line speaks of this (written) name; a matching `!pattern` says that it does not."""
        name = name.lower()
        hit = False
        for pattern in self.patterns:
            if pattern.startswith("|"):
                hit = hit or _is_hash_of(pattern, name)
            elif pattern.startswith("!"):
                if _glob(name, pattern[1:]):
                    return False
            else:
                hit = hit or _glob(name, pattern)
        return hit


@dataclass(frozen=True)
class KnownHosts:
    """The lines of a known_hosts file; those that cannot be read are left out, as OpenSSH does."""

    keys: tuple[KnownKey, ...] = ()

    @classmethod
    def read(cls, path: Path) -> KnownHosts:
        """A file that is not there knows nobody. Raises OSError when it is there and cannot be read."""
        try:
            return cls.parse(path.expanduser().read_text("utf-8", "replace"), path.expanduser())
        except FileNotFoundError:
            return cls()

    @classmethod
    def read_all(cls, paths: Iterable[Path]) -> KnownHosts:
        """Several files as one. Raises OSError."""
        return cls(tuple(key for path in paths for key in cls.read(path).keys))

    @classmethod
    def parse(cls, text: str, file: Path | None = None) -> KnownHosts:
        found = (_read_line(line, file) for line in text.splitlines())
        return cls(tuple(key for key in found if key is not None))

    def keys_of(self, names: Iterable[str], port: int) -> tuple[KnownKey, ...]:
        return self._marked("", names, port)

    def authorities_of(self, names: Iterable[str], port: int) -> tuple[KnownKey, ...]:
        return self._marked("@cert-authority", names, port)

    def is_revoked(self, *blobs: bytes) -> bool:
        """A revoked key is revoked for every host, whatever names its line has."""
        return any(k.marker == "@revoked" and k.blob in blobs for k in self.keys)

    def _marked(self, marker: str, names: Iterable[str], port: int) -> tuple[KnownKey, ...]:
        """Lines for `[name]:port`; where there are none, those for the name without a port, as ssh does."""
        names = tuple(names)
        lines = [k for k in self.keys if k.marker == marker]
        exact = tuple(k for k in lines if any(k.matches(written_name(n, port)) for n in names))
        if exact or port == 22:
            return exact
        return tuple(k for k in lines if any(k.matches(n) for n in names))


def preferred_types(known: Sequence[KnownKey], authorities: Sequence[KnownKey]) -> tuple[str, ...]:
    """Host key algorithms in the order to ask for: those that can be verified come first."""
    plain: tuple[str, ...] = (
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
    )
    plain += ("rsa-sha2-512", "rsa-sha2-256")
    certificates = tuple(f"{p}-cert-v01@openssh.com" for p in plain)
    types = {k.key_type for k in known}
    if "ssh-rsa" in types:
        types |= {"rsa-sha2-512", "rsa-sha2-256"}
    first = tuple(p for p in plain if p in types)
    rest = tuple(p for p in plain if p not in types)
    return (first + certificates if known else certificates) + rest if authorities else first + rest


def _read_line(line: str, file: Path | None) -> KnownKey | None:
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    marker = words.pop(0) if words[0].startswith("@") else ""
    if len(words) < 3 or marker not in ("", "@cert-authority", "@revoked"):
        return None
    try:
        blob = base64.b64decode(words[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    named = blob[4 : 4 + int.from_bytes(blob[:4], "big")]
    if named != words[1].encode("utf-8", "replace"):
        return None
    return KnownKey(marker, tuple(words[0].split(",")), words[1], blob, file)


def _glob(name: str, pattern: str) -> bool:
    """OpenSSH's patterns know `*` and `?` only; brackets are brackets."""
    return fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _is_hash_of(pattern: str, name: str) -> bool:
    """`|1|salt|HMAC-SHA1(salt, name)`, as `ssh-keygen -H` writes it."""
    parts = pattern.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return False
    try:
        salt, digest = base64.b64decode(parts[2]), base64.b64decode(parts[3])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
